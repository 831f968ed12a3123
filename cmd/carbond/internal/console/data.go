package console

import (
	"slices"
	"strconv"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "carbond/proto/carbon"
	"carbond/store/change"
)

// value returns a field of a row, which the description of its view names; ok is false
// for NULL, and for what the wire cannot tell from it.
func value(m proto.Message, f *change.ViewField) (v protoreflect.Value, ok bool) {
	r := m.ProtoReflect()
	d := r.Descriptor().Fields().ByNumber(protoreflect.FieldNumber(f.Number))
	if d == nil || !r.Has(d) {
		return v, false
	}
	return r.Get(d), true
}

// cell prints a field as its kind is read, a dash for nothing.
func cell(m proto.Message, f *change.ViewField) g.Node {
	v, ok := value(m, f)
	if !ok {
		return g.Text("\u2013")
	}
	switch x := v.Interface().(type) {
	case string:
		return foreign(x, 200)
	case bool:
		if x {
			return g.Text("yes")
		}
		return g.Text("no")
	case float64:
		return g.Text(figureText(x))
	case int32:
		return g.Text(strconv.Itoa(int(x))) // a year
	case int64:
		if f.Name == "timestamp" {
			return ago(time.Unix(x, 0))
		}
		return g.Text(count(x))
	}
	return foreign(v.String(), 200)
}

// figureText prints a number with its digits, but no more than four behind the point.
func figureText(x float64) string {
	s := decimal(x, -1)
	if _, fraction, _ := strings.Cut(s, "."); len(fraction) > 4 {
		return decimal(x, 4)
	}
	return s
}

// facts lists the fields of a row that are not left out.
func facts(m proto.Message, view *change.ViewDef, without ...string) g.Node {
	return live(h.Dl, "facts", nil, g.Map(view.Fields, func(f change.ViewField) g.Node {
		if slices.Contains(without, f.Name) {
			return nil
		}
		return g.Group{h.Dt(g.Text(label(f.Name))), h.Dd(cell(m, &f))}
	}))
}

// unixAgo is the time of a price; 0 is none.
func unixAgo(s int64) g.Node {
	if s == 0 {
		return g.Text("\u2013")
	}
	return ago(time.Unix(s, 0))
}

// published is when a story was: as RFC 822 has it, or as its source wrote it.
func published(n *pb.NewsItem) g.Node {
	for _, form := range []string{time.RFC1123Z, time.RFC1123, time.RFC822Z, time.RFC822} {
		if t, err := time.Parse(form, n.Published); err == nil {
			if n.GetPublishedEstimated() {
				return g.Group{g.Text("about "), ago(t)}
			}
			return ago(t)
		}
	}
	return foreign(n.Published, 40)
}

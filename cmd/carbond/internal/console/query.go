package console

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Parameters of pages, beside the fields of the call that a page makes.
const (
	paramAsOf   = "as_of" // an offset or a time, as in the HTTP API
	paramToken  = "page_token"
	paramOrder  = "order"
	paramColumn = "column" // shown of a list; given once for each
)

// link is the address of this page with some values of the query replaced, as pairs
// of name and value; "" takes one away.
func (q *request) link(pairs ...string) string { return address(q.path, q.with(pairs...)) }

// with is the query of this page with some values replaced.
func (q *request) with(pairs ...string) url.Values {
	v := url.Values{}
	for k, list := range q.query {
		for _, s := range list {
			if s != "" {
				v.Add(k, s)
			}
		}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Del(pairs[i])
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return v
}

// to is the address of another page, as of the same moment.
func (q *request) to(path string) string {
	if at := q.query.Get(paramAsOf); at != "" {
		return address(path, url.Values{paramAsOf: {at}})
	}
	return path
}

func address(path string, v url.Values) string {
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// ask fills the message of a call from the query of the page: each field goes by its
// name, as in the HTTP API, and what is no field of it is the page's own.
func (q *request) ask(m proto.Message) error {
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields()
	for name := range q.query {
		text := strings.TrimSpace(q.query.Get(name))
		f := fields.ByName(protoreflect.Name(name))
		if text == "" || f == nil || f.IsList() || name == "page_size" {
			continue
		}
		v, err := parse(f.Kind(), text)
		if err != nil {
			return status.Errorf(codes.InvalidArgument, "%s is not a number: %.40q", label(name), text)
		}
		if v.IsValid() {
			r.Set(f, v)
		}
	}
	return q.setAsOf(m)
}

func parse(k protoreflect.Kind, text string) (v protoreflect.Value, err error) {
	switch k {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(strings.ToValidUTF8(text, "\uFFFD")), nil
	case protoreflect.Int32Kind:
		var n int64
		n, err = strconv.ParseInt(text, 10, 32)
		return protoreflect.ValueOfInt32(int32(n)), err
	case protoreflect.DoubleKind:
		var x float64
		x, err = strconv.ParseFloat(text, 64)
		return protoreflect.ValueOfFloat64(x), err
	}
	return v, nil
}

// setAsOf sets the moment of the page in the message of a call that has one.
func (q *request) setAsOf(m proto.Message) error {
	text := q.query.Get(paramAsOf)
	if text == "" {
		return nil
	}
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields()
	if n, err := strconv.ParseUint(text, 10, 64); err == nil && n > 0 {
		r.Set(fields.ByName("as_of_offset"), protoreflect.ValueOfUint64(n))
		return nil
	}
	t, err := moments(text)
	if err != nil {
		return err
	}
	r.Set(fields.ByName("as_of_time"), protoreflect.ValueOfString(t.Format(time.RFC3339Nano)))
	return nil
}

// moments reads a time as RFC 3339 has it, or as people write it, in UTC.
func moments(text string) (time.Time, error) {
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, status.Errorf(codes.InvalidArgument, "%.40q is neither an offset nor a time such as 2026-01-31 12:00 (UTC)", text)
}

// isNumber reports whether a text is an offset rather than a time.
func isNumber(text string) bool {
	_, err := strconv.ParseUint(text, 10, 64)
	return err == nil
}

package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"carbond/rpc"
	"carbond/rpc/internal/form"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// question is what the address of a request asks for.
type question struct {
	format string // "" = as the header Accept says
	guard  bool   // texts of CSV against formulas
	minLSN string
}

// Parameters of the address that are not fields of the message of the call.
const (
	paramFormat = "format"
	paramGuard  = "guard"
	paramAsOf   = "as_of"
	paramMinLSN = "min_lsn"
)

// hidden are fields of messages that an address names otherwise, or not at all.
var hidden = []string{"as_of_offset", "as_of_time", "resume_token", "archive"}

// parseQuery fills the message of a call from the query of an address. Each field goes
// by its name; every other name is an error, so that a mistake is not an answer.
func parseQuery(raw string, m proto.Message, extra ...string) (question, error) {
	q := question{guard: true}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, rpcerr.BadField("the query of the address", "cannot be read: "+strings.TrimPrefix(err.Error(), "invalid "))
	}
	for _, name := range sortedKeys(values) {
		v := values[name]
		if len(v) != 1 {
			return q, rpcerr.BadField(name, "is given more than once")
		}
		switch {
		case !slices.Contains(extra, name) && !isField(m, name):
			return q, rpcerr.BadField(name, "is not a parameter of this address; those are "+strings.Join(parameters(m, extra), ", "))
		case name == paramFormat:
			q.format = v[0]
		case name == paramGuard:
			if v[0] != "0" && v[0] != "1" {
				return q, rpcerr.BadField(name, "is not 0 or 1")
			}
			q.guard = v[0] == "1"
		case name == paramMinLSN:
			if q.minLSN = v[0]; q.minLSN != "" {
				if _, bad := change.ParseLSN(q.minLSN); bad != nil {
					err = rpcerr.BadField(name, "is not a position like 16/B374D848")
				}
			}
		case name == paramAsOf:
			err = setAsOf(m, v[0])
		default:
			err = setField(m, name, v[0])
		}
		if err != nil {
			return q, err
		}
	}
	return q, nil
}

func sortedKeys(v url.Values) []string {
	names := make([]string, 0, len(v))
	for n := range v {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// parameters lists the names that an address may have.
func parameters(m proto.Message, extra []string) (names []string) {
	if m != nil {
		fields := m.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			if n := string(fields.Get(i).Name()); isField(m, n) {
				names = append(names, n)
			}
		}
	}
	return append(names, extra...)
}

func isField(m proto.Message, name string) bool {
	if m == nil || slices.Contains(hidden, name) {
		return false
	}
	f := m.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(name))
	return f != nil && !f.IsList() && f.Kind() != protoreflect.MessageKind
}

// setAsOf sets the moment that a query asks for: an offset, or a time.
func setAsOf(m proto.Message, text string) error {
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		if n == 0 {
			return rpcerr.BadField(paramAsOf, "is 0, which is before all offsets")
		}
		return setField(m, "as_of_offset", text)
	}
	if _, err := time.Parse(time.RFC3339Nano, text); err != nil {
		return rpcerr.BadField(paramAsOf, "is neither an offset nor a time like 2024-01-31T12:00:00Z")
	}
	return setField(m, "as_of_time", text)
}

// setField sets a field of a message from its text.
func setField(m proto.Message, name, text string) error {
	r := m.ProtoReflect()
	f := r.Descriptor().Fields().ByName(protoreflect.Name(name))
	var v protoreflect.Value
	var err error
	wanted := "a whole number"
	switch f.Kind() {
	case protoreflect.StringKind:
		if err := rpcerr.CheckText(name, text); err != nil && name != "page_token" {
			return err
		}
		v = protoreflect.ValueOfString(strings.ToValidUTF8(text, "\uFFFD"))
	case protoreflect.BoolKind:
		var b bool
		b, err = strconv.ParseBool(text)
		v, wanted = protoreflect.ValueOfBool(b), "true or false"
	case protoreflect.Int32Kind:
		var n int64
		n, err = strconv.ParseInt(text, 10, 32)
		v = protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Int64Kind:
		var n int64
		n, err = strconv.ParseInt(text, 10, 64)
		v = protoreflect.ValueOfInt64(n)
	case protoreflect.Uint64Kind:
		var n uint64
		n, err = strconv.ParseUint(text, 10, 64)
		v = protoreflect.ValueOfUint64(n)
	case protoreflect.DoubleKind:
		var x float64
		x, err = strconv.ParseFloat(text, 64)
		v, wanted = protoreflect.ValueOfFloat64(x), "a number"
	case protoreflect.EnumKind:
		e := f.Enum().Values().ByName(protoreflect.Name(enumPrefix(f.Enum()) + strings.ToUpper(text)))
		if e == nil || e.Number() == 0 {
			return rpcerr.BadField(name, "is not one of "+strings.Join(enumWords(f.Enum()), ", "))
		}
		v = protoreflect.ValueOfEnum(e.Number())
	}
	if err != nil {
		return rpcerr.BadField(name, "is not "+wanted)
	}
	r.Set(f, v)
	return nil
}

// enumPrefix is what the values of an enum begin with, by the rules of protobuf.
func enumPrefix(e protoreflect.EnumDescriptor) string {
	return strings.TrimSuffix(string(e.Values().Get(0).Name()), "UNSPECIFIED")
}

// enumWords are the values of an enum as addresses have them.
func enumWords(e protoreflect.EnumDescriptor) (words []string) {
	for i := 1; i < e.Values().Len(); i++ {
		words = append(words, strings.ToLower(strings.TrimPrefix(string(e.Values().Get(i).Name()), enumPrefix(e))))
	}
	return words
}

// formOf returns the form that a request wants: by its parameter, or by the header
// Accept.
func (q *question) formOf(accept string) (form.Form, error) {
	csv := form.CSV
	if !q.guard {
		csv = form.RawCSV
	}
	switch q.format {
	case "json":
		return form.JSON, nil
	case "ndjson":
		return form.NDJSON, nil
	case "csv":
		return csv, nil
	case "":
	default:
		return 0, rpcerr.BadField(paramFormat, "is not json, ndjson or csv")
	}
	best, form0 := -1.0, form.JSON
	for part := range strings.SplitSeq(accept, ",") {
		kind, weight := weighted(part)
		f, ok := form.JSON, true
		switch kind {
		case "application/json", "application/*", "*/*", "":
		case "application/x-ndjson", "application/jsonl":
			f = form.NDJSON
		case "text/csv", "text/*":
			f = csv
		default:
			ok = false
		}
		if ok && weight > 0 && weight > best {
			best, form0 = weight, f
		}
	}
	return form0, nil // what nobody can have is answered as JSON: an error would help less
}

// weighted splits an element of a header such as Accept from its weight.
func weighted(part string) (name string, weight float64) {
	name, params, _ := strings.Cut(part, ";")
	weight = 1
	for p := range strings.SplitSeq(params, ";") {
		if v, ok := strings.CutPrefix(strings.TrimSpace(p), "q="); ok {
			if w, err := strconv.ParseFloat(v, 64); err == nil {
				weight = w
			}
		}
	}
	return strings.ToLower(strings.TrimSpace(name)), weight
}

// encodingOf chooses how an answer is compressed: as the client likes best, and by
// zstd or gzip where it likes them as well as no compression.
func encodingOf(accept string) form.Encoding {
	best, chosen := accepts(accept, "identity"), form.Identity
	for _, e := range []form.Encoding{form.Gzip, form.Zstd} {
		if w := accepts(accept, string(e)); w > 0 && w >= best {
			best, chosen = w, e
		}
	}
	return chosen
}

// accepts returns the weight that a header Accept-Encoding gives an encoding, 0 for one
// that it does not name: a client that sends * rarely knows what zstd is.
func accepts(accept, encoding string) float64 {
	for part := range strings.SplitSeq(accept, ",") {
		if name, weight := weighted(part); name == encoding {
			return weight
		}
	}
	return 0
}

// AcceptsGzip reports whether a client takes an answer packed by gzip.
func AcceptsGzip(r *http.Request) bool {
	return accepts(strings.Join(r.Header.Values("Accept-Encoding"), ","), string(form.Gzip)) > 0
}

// headerOf are the names of the reply headers of gRPC in HTTP.
var headerOf = map[string]string{
	rpc.HeaderOffset: "Carbond-Offset", rpc.HeaderLSN: "Carbond-Lsn", rpc.HeaderAge: "Carbond-Age-Ms",
	rpc.HeaderCache: "Carbond-Cache", rpc.HeaderCommitTime: "Carbond-Commit-Time",
}

package web

import (
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"carbond/rpc"
	"carbond/rpc/internal/form"
)

// unary serves a call of gRPC whose reply is a list in its first field.
func unary(method string, reply func() proto.Message) func(*call) error {
	return func(c *call) error {
		m := reply()
		var md metadata.MD
		if err := c.api.Local().Invoke(c.ctx, method, c.m, m, grpc.Header(&md)); err != nil {
			return err
		}
		raw, next := encodeReply(m.ProtoReflect(), c.form)
		return c.listing(rpc.NewListing(raw, c.form, c.enc, next, rpc.NewHeaders(md), c.has), nil)
	}
}

// encodeReply writes a reply: the messages of its first field as rows, and in JSON all
// else beside them.
func encodeReply(m protoreflect.Message, f form.Form) (b []byte, next string) {
	fields := m.Descriptor().Fields()
	list := fields.Get(0)
	columns := list.Message().Fields()
	rows := m.Get(list).List()
	csv := f == form.CSV || f == form.RawCSV
	switch {
	case f == form.JSON:
		b = append(b, `{"items":[`...)
	case csv:
		for i := range columns.Len() {
			b = append(append(b, nameOf(columns.Get(i))...), ',')
		}
		b = append(b[:len(b)-1], "\r\n"...)
	}
	for n := range rows.Len() {
		row := rows.Get(n).Message()
		switch {
		case csv:
			for i := range columns.Len() {
				b = append(appendCell(b, row, columns.Get(i), f == form.CSV), ',')
			}
			b = append(b[:len(b)-1], "\r\n"...)
		case f == form.JSON && n > 0:
			b = appendMessage(append(b, ','), row)
		default:
			b = appendMessage(b, row)
		}
		if f == form.NDJSON {
			b = append(b, '\n')
		}
	}
	if t := fields.ByName("next_page_token"); t != nil {
		next = m.Get(t).String()
	}
	if f == form.JSON {
		b = append(b, ']')
		for i := 1; i < fields.Len(); i++ {
			if fd := fields.Get(i); m.Has(fd) {
				b = append(form.AppendText(append(b, ','), form.CamelCase(nameOf(fd))), ':')
				b = appendField(b, fd, m.Get(fd))
			}
		}
		b = append(b, "}\n"...)
	}
	return b, next
}

// nameOf is the name of a field in answers: that of bytes of JSON is without _json.
func nameOf(f protoreflect.FieldDescriptor) string {
	return strings.TrimSuffix(string(f.Name()), "_json")
}

// appendMessage appends a message as an object with all its fields; those that can be
// absent are null then.
func appendMessage(b []byte, m protoreflect.Message) []byte {
	fields := m.Descriptor().Fields()
	b = append(b, '{')
	for i := range fields.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		f := fields.Get(i)
		b = append(form.AppendText(b, form.CamelCase(nameOf(f))), ':')
		if f.HasPresence() && !m.Has(f) {
			b = append(b, "null"...)
			continue
		}
		b = appendField(b, f, m.Get(f))
	}
	return append(b, '}')
}

func appendField(b []byte, f protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	if f.IsList() {
		b = append(b, '[')
		for i := range v.List().Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendScalar(b, f, v.List().Get(i))
		}
		return append(b, ']')
	}
	return appendScalar(b, f, v)
}

func appendScalar(b []byte, f protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return appendMessage(b, v.Message())
	case protoreflect.StringKind:
		return form.AppendText(b, v.String())
	case protoreflect.BytesKind: // of JSON
		if len(v.Bytes()) == 0 {
			return append(b, "null"...)
		}
		return append(b, v.Bytes()...)
	case protoreflect.DoubleKind:
		return form.AppendNumber(b, v.Float())
	case protoreflect.BoolKind:
		return strconv.AppendBool(b, v.Bool())
	case protoreflect.Uint64Kind, protoreflect.Uint32Kind:
		return strconv.AppendUint(b, v.Uint(), 10)
	case protoreflect.EnumKind:
		return strconv.AppendInt(b, int64(v.Enum()), 10)
	}
	return strconv.AppendInt(b, v.Int(), 10)
}

// appendCell appends a field as a cell of CSV.
func appendCell(b []byte, m protoreflect.Message, f protoreflect.FieldDescriptor, guard bool) []byte {
	if f.HasPresence() && !m.Has(f) {
		return b
	}
	v := m.Get(f)
	switch f.Kind() {
	case protoreflect.StringKind:
		s := v.String()
		return form.AppendCell(b, &s, guard)
	case protoreflect.BytesKind:
		if len(v.Bytes()) == 0 {
			return b
		}
		s := string(v.Bytes())
		return form.AppendCell(b, &s, guard)
	case protoreflect.DoubleKind:
		n := v.Float()
		return form.AppendCell(b, &n, guard)
	case protoreflect.MessageKind:
		s := string(appendField(nil, f, v))
		return form.AppendCell(b, &s, guard)
	}
	return appendScalar(b, f, v)
}

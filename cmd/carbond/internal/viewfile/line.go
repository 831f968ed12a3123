package viewfile

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"carbond/store/change"
)

// liner writes lines. Its bytes are valid until the next line.
type liner struct {
	b   []byte
	buf bytes.Buffer
	enc *json.Encoder
}

// delta returns the line of a delta.
func (l *liner) delta(x *change.Delta, ms int64) []byte {
	l.b = append(l.b[:0], '{')
	view, row := x.Row()
	l.fields(view, row)
	l.integer("diff", int64(x.Diff))
	l.integer("time", ms)
	l.b = append(l.b, "}\n"...)
	return l.b
}

// fields writes the fields of a row.
func (l *liner) fields(view *change.ViewDef, row any) {
	nulls := view.Null(row)
	for i := range view.Fields {
		name := view.Fields[i].Name
		if view.Fields[i].Null && nulls.Has(i) {
			l.name(name)
			l.b = append(l.b, "null"...)
			continue
		}
		switch x := view.Value(row, i).(type) {
		case *string:
			l.name(name)
			if l.enc == nil {
				l.enc = json.NewEncoder(&l.buf)
				l.enc.SetEscapeHTML(false)
			}
			l.buf.Reset()
			_ = l.enc.Encode(*x) // a string into memory cannot fail
			l.b = append(l.b, bytes.TrimSuffix(l.buf.Bytes(), []byte("\n"))...)
		case *int32:
			l.integer(name, int64(*x))
		case *int64:
			l.integer(name, *x)
		case *float64:
			l.number(name, *x)
		case *bool:
			l.name(name)
			l.b = strconv.AppendBool(l.b, *x)
		}
	}
}

func (l *liner) name(s string) {
	if len(l.b) > 1 {
		l.b = append(l.b, ',')
	}
	l.b = append(l.b, '"')
	l.b = append(l.b, s...)
	l.b = append(l.b, `":`...)
}

func (l *liner) integer(name string, n int64) {
	l.name(name)
	l.b = strconv.AppendInt(l.b, n, 10)
}

// number writes a number, and what JSON has no number for as Postgres spells it.
func (l *liner) number(name string, f float64) {
	l.name(name)
	switch {
	case math.IsNaN(f):
		l.b = append(l.b, `"NaN"`...)
	case math.IsInf(f, 1):
		l.b = append(l.b, `"Infinity"`...)
	case math.IsInf(f, -1):
		l.b = append(l.b, `"-Infinity"`...)
	case f != 0 && (math.Abs(f) < 1e-6 || math.Abs(f) >= 1e15):
		l.b = strconv.AppendFloat(l.b, f, 'e', -1, 64)
	default:
		l.b = strconv.AppendFloat(l.b, f, 'f', -1, 64)
	}
}

// millis is a time in ms since 1970, 0 for none.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

package debezium

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"carbond/store/change"
)

// Type OIDs that have a form of their own, beside those of package change.
const (
	oidBool      = 16
	oidBytea     = 17
	oidInt2      = 21
	oidOID       = 26
	oidJSON      = 114
	oidXML       = 142
	oidTime      = 1083
	oidTimestamp = 1114
	oidUUID      = 2950
	oidJSONB     = 3802
)

// unavailable stands for a value that the source never sent. The changelog has
// none, so it is seen only if that promise is broken.
const unavailable = "__debezium_unavailable_value"

// appendRow appends the columns of a row as a JSON object.
func appendRow(b []byte, rel *change.Relation, row change.Row) []byte {
	b = append(b, '{')
	b = appendColumns(b, rel, row, func(name string) string { return name })
	return append(b, '}')
}

// appendColumns appends the columns without the braces. Columns that the row
// does not have are left out.
func appendColumns(b []byte, rel *change.Relation, row change.Row, rename func(string) string) []byte {
	for i, v := range row.All() {
		if i >= len(rel.Columns) {
			break
		}
		if i > 0 {
			b = append(b, ',')
		}
		c := &rel.Columns[i]
		b = appendString(b, rename(c.Name))
		b = append(b, ':')
		b = appendValue(b, c.Type, v)
	}
	return b
}

// appendValue appends one value in the form of the table in doc.go.
func appendValue(b []byte, oid uint32, v change.Value) []byte {
	switch v.Kind {
	case change.Null:
		return append(b, "null"...)
	case change.Unchanged:
		if oid == oidBytea {
			return append(base64.StdEncoding.AppendEncode(append(b, '"'), []byte(unavailable)), '"')
		}
		return appendString(b, unavailable)
	}
	switch oid {
	case oidInt2, change.OIDInt4, change.OIDInt8, oidOID:
		if isNumber(v.Text) && inRange(v.Text) {
			return append(b, v.Text...)
		}
	case change.OIDFloat4, change.OIDFloat8:
		if isNumber(v.Text) && inRange(v.Text) {
			b = append(b, v.Text...)
			if !strings.ContainsAny(v.Text, ".eE") {
				b = append(b, ".0"...) // a reader that guesses types sees a double in each
			}
			return b
		}
	case oidTime:
		if out, ok := appendClock(b, v.Text); ok {
			return out
		}
	case oidTimestamp:
		if out, ok := appendMicros(b, v.Text); ok {
			return out
		}
	case oidBytea:
		if out, ok := appendBytes(b, v.Text); ok {
			return out
		}
	case oidBool:
		switch v.Text {
		case "t":
			return append(b, "true"...)
		case "f":
			return append(b, "false"...)
		}
	case change.OIDTimestamptz:
		if isUTC(v.Text) {
			b = append(append(b, '"'), v.Text[:10]...)
			b = append(append(b, 'T'), v.Text[11:len(v.Text)-3]...)
			return append(b, 'Z', '"')
		}
		if t, ok := parseTime(v.Text); ok {
			b = append(b, '"')
			b = t.UTC().AppendFormat(b, "2006-01-02T15:04:05.999999Z")
			return append(b, '"')
		}
	case change.OIDDate:
		if n, ok := days(v.Text); ok {
			return strconv.AppendInt(b, n, 10)
		}
	}
	return appendString(b, v.Text)
}

// isUTC reports whether s is a time as a session in UTC sends it, of which nothing
// but the punctuation has to change. It leaves the last days of a month to parseTime.
func isUTC(s string) bool {
	const shape = "0000-00-00 00:00:00"
	n := len(s) - 3
	if n < len(shape) || n == len(shape)+1 || n > len(shape)+7 || s[n:] != "+00" {
		return false
	}
	for i := range n {
		switch {
		case i > len(shape) || i < len(shape) && shape[i] == '0':
			if s[i] < '0' || s[i] > '9' {
				return false
			}
		case i == len(shape):
			if s[i] != '.' {
				return false
			}
		case s[i] != shape[i]:
			return false
		}
	}
	month, day := s[5:7], s[8:10]
	return s[:4] >= "0001" && month >= "01" && month <= "12" && day >= "01" && day <= "28" &&
		s[11:13] <= "23" && s[14:16] <= "59" && s[17:19] <= "59" && (n == len(shape) || s[n-1] != '0')
}

// days reads a date as days since 1970. The infinities are the largest and the
// smallest number of the type.
func days(s string) (int64, bool) {
	switch s {
	case "infinity":
		return math.MaxInt32, true
	case "-infinity":
		return math.MinInt32, true
	}
	s, bc := strings.CutSuffix(s, " BC")
	var part [3]int
	for i, p := range strings.SplitN(s, "-", 3) {
		n, err := strconv.Atoi(p)
		if err != nil {
			return 0, false
		}
		part[i] = n
	}
	if bc {
		part[0] = 1 - part[0]
	}
	return time.Date(part[0], time.Month(part[1]), part[2], 0, 0, 0, 0, time.UTC).Unix() / 86400, part[2] > 0
}

// parseTime reads the ISO form of a timestamptz, whatever the session's zone.
func parseTime(s string) (time.Time, bool) {
	for _, zone := range []string{"-07", "-07:00", "-07:00:00"} {
		t, err := time.Parse("2006-01-02 15:04:05.999999"+zone, s)
		if err == nil {
			y := t.UTC().Year()
			return t, y >= 1 && y <= 9999
		}
	}
	return time.Time{}, false
}

// inRange reports whether readers whose numbers are doubles can hold a number.
// Postgres sends no other in these types; a damaged or foreign text stays one.
func inRange(s string) bool {
	if len(s) <= 300 && !strings.ContainsAny(s, "eE") {
		return true
	}
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// isNumber reports whether s is a number in JSON's grammar.
func isNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	whole := digits(s)
	if whole == 0 || whole > 1 && s[0] == '0' {
		return false
	}
	s = s[whole:]
	if rest, ok := strings.CutPrefix(s, "."); ok {
		n := digits(rest)
		if n == 0 {
			return false
		}
		s = rest[n:]
	}
	if s == "" {
		return true
	}
	if s[0] != 'e' && s[0] != 'E' {
		return false
	}
	s = s[1:]
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	return s != "" && digits(s) == len(s)
}

// digits counts the digits that s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// appendString appends s as a JSON string. Bytes that are not UTF-8 become the
// replacement character: a JSON text has no others.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				b = append(append(b, s[from:i]...), "\ufffd"...)
				from = i + 1
			}
			i += n
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[from:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		from = i
	}
	return append(append(b, s[from:]...), '"')
}

// millis is a time in ms since 1970, 0 for none.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func appendUint(b []byte, n uint64) []byte { return strconv.AppendUint(b, n, 10) }

package debezium

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
)

// What Debezium makes of infinity in a timestamp.
const (
	forever = 9223372036825200000
	always  = -9223372036832400000
)

// appendMicros appends a timestamp without a zone as microseconds since 1970, as
// io.debezium.time.MicroTimestamp.
func appendMicros(b []byte, s string) ([]byte, bool) {
	switch s {
	case "infinity":
		return strconv.AppendInt(b, forever, 10), true
	case "-infinity":
		return strconv.AppendInt(b, always, 10), true
	}
	s, bc := strings.CutSuffix(s, " BC")
	date, clock, ok := strings.Cut(s, " ")
	if !ok {
		return b, false
	}
	if bc {
		date += " BC"
	}
	n, ok := days(date)
	us, fine := micros(clock)
	if !ok || !fine {
		return b, false
	}
	return strconv.AppendInt(b, n*86_400_000_000+us, 10), true
}

// appendClock appends a time of day as microseconds since midnight, as
// io.debezium.time.MicroTime.
func appendClock(b []byte, s string) ([]byte, bool) {
	us, ok := micros(s)
	if !ok {
		return b, false
	}
	return strconv.AppendInt(b, us, 10), true
}

// micros returns the microseconds since midnight of "12:34:56.789"; midnight may be
// 24:00:00.
func micros(s string) (int64, bool) {
	s, fine, _ := strings.Cut(s, ".")
	if len(s) != len("12:34:56") || s[2] != ':' || s[5] != ':' || len(fine) > 6 {
		return 0, false
	}
	out := int64(0)
	for _, f := range []struct {
		text string
		unit int64
	}{{s[:2], 3_600_000_000}, {s[3:5], 60_000_000}, {s[6:], 1_000_000}, {(fine + "000000")[:6], 1}} {
		n, err := strconv.ParseUint(f.text, 10, 32)
		if err != nil {
			return 0, false
		}
		out += int64(n) * f.unit
	}
	return out, out <= 86_400_000_000
}

// appendBytes appends a bytea as base64.
func appendBytes(b []byte, s string) ([]byte, bool) {
	raw, ok := strings.CutPrefix(s, `\x`)
	if !ok {
		return b, false
	}
	data, err := hex.DecodeString(raw)
	if err != nil {
		return b, false
	}
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, data)
	return append(b, '"'), true
}

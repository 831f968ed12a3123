package console

import (
	"math"
	"testing"
	"time"
)

func TestWords(t *testing.T) {
	for want, got := range map[string]string{
		"0": count(0), "999": count(999), "1,000": count(1000), "-1,234,567": count(-1234567), "1,883,278,658,644,433": count(uint64(1883278658644433)),
		"1,234.5": decimal(1234.5, -1), "0.10": decimal(.1, 2), "NaN": decimal(math.NaN(), 2), "-12.00": decimal(-12, 2), "+Inf": decimal(math.Inf(1), 2),
		"9,999": short(9999), "12.3 k": short(12345), "1.5 M": short(1.5e6), "-2.0 G": short(-2e9), "0.5": short(.5), "7": short(7),
		"12 B": bytesText(int64(12)), "3.0 MiB": bytesText(uint64(3 << 20)),
		"59 s": span(59 * time.Second), "2 min 5 s": span(125 * time.Second), "3 h 0 min": span(3 * time.Hour), "2 d 1 h": span(49 * time.Hour),
		"éé…": clip("ééé", 2), "é": clip("é", 2), "Project id": label("project_id"), "Price, USD": label("price_usd"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestReachable: the line is pasted into a shell, and Host is the client's to say.
func TestReachable(t *testing.T) {
	for name, tc := range map[string]struct{ listen, asked, want string }{
		"one address":       {"127.0.0.1:50051", "evil", "127.0.0.1:50051"},
		"a name":            {"db1:50051", "evil", "db1:50051"},
		"every address":     {"[::]:50051", "carbon.example:50080", "carbon.example:50051"},
		"every v4 address":  {"0.0.0.0:50051", "10.1.2.3:50080", "10.1.2.3:50051"},
		"v6":                {"[::]:50051", "[fd00::1]:50080", "[fd00::1]:50051"},
		"no port asked for": {"[::]:50051", "carbon.example", "carbon.example:50051"},
		"a command":         {"[::]:50051", "$(reboot):1", "127.0.0.1:50051"},
		"a flag":            {"[::]:50051", "-vv:1", "127.0.0.1:50051"},
		"quotes":            {"[::]:50051", "a'b", "127.0.0.1:50051"},
		"nothing":           {"[::]:50051", "", "127.0.0.1:50051"},
	} {
		if got := reachable(tc.listen, tc.asked); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestWeb(t *testing.T) {
	for link, want := range map[string]bool{
		"https://news.example/1": true, "http://news.example/1": true,
		"javascript:alert(1)": false, " javascript:alert(1)": false, "data:text/html,x": false, "//evil.example": false, "JaVaScRiPt:x": false, "": false,
	} {
		if web(link) != want {
			t.Errorf("%q is a link: %t", link, !want)
		}
	}
}

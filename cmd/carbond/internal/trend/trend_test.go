package trend_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/trend"
)

func open(t *testing.T, path string, now time.Time) *trend.Log {
	t.Helper()
	l, err := trend.Open(path, now)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What was added is there after any number of restarts, as far as it is young
// enough, and the file stays bounded.
func TestKept(t *testing.T) {
	path, at := filepath.Join(t.TempDir(), "trend.jsonl"), time.Unix(1_800_000_000, 0)
	per := int(trend.Keep / trend.Every)
	l := open(t, path, at)
	var want []trend.Sample
	for i := range 3*per + 7 {
		if i%1000 == 999 {
			l = open(t, path, at)
		}
		at = at.Add(trend.Every)
		s := trend.Sample{Unix: at.Unix(), Ready: i%3 > 0, Lag: float64(i), Offset: uint64(i)}
		if i%5 == 0 {
			s.Failing = []string{"verra"}
		}
		want = append(want, s)
		if err := l.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	want = want[len(want)-per:]
	same := func(a, b trend.Sample) bool {
		return a.Unix == b.Unix && a.Ready == b.Ready && a.Lag == b.Lag && a.Offset == b.Offset && slices.Equal(a.Failing, b.Failing)
	}
	for name, got := range map[string][]trend.Sample{"running": l.Samples(), "restarted": open(t, path, at).Samples()} {
		if !slices.EqualFunc(got, want, same) {
			t.Errorf("%s: %d samples, want %d", name, len(got), len(want))
		}
	}
	if b, err := os.ReadFile(path); err != nil || strings.Count(string(b), "\n") > 2*per {
		t.Errorf("%v: the file has %d lines", err, strings.Count(string(b), "\n"))
	}
	if got := open(t, path, at.Add(2*trend.Keep)).Samples(); len(got) != 0 {
		t.Errorf("%d samples are too old", len(got))
	}
}

// A line that a crash tore, or that somebody wrote, costs that line alone.
func TestTorn(t *testing.T) {
	path, at := filepath.Join(t.TempDir(), "trend.jsonl"), time.Unix(1_800_000_000, 0)
	good := `{"t":1799999990,"r":true,"l":1,"o":2}` + "\n"
	for name, tail := range map[string]string{
		"torn": `{"t":17999`, "not JSON": "\x00\xff\n", "of the future": `{"t":1900000000}` + "\n", "another thing": "[1]\n", "empty": "\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(good+tail), 0o600); err != nil {
				t.Fatal(err)
			}
			l := open(t, path, at)
			if err := l.Add(trend.Sample{Unix: at.Unix(), Offset: 3}); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if got := l.Samples(); len(got) != 2 || got[0].Offset != 2 || got[1].Offset != 3 {
					t.Fatalf("%+v", got)
				}
				l = open(t, path, at)
			}
		})
	}
}

// A folder that cannot be written costs what is on disk, and is told.
func TestUnwritable(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	l := open(t, filepath.Join(t.TempDir(), "gone", "trend.jsonl"), at)
	if err := l.Add(trend.Sample{Unix: at.Unix()}); err == nil {
		t.Error("no error")
	}
	if len(l.Samples()) != 1 {
		t.Error("the sample is lost")
	}
}

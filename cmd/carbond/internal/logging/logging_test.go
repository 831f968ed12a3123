package logging_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/logging"
)

func TestForms(t *testing.T) {
	hide := func(s string) string { return strings.ReplaceAll(s, "hunter2", "xxxxx") }
	for name, tc := range map[string]struct {
		opt  logging.Options
		want string
	}{
		"text":         {logging.Options{Redact: hide}, `^time=\S+ level=WARN msg="x xxxxx" a=1 err="dial xxxxx" list=\[xxxxx\]\n$`},
		"json":         {logging.Options{Format: "json", Redact: hide}, `^\{"time":"[^"]+","level":"WARN","msg":"x xxxxx","a":1,"err":"dial xxxxx","list":\["xxxxx"\]\}\n$`},
		"journal":      {logging.Options{Journal: true, Redact: hide}, `^<4>msg="x xxxxx" a=1 err="dial xxxxx" list=\[xxxxx\]\n$`},
		"journal json": {logging.Options{Journal: true, Format: "json", Redact: hide}, `^<4>\{"level":"WARN","msg":"x xxxxx","a":1,`},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			log := logging.New(&b, tc.opt)
			log.Debug("not shown")
			log.With("a", 1).Warn("x hunter2", "err", errors.New("dial hunter2"), "list", []string{"hunter2"})
			if !regexp.MustCompile(tc.want).MatchString(b.String()) {
				t.Errorf("got %q", b.String())
			}
		})
	}
}

func TestPrioritiesAndLevel(t *testing.T) {
	var b bytes.Buffer
	level := new(slog.LevelVar)
	log := logging.New(&b, logging.Options{Journal: true, Level: level}).WithGroup("g")
	log.Debug("d")
	level.Set(slog.LevelDebug)
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		log.Log(t.Context(), l, "m", "k", 1)
	}
	want := "<7>msg=m g.k=1\n<6>msg=m g.k=1\n<4>msg=m g.k=1\n<3>msg=m g.k=1\n"
	if b.String() != want {
		t.Errorf("got %q", b.String())
	}
}

func TestToJournal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "err"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	id := fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	if !logging.ToJournal(f, id) || logging.ToJournal(f, "1:2") || logging.ToJournal(f, "") || logging.ToJournal(nil, id) {
		t.Error("the stream is told wrongly")
	}
}

// TestDurations have their unit in both forms: JSON would have bare nanoseconds.
func TestDurations(t *testing.T) {
	for format, want := range map[string]string{"json": `"took":"68ms"`, "text": "took=68ms"} {
		var b strings.Builder
		logging.New(&b, logging.Options{Format: format}).Info("x", "took", 68*time.Millisecond)
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s: %s", format, b.String())
		}
	}
}

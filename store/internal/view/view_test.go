package view_test

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"carbond/store/change"
	"carbond/store/internal/view"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expected parts of the transcripts")

// TestTranscripts runs testdata/*.txt: commands, a line "----", and what they
// lead to, separated by blank lines.
//
//	put TABLE column=value ...   columns not named are NULL
//	del TABLE KEY                finance keys are TICKER,TIMESTAMP, those of vintages PROJECT_ID,VINTAGE
//	truncate TABLE
//	show projects|news|finance [FILTER]
//	show vintages PROJECT_ID
//	detail PROJECT_ID
//
// The commands of one part are one transaction; its deltas come first.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := newScript(t)
			var out []string
			for _, part := range strings.Split(strings.TrimSpace(string(b)), "\n\n") {
				cmds, want, _ := strings.Cut(part+"\n", "----\n")
				got := s.run(cmds)
				if !*rewrite && got != want && got+"\n" != want && got != strings.TrimRight(want, "\n")+"\n" {
					t.Errorf("%s\n--- got\n%s--- want\n%s", cmds, got, want)
				}
				out = append(out, strings.TrimRight(cmds, "\n")+"\n----\n"+got)
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(strings.Join(out, "\n")), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

type script struct {
	t      *testing.T
	state  *view.State
	shapes map[string]*view.Schema
	at     change.Offset
}

func newScript(t *testing.T) *script {
	s := &script{t: t, state: view.New(1), shapes: map[string]*view.Schema{}, at: 1}
	for i, name := range change.Tables() {
		sh, err := view.NewSchema(change.Standard(name), uint32(i+1))
		if err != nil {
			t.Fatal(err)
		}
		s.shapes[name] = sh
	}
	return s
}

func (s *script) run(cmds string) string {
	before := s.state.Copy()
	var touched view.Touched
	var shows []string
	for line := range strings.SplitSeq(strings.TrimSpace(cmds), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		s.at++
		verb, rest, _ := strings.Cut(line, " ")
		what, args, _ := strings.Cut(rest, " ")
		switch verb {
		case "put":
			s.put(&touched, s.shapes[what], args)
		case "del":
			s.del(&touched, s.shapes[what], args)
		case "truncate":
			s.state.Scan(s.shapes[what].Table, "", func(e view.Entry) bool {
				touched.Add(e.Schema, e.Row)
				return true
			})
			s.state.Clear(s.shapes[what].Table, s.at)
		case "show", "detail":
			shows = append(shows, line)
		default:
			s.t.Fatalf("unknown command %q", line)
		}
	}
	var b strings.Builder
	for _, d := range view.Deltas(before, s.state, &touched) {
		fmt.Fprintf(&b, "%+d %s\n", d.Diff, delta(d))
	}
	var bulk strings.Builder
	view.BulkDeltas(before, s.state, func(d change.Delta) bool {
		fmt.Fprintf(&bulk, "%+d %s\n", d.Diff, delta(d))
		return true
	})
	if x, y := sortedLines(b.String()), sortedLines(bulk.String()); x != y {
		s.t.Errorf("%s\nbulk deltas\n%s\ndiffer from\n%s", cmds, y, x)
	}
	for _, line := range shows {
		s.show(&b, line)
	}
	return b.String()
}

func sortedLines(s string) string {
	l := strings.Split(s, "\n")
	slices.Sort(l)
	return strings.Join(l, "\n")
}

func (s *script) put(touched *view.Touched, sh *view.Schema, args string) {
	vals := make([]change.Value, len(sh.Relation.Columns))
	for f := range strings.FieldsSeq(args) {
		name, v, _ := strings.Cut(f, "=")
		i := sh.Relation.Index(name)
		if i < 0 {
			s.t.Fatalf("no column %q", name)
		}
		v = strings.ReplaceAll(v, "_", " ")
		vals[i] = change.T(v)
		if strings.HasSuffix(name, "_at") && v != "infinity" && v != "-infinity" {
			vals[i] = change.T("2026-11-" + v + " 00:00:00+00")
		}
	}
	row := change.NewRow(vals...)
	key, err := sh.Key(row)
	if err != nil {
		s.t.Fatal(err)
	}
	if old, ok := s.state.Get(sh.Table, key); ok {
		touched.Add(old.Schema, old.Row)
	}
	touched.Add(sh, row)
	s.state.Put(view.Entry{Key: key, Row: row, Schema: sh}, s.at)
}

func (s *script) del(touched *view.Touched, sh *view.Schema, key string) {
	if ticker, ts, ok := strings.Cut(key, ","); ok {
		vals := make([]change.Value, len(sh.Relation.Columns))
		for i, k := range change.KeyColumns(sh.Relation.Name) {
			vals[sh.Relation.Index(k)] = change.T([]string{ticker, ts}[i])
		}
		k, err := sh.Key(change.NewRow(vals...))
		if err != nil {
			s.t.Fatal(err)
		}
		key = k
	}
	old, ok := s.state.Remove(sh.Table, key, s.at)
	if !ok {
		s.t.Fatalf("no row %q", key)
	}
	touched.Add(old.Schema, old.Row)
}

func (s *script) show(b *strings.Builder, line string) {
	f := strings.Fields(line)
	filter := ""
	if len(f) > 2 {
		filter = strings.ReplaceAll(f[2], "_", " ")
	}
	switch {
	case f[0] == "detail":
		d, ok := s.state.Project(f[1])
		fmt.Fprintf(b, "= %v %+v\n", ok, d)
	case f[1] == "vintages":
		d, _ := s.state.Project(f[2])
		for _, v := range d.Vintages {
			fmt.Fprintf(b, "= %d issued %g retired %g cancelled %g available %g, NULL %b\n", v.Vintage, v.Issued, v.Retired, v.Cancelled, v.Available, v.Null)
		}
	case f[1] == "projects":
		for p := range s.state.Projects(filter, "") {
			fmt.Fprintf(b, "= %s\n", delta(change.Delta{Project: &p}))
		}
	case f[1] == "news":
		for n := range s.state.News(filter) {
			fmt.Fprintf(b, "= %s\n", delta(change.Delta{News: &n}))
		}
	case f[1] == "finance":
		for q := range s.state.Quotes(filter, "") {
			fmt.Fprintf(b, "= %s\n", delta(change.Delta{Quote: &q}))
		}
	}
}

func delta(d change.Delta) string {
	switch {
	case d.Project != nil:
		return fmt.Sprintf("project %s %q %s %d %g", d.Project.ProjectID, d.Project.ProjectName, d.Project.Country, d.Project.Vintage, d.Project.Supply)
	case d.News != nil:
		return strings.TrimSpace(fmt.Sprintf("news %s %q %s %s", d.News.GUID, d.News.Title, d.News.Source, window(d.Window)))
	}
	return fmt.Sprintf("quote %s %g @%d", d.Quote.Ticker, d.Quote.Price, d.Quote.Timestamp)
}

func window(w string) string {
	if w == "" {
		return ""
	}
	return "in " + w
}

// TestNewsWindow lets items fall out of the newest 100 and come back.
func TestNewsWindow(t *testing.T) {
	s := newScript(t)
	add := func(i int) string {
		return s.run(fmt.Sprintf("put news guid=g%03d title=t source=S published_at=%02d", i, 1+i%28))
	}
	for i := range 100 {
		if got := strings.Count(add(i), "+1"); got != 2 {
			t.Fatalf("item %d: %d rows came, want one in each window", i, got)
		}
	}
	if got := s.run("put news guid=new title=t source=S published_at=29"); strings.Count(got, "-1 news") != 2 || strings.Count(got, "+1 news new") != 2 {
		t.Fatalf("a 101st item must push one out of each window:\n%s", got)
	}
	if got := s.run("del news new"); strings.Count(got, "-1 news new") != 2 || strings.Count(got, "+1 news") != 2 {
		t.Fatalf("its end must bring one back:\n%s", got)
	}
}

func TestInstant(t *testing.T) {
	at := func(s string) view.Instant {
		x, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		day := x.Unix() / 86400
		if day*86400 > x.Unix() {
			day--
		}
		return view.Instant{Day: int32(day - 10957), Micro: x.UnixMicro() - day*86400e6}
	}
	tests := map[string]struct {
		at view.Instant
		ok bool
	}{
		"2026-11-23 12:00:00+00":             {at("2026-11-23T12:00:00Z"), true},
		"2026-11-23 12:00:00.5+05:30":        {at("2026-11-23T12:00:00.5+05:30"), true},
		"2026-11-23 12:00:00.123456-03":      {at("2026-11-23T12:00:00.123456-03:00"), true},
		"2024-02-29 23:59:59.999999+00":      {at("2024-02-29T23:59:59.999999Z"), true},
		"1969-12-31 23:59:59+00":             {view.Instant{Day: -10958, Micro: 86399e6}, true},
		"0001-01-01 00:00:00+00":             {at("0001-01-01T00:00:00Z"), true},
		"0001-12-31 00:00:00+00 BC":          {at("0000-12-31T00:00:00Z"), true},
		"4713-01-01 00:00:00+00 BC":          {view.Instant{Day: int32(days(-4712) - 10957)}, true},
		"294276-12-31 23:59:59.999999+00":    {view.Instant{Day: 106751982, Micro: 86399999999}, true},
		"infinity":                           {view.Instant{Day: math.MaxInt32}, true},
		"-infinity":                          {view.Instant{Day: math.MinInt32}, true},
		"5874897-12-31":                      {view.Instant{Day: 2145031948}, true},
		"4714-11-24 BC":                      {view.Instant{Day: -2451545}, true},
		"0044-03-15 BC":                      {view.Instant{Day: int32(days(-43) - 10957 + 31 + 28 + 14)}, true},
		"2024-01-01 00:30:00+01":             {at("2023-12-31T23:30:00Z"), true},
		"":                                   {view.Instant{}, false},
		"yesterday":                          {view.Instant{}, false},
		"2026-13-01 00:00:00+00":             {view.Instant{}, false},
		"2026-11-23 12:00:00:00:00+00":       {view.Instant{}, false},
		"99999999999-11-23 12:00:00+00":      {view.Instant{}, false},
		"2026-11-23 12:00:00.1234567890123Z": {at("2026-11-23T12:00:00.123456Z"), true},
	}
	for text, want := range tests {
		got, ok := view.ReadInstant(change.T(text))
		if ok != want.ok || ok && got != want.at {
			t.Errorf("%q: got %v, %v, want %v, %v", text, got, ok, want.at, want.ok)
		}
	}
	if _, ok := view.ReadInstant(change.Value{}); ok {
		t.Error("NULL has no instant")
	}
}

// days counts the days from 1970 to 1 January of a proleptic Gregorian year,
// the slow way.
func days(year int) (n int64) {
	for y := 1969; y >= year; y-- {
		n -= 365
		if y%4 == 0 && (y%100 != 0 || y%400 == 0) {
			n--
		}
	}
	return n
}

// TestLoad: a table that was loaded answers as one whose rows came one by one.
func TestLoad(t *testing.T) {
	s := newScript(t)
	loaded := view.New(0)
	for i := range change.Tables() {
		loaded.Load(view.Table(i))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var puts strings.Builder
	for range 2000 {
		i := rng.IntN(300)
		for table, args := range map[string]string{
			change.Verra:      fmt.Sprintf("project_id=P%d project_name=n%d country=C%d", i, rng.IntN(9), i%7),
			change.Carbonmark: fmt.Sprintf("id=m%d project_id=P%d project_name=m%d updated_at=%02d", i, i/2, i, 1+rng.IntN(28)),
			change.Finance:    fmt.Sprintf("ticker=T%d timestamp=%d price=%d", i%20, i, i),
			change.News:       fmt.Sprintf("guid=g%d title=t source=S%d published_at=%02d", i, i%3, 1+i%28),
			change.Vintages:   fmt.Sprintf("project_id=P%d vintage=%d issued=%d", i/3, 2000+i%3, i),
		} {
			fmt.Fprintf(&puts, "put %s %s\n", table, args)
		}
	}
	s.run(puts.String())
	for i := range change.Tables() {
		s.state.Scan(view.Table(i), "", func(e view.Entry) bool {
			loaded.Put(e, 0)
			if got, ok := loaded.Get(view.Table(i), e.Key); !ok || got != e {
				t.Fatalf("%q is %v, %v while loading", e.Key, got, ok)
			}
			return true
		})
		loaded.Loaded(view.Table(i), 7)
	}
	for d := range func(yield func(change.Delta) bool) { view.BulkDeltas(s.state, loaded, yield) } {
		t.Errorf("the loaded one differs: %+d %s", d.Diff, delta(d))
	}
	show := func(s *script) (out string) {
		for _, line := range []string{"show projects", "show projects C3", "show news", "show news S1", "show finance", "show finance T5", "detail P5"} {
			var b strings.Builder
			s.show(&b, line)
			out += line + "\n" + b.String()
		}
		return out
	}
	if got, want := show(&script{t: t, state: loaded}), show(s); got != want {
		t.Errorf("the loaded one shows\n%s\nwant\n%s", got, want)
	}
	if got := loaded.Version(change.ViewProjects, "C3"); got != 7 {
		t.Errorf("version %d, want that of Loaded", got)
	}
}

package replicate

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"carbond/replicate/pgtest"
)

func TestReadSteps(t *testing.T) {
	for name, tt := range map[string]struct {
		files []string
		want  string // error, "" for none
	}{
		"in order":         {[]string{"m/002_b.sql", "m/001_a.sql", "m/notes.txt"}, ""},
		"none":             {nil, ""},
		"a gap":            {[]string{"m/001_a.sql", "m/003_c.sql"}, "003_c.sql: want number 002"},
		"twice":            {[]string{"m/001_a.sql", "m/001_b.sql"}, "001_b.sql: want number 002"},
		"zero":             {[]string{"m/000_a.sql"}, "want number 001"},
		"without number":   {[]string{"m/a.sql"}, "want number 001"},
		"without name":     {[]string{"m/001.sql"}, "want number 001"},
		"would sort wrong": {[]string{"m/1_a.sql"}, "want number 001"},
	} {
		t.Run(name, func(t *testing.T) {
			files := fstest.MapFS{}
			for _, f := range tt.files {
				files[f] = &fstest.MapFile{Data: []byte("-- " + f)}
			}
			steps, err := readSteps(files, "m")
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range steps {
				if s.version != i+1 || s.sql != "-- m/"+s.name {
					t.Errorf("step %d is %+v", i, s)
				}
			}
		})
	}
	if steps, err := readSteps(migrations, "migrations"); err != nil || len(steps) < 2 {
		t.Fatalf("our own: %v, %v", steps, err)
	}
}

// TestFailedStep shows that a step that fails in its middle leaves nothing, and
// that the next run goes on after the last one that was done.
func TestFailedStep(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	opt := Options{URL: url, Schema: `Odd "schema`}.withDefaults()
	pgtest.Exec(t, url, "CREATE SCHEMA "+ident(opt.Schema))
	conn, err := opt.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	steps := []step{
		{"001_a.sql", 1, "CREATE TABLE a (n int); -- a comment; with a semicolon\nINSERT INTO a VALUES (1)"},
		{"002_b.sql", 2, "INSERT INTO a VALUES (2); CREATE TABLE b (n int); SELECT 1/0"},
	}
	state := func() string {
		rows := pgtest.Text(t, url, "SELECT (SELECT string_agg(n::text, ',' ORDER BY n) FROM "+ident(opt.Schema, "a")+
			"), to_regclass("+literal(ident(opt.Schema, "b"))+")::text, (SELECT string_agg(version::text, ',') FROM "+ident(opt.Schema, versionTable)+")")
		return strings.Join(rows[0], " ")
	}
	if err := runSteps(t.Context(), conn, &opt, steps, false); err == nil || !strings.Contains(err.Error(), "migration 002_b.sql") {
		t.Fatalf("got %v", err)
	}
	if got := state(); got != "1 NULL 1" {
		t.Fatalf("after the failure: %s", got)
	}
	steps[1].sql = "INSERT INTO a VALUES (2); CREATE TABLE IF NOT EXISTS b (n int)"
	for range 2 {
		if err := runSteps(t.Context(), conn, &opt, steps, false); err != nil {
			t.Fatal(err)
		}
	}
	if got := state(); got != `1,2 "Odd ""schema".b 2` {
		t.Fatalf("after the second run: %s", got)
	}
	if err := runSteps(t.Context(), conn, &opt, steps[1:], true); err == nil || !strings.Contains(err.Error(), "newer carbond") {
		t.Fatalf("older steps: %v", err)
	}
	if err := runSteps(t.Context(), conn, &opt, slices.Concat(steps[1:], steps[1:]), true); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != `1,2,2,2 "Odd ""schema".b 2` {
		t.Fatalf("after the repetition: %s", got)
	}
}

package replicate_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"carbond/replicate/pgtest"
	"carbond/store/change"
)

// tables of the test: one with a key, whose long values are not sent again, and
// one without, of which whole rows come.
var growing = []string{
	"CREATE TABLE public.keyed (a int, b text, ver bigint, note text, PRIMARY KEY (b, a)); ALTER TABLE public.keyed ALTER note SET STORAGE EXTERNAL",
	"CREATE TABLE public.bag (a int, ver bigint); ALTER TABLE public.bag REPLICA IDENTITY FULL",
	"CREATE SEQUENCE public.versions",
	"INSERT INTO public.keyed SELECT i, 'key ''' || i % 7, nextval('versions'), repeat('n', 2100) || i FROM generate_series(1, 4000) i",
	"INSERT INTO public.bag SELECT i % 50, nextval('versions') FROM generate_series(1, 1500) i",
}

// scribble changes the tables at random until ctx ends.
func scribble(ctx context.Context, t *testing.T, url string, seed, worker uint64) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rng := rand.New(rand.NewPCG(seed, worker))
	for ctx.Err() == nil {
		var sql []string
		for range 1 + rng.IntN(4) {
			a := rng.IntN(4200)
			where := fmt.Sprintf(" WHERE a = %d AND b = 'key ''%d'", a, a%7)
			sql = append(sql, []string{
				"UPDATE public.keyed SET ver = nextval('versions')" + where,
				"UPDATE public.keyed SET ver = nextval('versions')" + where,
				"UPDATE public.keyed SET ver = nextval('versions'), note = repeat('m', 2100)" + where,
				"DELETE FROM public.keyed" + where,
				fmt.Sprintf("INSERT INTO public.keyed VALUES (%d, 'key ''%d', nextval('versions'), repeat('c', 2100)) ON CONFLICT DO NOTHING", a, a%7),
				fmt.Sprintf("UPDATE public.keyed SET a = %d, b = 'key ''%d', ver = nextval('versions'), note = repeat('k', 2100)%s AND NOT EXISTS (SELECT FROM public.keyed k WHERE k.a = %d)", a+5000, (a+5000)%7, where, a+5000),
				fmt.Sprintf("UPDATE public.bag SET ver = nextval('versions') WHERE ctid IN (SELECT ctid FROM public.bag WHERE a = %d LIMIT 1)", rng.IntN(50)),
				fmt.Sprintf("DELETE FROM public.bag WHERE ctid IN (SELECT ctid FROM public.bag WHERE a = %d LIMIT 1)", rng.IntN(50)),
				fmt.Sprintf("INSERT INTO public.bag VALUES (%d, nextval('versions'))", rng.IntN(50)),
			}[rng.IntN(9)])
		}
		end := []string{"COMMIT", "COMMIT", "COMMIT", "ROLLBACK"}[rng.IntN(4)]
		_, err := conn.Exec(ctx, "BEGIN; "+strings.Join(sql, "; ")+"; "+end, pgx.QueryExecModeSimpleProtocol)
		if err != nil && ctx.Err() == nil { // a deadlock or a key that is taken
			_, _ = conn.Exec(ctx, "ROLLBACK")
		}
	}
}

// replay follows a topic as a consumer does, who knows rows by their key, and
// returns the lines of the table that it leads to.
func replay(t *testing.T, changes []change.Change) (lines []string) {
	t.Helper()
	rows, newest, seen := map[string][]change.Value{}, map[string]int{}, map[string]bool{}
	for i, c := range changes {
		name := func(r change.Row) string { return r.Value(0).Text + "|" + r.Value(1).Text }
		switch c.Op {
		case change.Truncate:
			clear(rows)
			clear(newest)
			continue
		case change.Delete:
			delete(rows, name(c.Before))
			continue
		}
		k, ver := name(c.After), c.After.Value(2).Text
		v, _ := strconv.Atoi(ver)
		if c.Op == change.Read && v < newest[k] {
			t.Errorf("record %d reads version %d of %s behind version %d", i, v, k, newest[k])
		}
		if c.Op != change.Read {
			if seen[ver] {
				t.Errorf("record %d: version %s came twice", i, ver)
			}
			seen[ver] = true
		}
		if c.Op == change.Read && v == newest[k] && rows[k] == nil {
			t.Errorf("record %d reads version %d of %s, which is gone", i, v, k)
		}
		newest[k] = v
		before := rows[k]
		if c.Before != "" {
			before = rows[name(c.Before)]
			delete(rows, name(c.Before))
		}
		var row []change.Value
		for j, v := range c.After.All() {
			if v.Kind == change.Unchanged && before != nil {
				v = before[j]
			}
			row = append(row, v)
		}
		rows[k] = row
	}
	for _, row := range rows {
		lines = append(lines, rowText(change.NewRow(row...)))
	}
	sort.Strings(lines)
	return lines
}

// count follows a topic without keys.
func count(t *testing.T, changes []change.Change) (lines []string) {
	t.Helper()
	rows := map[string]int{}
	for i, c := range changes {
		if c.Op == change.Truncate {
			clear(rows)
			continue
		}
		if c.Before != "" {
			if rows[rowText(c.Before)]--; rows[rowText(c.Before)] < 0 {
				t.Errorf("record %d takes a row away that is not there: %s", i, rowText(c.Before))
			}
		}
		if c.After != "" {
			rows[rowText(c.After)]++
		}
	}
	for line, n := range rows {
		for range n {
			lines = append(lines, line)
		}
	}
	sort.Strings(lines)
	return lines
}

func sqlLines(t *testing.T, url, table, columns string) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	rows, err := conn.Query(t.Context(), "SELECT '(' || concat_ws(',', "+columns+") || ')' FROM "+table)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(out)
	return out
}

// TestOnline adds tables to a running replication under writers, breaks it off again and
// again, and follows the topics as consumers do.
func TestOnline(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 99))
	url := pgtest.Shared(t).Database(t)
	pgtest.Exec(t, url, growing...)
	sink, opt := newSink(), options(url)
	r := run(t, sink, opt)
	r.level()
	r.stop()

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for worker := range uint64(3) {
		wg.Go(func() { scribble(ctx, t, url, seed, worker) })
	}
	opt.Tables = []string{"public.keyed", "public.bag"}
	var breaks int
	for !sink.finished("carbon.public.keyed", "carbon.public.bag") {
		// A sink that fails before or after it has taken something is what a kill is.
		var left atomic.Int64
		left.Store(1 + rng.Int64N(40))
		sink.setHook(func(txns []change.Txn) error {
			if left.Add(-1) == 0 {
				return fmt.Errorf("broken off")
			}
			return nil
		})
		r = run(t, sink, opt)
		eventually(t, func() error {
			if !sink.finished("carbon.public.keyed", "carbon.public.bag") && left.Load() > 0 {
				return fmt.Errorf("not copied: %+v", r.Status())
			}
			return nil
		})
		r.stop()
		breaks++
	}
	sink.setHook(nil)
	r = run(t, sink, opt)
	stop()
	wg.Wait()
	r.level()
	t.Logf("%d sessions; %d records of keyed, %d of bag", breaks, len(sink.changes("carbon.public.keyed")), len(sink.changes("carbon.public.bag")))
	if got, want := replay(t, sink.changes("carbon.public.keyed")), sqlLines(t, url, "public.keyed", "a, b, ver, note"); !slices.Equal(got, want) {
		t.Errorf("keyed: %d rows, want %d: %s", len(got), len(want), firstDifference(got, want))
	}
	if got, want := count(t, sink.changes("carbon.public.bag")), sqlLines(t, url, "public.bag", "a, ver"); !slices.Equal(got, want) {
		t.Errorf("bag: %d rows, want %d: %s", len(got), len(want), firstDifference(got, want))
	}
	sink.sameAsSQL(t, url)
}

// TestBreakBehindACopy breaks the session off as soon as a table without a key is
// copied: what the copy has shown comes again, because the changes left no trace while
// the table was not copied, and must not count twice.
func TestBreakBehindACopy(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	pgtest.Exec(t, url, growing...)
	sink, opt := newSink(), options(url)
	opt.AdvanceInterval = time.Hour // no idle position becomes durable meanwhile
	r := run(t, sink, opt)
	r.level()
	r.stop()
	ctx, stop := context.WithCancel(t.Context())
	var written sync.WaitGroup
	written.Go(func() {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close(context.WithoutCancel(ctx))
		for ctx.Err() == nil {
			_, _ = conn.Exec(ctx, "INSERT INTO public.bag VALUES (1, nextval('versions')); DELETE FROM public.bag WHERE ctid IN (SELECT ctid FROM public.bag LIMIT 1)")
		}
	})
	opt.Tables = []string{"public.bag"}
	var broken atomic.Bool
	sink.setHook(func([]change.Txn) error {
		if sink.finished("carbon.public.bag") && !broken.Swap(true) {
			return fmt.Errorf("broken off")
		}
		return nil
	})
	r = run(t, sink, opt)
	eventually(t, func() error {
		if !broken.Load() {
			return fmt.Errorf("not copied: %+v", r.Status())
		}
		return nil
	})
	stop()
	written.Wait()
	r.level()
	if got, want := count(t, sink.changes("carbon.public.bag")), sqlLines(t, url, "public.bag", "a, ver"); !slices.Equal(got, want) {
		t.Errorf("bag: %d rows, want %d: %s", len(got), len(want), firstDifference(got, want))
	}
}

func firstDifference(got, want []string) string {
	have := map[string]int{}
	for _, l := range got {
		have[l]++
	}
	for _, l := range want {
		if have[l]--; have[l] < 0 {
			return "lacks " + l[:min(len(l), 60)]
		}
	}
	for _, l := range slices.Sorted(maps.Keys(have)) {
		if have[l] > 0 {
			return "has " + l[:min(len(l), 60)]
		}
	}
	return "none"
}

func (m *memSink) changes(topic string) []change.Change {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.plain[topic])
}

// finished reports whether the marks of all topics say that they were copied.
func (m *memSink) finished(topics ...string) bool {
	marks := m.Marks()
	return !slices.ContainsFunc(topics, func(topic string) bool { return !strings.Contains(marks[topic], `"done":true`) })
}

// TestResnapshot copies tables again beside the stream: a table of a view as
// differences, another as r records.
func TestResnapshot(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	pgtest.Exec(t, url, growing...)
	sink, opt := newSink(), options(url)
	opt.Tables = []string{"public.keyed"}
	r := run(t, sink, opt)
	r.level()
	pgtest.Exec(t, url, "INSERT INTO verra (project_id, project_name) SELECT 'VCS' || i, 'name' FROM generate_series(1, 100) i")
	r.level()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { scribble(ctx, t, url, 1, 1) })
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			pgtest.Exec(t, url, fmt.Sprintf("UPDATE verra SET project_name = 'n%d' WHERE project_id = 'VCS%d'", n, 1+n%100))
		}
	})
	for _, table := range []string{"verra", "public.verra", "carbon.public.keyed", "public.keyed"} {
		if err := r.Resnapshot(t.Context(), table); err != nil {
			t.Errorf("%s: %v", table, err)
		}
	}
	if err := r.Resnapshot(t.Context(), "public.nothing"); err == nil {
		t.Error("a table that is not kept was copied")
	}
	stop()
	wg.Wait()
	r.level()
	sink.sameAsSQL(t, url)
	if got, want := replay(t, sink.changes("carbon.public.keyed")), sqlLines(t, url, "public.keyed", "a, b, ver, note"); !slices.Equal(got, want) {
		t.Errorf("keyed: %d rows, want %d: %s", len(got), len(want), firstDifference(got, want))
	}
	reads := 0
	for _, c := range sink.changes("carbon.public.keyed") {
		if c.Op == change.Read {
			reads++
		}
	}
	if reads < 3*3500 {
		t.Errorf("%d rows were read, want three copies of some 4000", reads)
	}
}

// TestLaterViewTable goes on with a changelog whose copy did not bring one of the
// views' tables: it comes in beside the stream, and is no gap.
func TestLaterViewTable(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	sink, opt := newSink(), options(url)
	r := run(t, sink, opt)
	r.level()
	r.stop()
	// As an earlier version left it, which did not know the table.
	sink.mu.Lock()
	words := slices.DeleteFunc(strings.Fields(sink.pos.Source.Catalog), func(w string) bool { return strings.HasPrefix(w, "news=") })
	sink.pos.Source.Catalog = strings.Join(words, " ")
	sink.mu.Unlock()
	pgtest.Exec(t, url, "ALTER PUBLICATION carbond DROP TABLE news", "INSERT INTO news (guid, title) SELECT i, 'old' FROM generate_series(1, 500) i")
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			pgtest.Exec(t, url, fmt.Sprintf("UPDATE news SET title = 'n%d' WHERE guid = '%d'", n, n%500),
				fmt.Sprintf("DELETE FROM news WHERE guid = '%d'", n%700), fmt.Sprintf("INSERT INTO news (guid, title) VALUES ('%d', 'new') ON CONFLICT DO NOTHING", n%600))
		}
	})
	r = run(t, sink, opt)
	eventually(t, func() error {
		if !sink.finished("carbon.public.news") {
			return fmt.Errorf("not copied: %+v", r.Status())
		}
		return nil
	})
	if s := r.Status(); s.Kind != "" || !s.Connected {
		t.Errorf("status %+v", s)
	}
	r.stop()
	r = run(t, sink, opt) // the table is one of ours now
	stop()
	wg.Wait()
	r.level()
	sink.sameAsSQL(t, url)
	if n := r.copies(); n > 0 {
		t.Errorf("%d copies of all", n)
	}
}

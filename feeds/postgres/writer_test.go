package postgres_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"carbond/feeds"
	"carbond/feeds/postgres"
	"carbond/replicate/pgtest"
	"carbond/store/change"
)

// tables are the four tables, with a column of a user's own.
const tables = `
CREATE TABLE verra (id bigserial, project_id text PRIMARY KEY, project_name text, project_link text, project_summary text,
	registry_status text, country text, vintage int, supply double precision, updated_at timestamptz, my_note text DEFAULT 'mine');
CREATE TABLE carbonmark (id text PRIMARY KEY, project_id text, project_name text, vintage int, amount double precision, updated_at timestamptz);
CREATE TABLE finance (ticker text, price double precision, volume bigint, market_cap double precision, change_percent double precision,
	timestamp bigint, PRIMARY KEY (ticker, timestamp));
CREATE TABLE news (guid text PRIMARY KEY, title text, link text, published text, published_at timestamptz, source text, summary text);`

func newWriter(t *testing.T) (*postgres.Writer, string) {
	t.Helper()
	url := pgtest.Shared(t).Database(t)
	pgtest.Exec(t, url, tables)
	pool, err := pgxpool.New(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return postgres.New(pool), url
}

func v(s string) change.Value { return change.T(s) }

var null = change.Value{}

func verraEdit(rows ...change.Row) change.Edit {
	return change.Edit{
		Table: change.Verra, Columns: []string{"project_id", "country", "vintage", "supply"}, Rows: rows, Stamp: "updated_at",
	}
}

func write(t *testing.T, w feeds.Writer, edits ...change.Edit) change.Written {
	t.Helper()
	n, err := w.Write(context.Background(), edits)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func one(t *testing.T, url, sql string) string {
	t.Helper()
	rows := pgtest.Text(t, url, sql)
	if len(rows) != 1 || len(rows[0]) != 1 {
		t.Fatalf("%s: %v", sql, rows)
	}
	return rows[0][0]
}

func TestWritesOnlyWhatChanged(t *testing.T) {
	w, url := newWriter(t)
	first := verraEdit(
		change.NewRow(v("VCS-1"), v("Brazil"), v("2020"), v("10.5")),
		change.NewRow(v("VCS-2"), v("Peru"), null, v("1430149137")),
		change.NewRow(v("VCS-3"), v(`O'Brien "; DROP`), null, null),
	)
	if n := write(t, w, first); n != (change.Written{Inserted: 3}) {
		t.Fatalf("first write: %+v", n)
	}
	stamp := one(t, url, "SELECT updated_at FROM verra WHERE project_id = 'VCS-1'")
	if n := write(t, w, first); n != (change.Written{Unchanged: 3}) {
		t.Fatalf("same again: %+v", n)
	}
	second := verraEdit(
		change.NewRow(v("VCS-1"), v("Brazil"), v("2020"), v("10.50")),
		change.NewRow(v("VCS-2"), v("Peru"), v("2021"), v("1.430149137e+09")),
		change.NewRow(v("VCS-4"), v("Chile"), null, null),
	)
	second.Delete = []change.Row{change.NewRow(v("VCS-3")), change.NewRow(v("VCS-9"))}
	want := change.Written{Inserted: 1, Updated: 1, Deleted: 1, Unchanged: 1}
	left, n, err := w.Preview(context.Background(), []change.Edit{second})
	if err != nil || n != want {
		t.Fatalf("preview: %+v, %v", n, err)
	}
	only := verraEdit(second.Rows[1:]...)
	only.Delete = second.Delete[:1]
	if fmt.Sprint(left) != fmt.Sprint([]change.Edit{only}) {
		t.Errorf("preview left %v, want %v", left, only)
	}
	if n := write(t, w, second); n != want {
		t.Fatalf("second write: %+v", n)
	}
	if again := one(t, url, "SELECT updated_at FROM verra WHERE project_id = 'VCS-1'"); again != stamp {
		t.Error("the stamp of an unchanged row moved")
	}
	if note := one(t, url, "SELECT my_note FROM verra WHERE project_id = 'VCS-2'"); note != "mine" {
		t.Errorf("a column of the user's became %q", note)
	}
	// An update must not burn values of the row's sequence.
	if last := one(t, url, "SELECT last_value FROM verra_id_seq"); last != "4" {
		t.Errorf("sequence stands at %s after 4 inserts", last)
	}
	rows, err := w.Rows(context.Background(), change.Verra, []string{"project_id", "vintage"})
	if err != nil || len(rows) != 3 {
		t.Fatalf("rows: %v, %v", rows, err)
	}
}

func TestLeavesOmittedColumns(t *testing.T) {
	w, url := newWriter(t)
	write(t, w, verraEdit(change.NewRow(v("VCS-1"), v("Brazil"), v("2020"), v("10"))))
	part := change.Edit{Table: change.Verra, Columns: []string{"country", "project_id"}, Rows: []change.Row{change.NewRow(v("Peru"), v("VCS-1"))}}
	if n := write(t, w, part); n.Updated != 1 {
		t.Fatalf("%+v", n)
	}
	if got := one(t, url, "SELECT country || vintage || supply FROM verra"); got != "Peru202010" {
		t.Errorf("got %s", got)
	}
}

// A poll without news must leave nothing in the log: no row, no lock record, no
// transaction id.
// TestMerge: what a row has that is there already. NULL is the value of nobody.
func TestMerge(t *testing.T) {
	for name, tt := range map[string]struct {
		merge change.Merge
		want  string // after 'Brazil', 2020, NULL was there and NULL, 2021, 7 is given
		n     change.Written
	}{
		"replace": {change.Replace, "null 2021 7", change.Written{Updated: 1, Inserted: 1}},
		"known":   {change.Known, "Brazil 2021 7", change.Written{Updated: 1, Inserted: 1}},
		"missing": {change.Missing, "Brazil 2020 7", change.Written{Updated: 1, Inserted: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			w, url := newWriter(t)
			write(t, w, verraEdit(change.NewRow(v("VCS-1"), v("Brazil"), v("2020"), null)))
			e := verraEdit(change.NewRow(v("VCS-1"), null, v("2021"), v("7")), change.NewRow(v("VCS-2"), null, v("2021"), v("7")))
			e.Merge = tt.merge
			if _, n, err := w.Preview(t.Context(), []change.Edit{e}); err != nil || n != tt.n {
				t.Errorf("preview: %+v %v", n, err)
			}
			if n := write(t, w, e); n != tt.n {
				t.Errorf("%+v", n)
			}
			if got := one(t, url, "SELECT concat_ws(' ', COALESCE(country, 'null'), vintage, supply) FROM verra WHERE project_id = 'VCS-1'"); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if n := write(t, w, e); n != (change.Written{Unchanged: 2}) {
				t.Errorf("again: %+v", n)
			}
		})
	}
}

func TestUnchangedPollWritesNoWAL(t *testing.T) {
	w, url := newWriter(t)
	edits := []change.Edit{verraEdit(), {
		Table: change.Finance, Columns: []string{"ticker", "timestamp", "price"},
		Rows: []change.Row{change.NewRow(v("KRBN"), v("1795208401"), v("34.25"))},
	}, {
		Table: change.News, Columns: []string{"guid", "published_at"},
		Rows: []change.Row{change.NewRow(v("a"), v("2026-11-23 10:00:00+00")), change.NewRow(v("b"), null)},
	}}
	for i := range 2000 {
		edits[0].Rows = append(edits[0].Rows, change.NewRow(v("VCS-"+strconv.Itoa(i)), v("Brazil"), null, v("0.1")))
	}
	write(t, w, edits...)
	pgtest.Exec(t, url, "VACUUM", "CHECKPOINT")
	pgtest.Exec(t, url, "SELECT pg_create_logical_replication_slot('peek_'||current_database(), 'test_decoding')")
	defer pgtest.Exec(t, url, "SELECT pg_drop_replication_slot('peek_'||current_database())")
	// The server itself writes now and then (running transactions, autovacuum):
	// one quiet measurement is proof.
	var report string
	for range 5 {
		if report = quiet(t, w, url, edits); report == "" {
			return
		}
	}
	t.Error(report)
}

// quiet writes edits three times and reports what that left in the log.
func quiet(t *testing.T, w feeds.Writer, url string, edits []change.Edit) string {
	t.Helper()
	xid := one(t, url, "SELECT pg_snapshot_xmax(pg_current_snapshot())")
	before := one(t, url, "SELECT pg_current_wal_insert_lsn()")
	for range 3 {
		if n := write(t, w, edits...); n.Changed() || n.Unchanged != 2003 {
			t.Fatalf("%+v", n)
		}
	}
	after := one(t, url, "SELECT pg_current_wal_insert_lsn()")
	if got := pgtest.Text(t, url, "SELECT data FROM pg_logical_slot_peek_changes('peek_'||current_database(), NULL, NULL)"); len(got) != 0 {
		t.Fatalf("the log has %v", got)
	}
	if next := one(t, url, "SELECT pg_snapshot_xmax(pg_current_snapshot())"); next != xid {
		return "transaction ids went from " + xid + " to " + next
	}
	a, _ := change.ParseLSN(before)
	b, _ := change.ParseLSN(after)
	if b-a > 200 {
		return fmt.Sprintf("three unchanged polls wrote %d bytes of log", b-a)
	}
	return ""
}

func TestRepeatedKeys(t *testing.T) {
	w, url := newWriter(t)
	n := write(t, w, verraEdit(
		change.NewRow(v("VCS-1"), v("Brazil"), null, null),
		change.NewRow(v("VCS-1"), v("Peru"), null, null),
	))
	if n.Inserted != 1 || one(t, url, "SELECT country FROM verra") != "Peru" {
		t.Errorf("%+v", n)
	}
}

// A writer that adds the same key between our look and our insert must not
// fail the poll.
func TestConcurrentInserts(t *testing.T) {
	w, url := newWriter(t)
	edit := verraEdit()
	for i := range 500 {
		edit.Rows = append(edit.Rows, change.NewRow(v("VCS-"+strconv.Itoa(i)), v("Brazil"), null, null))
	}
	errs := make(chan error)
	for range 4 {
		go func() { _, err := w.Write(context.Background(), []change.Edit{edit}); errs <- err }()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := one(t, url, "SELECT count(*) FROM verra"); got != "500" {
		t.Error(got)
	}
}

func TestOtherTypes(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	pgtest.Exec(t, url, "CREATE TABLE verra (project_id varchar(20) PRIMARY KEY, country text, vintage smallint, supply numeric(20,2), updated_at timestamp)")
	pool, err := pgxpool.New(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	w := postgres.New(pool)
	e := verraEdit(change.NewRow(v("VCS-1"), v("Brazil"), v("2020"), v("10.5")))
	if n := write(t, w, e); n.Inserted != 1 {
		t.Errorf("%+v", n)
	}
	if n := write(t, w, e); n.Changed() {
		t.Errorf("%+v", n)
	}
}

// TestColumnsAdded writes to tables of before a column came, and once it is there.
func TestColumnsAdded(t *testing.T) {
	w, url := newWriter(t)
	e := change.Edit{
		Table: change.Finance, Columns: []string{"ticker", "timestamp", "price", "currency"},
		Rows: []change.Row{change.NewRow(v("A"), v("1"), v("2"), v("GBp"))},
	}
	if n := write(t, w, e); n != (change.Written{Inserted: 1}) {
		t.Errorf("without the column: %+v", n)
	}
	if left, n, err := w.Preview(t.Context(), []change.Edit{e}); err != nil || n != (change.Written{Unchanged: 1}) || len(left) > 0 {
		t.Errorf("without the column, once more: %v %+v %v", left, n, err)
	}
	pgtest.Exec(t, url, "ALTER TABLE finance ADD currency text")
	if n := write(t, w, e); n != (change.Written{Updated: 1}) || one(t, url, "SELECT currency FROM finance") != "GBp" {
		t.Errorf("with the column: %+v", n)
	}
	pgtest.Exec(t, url, "ALTER TABLE news ADD published_estimated boolean")
	n := change.Edit{
		Table: change.News, Columns: []string{"guid", "published_estimated"},
		Rows: []change.Row{change.NewRow(v("g"), v("t")), change.NewRow(v("h"), v("f"))},
	}
	if w := write(t, w, n); w != (change.Written{Inserted: 2}) || one(t, url, "SELECT string_agg(guid || published_estimated, ' ' ORDER BY guid) FROM news") != "gtrue hfalse" {
		t.Errorf("a boolean: %+v", w)
	}
	if w := write(t, w, n); w != (change.Written{Unchanged: 2}) {
		t.Errorf("a boolean once more: %+v", w)
	}
}

// TestLaterTable writes to a table that came later only where it is as carbond makes it.
func TestLaterTable(t *testing.T) {
	w, url := newWriter(t)
	const columns = "project_id text, vintage int, issued float8, retired float8, cancelled float8, available float8, updated_at timestamptz"
	e := change.Edit{
		Table: change.Vintages, Columns: []string{"project_id", "vintage", "issued"}, Stamp: "updated_at",
		Rows: []change.Row{change.NewRow(v("P"), v("2020"), v("7"))},
	}
	for name, tt := range map[string]struct {
		sql []string
		ok  bool
	}{
		"missing":         {nil, false},
		"as it is made":   {[]string{"CREATE TABLE vintages (" + columns + ", PRIMARY KEY (project_id, vintage))"}, true},
		"with more":       {[]string{"CREATE TABLE vintages (note text, " + columns + ", PRIMARY KEY (vintage, project_id))"}, true},
		"a needed column": {[]string{"CREATE TABLE vintages (note text NOT NULL, " + columns + ", PRIMARY KEY (project_id, vintage))"}, false},
		"no key":          {[]string{"CREATE TABLE vintages (" + columns + ")"}, false},
		"another key":     {[]string{"CREATE TABLE vintages (" + columns + ", PRIMARY KEY (project_id))"}, false},
		"a longer key":    {[]string{"CREATE TABLE vintages (n int DEFAULT 0, " + columns + ", PRIMARY KEY (project_id, vintage, n))"}, false},
		"another type":    {[]string{"CREATE TABLE vintages (" + strings.Replace(columns, "issued float8", "issued text", 1) + ", PRIMARY KEY (project_id, vintage))"}, false},
		"a column less":   {[]string{"CREATE TABLE vintages (project_id text, vintage int, PRIMARY KEY (project_id, vintage))"}, false},
		"a view":          {[]string{"CREATE VIEW vintages AS SELECT 'P' AS project_id"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			pgtest.Exec(t, url, tt.sql...)
			_, err := w.Write(t.Context(), []change.Edit{e})
			if rows, read := w.Rows(t.Context(), change.Vintages, []string{"project_id"}); (err == nil) != tt.ok || (read == nil) != tt.ok || tt.ok && len(rows) != 1 {
				t.Errorf("written: %v, read: %v, %d rows", err, read, len(rows))
			}
			if _, _, err := w.Preview(t.Context(), []change.Edit{e}); (err == nil) != tt.ok {
				t.Errorf("preview: %v", err)
			}
			if name != "missing" && name != "a view" {
				pgtest.Exec(t, url, "DROP TABLE vintages")
			} else if name == "a view" {
				pgtest.Exec(t, url, "DROP VIEW vintages")
			}
		})
	}
}

func TestErrors(t *testing.T) {
	w, url := newWriter(t)
	tests := map[string]struct {
		edit change.Edit
		want string
	}{
		"foreign table":  {change.Edit{Table: "pg_authid", Columns: []string{"x"}, Rows: []change.Row{change.NewRow(v("a"))}}, "carbond keeps no such table"},
		"missing column": {change.Edit{Table: change.News, Columns: []string{"guid", "nope"}, Rows: []change.Row{change.NewRow(v("a"), v("b"))}}, "run carbond migrate"},
		"missing key":    {change.Edit{Table: change.News, Columns: []string{"title"}, Rows: []change.Row{change.NewRow(v("a"))}}, "lacks its key column guid"},
		"bad value":      {change.Edit{Table: change.Finance, Columns: []string{"ticker", "timestamp"}, Rows: []change.Row{change.NewRow(v("secret"), v("soon"))}}, "SQLSTATE 22P02"},
	}
	for name, tc := range tests {
		ok := verraEdit(change.NewRow(v("VCS-1"), null, null, null))
		_, err := w.Write(context.Background(), []change.Edit{ok, tc.edit})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := one(t, url, "SELECT count(*) FROM verra"); got != "0" {
		t.Error("a failed transaction left rows")
	}
}

func TestPrune(t *testing.T) {
	w, url := newWriter(t)
	pgtest.Exec(t, url,
		"INSERT INTO finance SELECT 'A', 1, 1, 1, 1, g FROM generate_series(1, 25000) g",
		"INSERT INTO finance VALUES ('OLD', 1, 1, 1, 1, 5)",
		"INSERT INTO news SELECT g::text, 't', 'l', 'p', to_timestamp(g), 's', 'x' FROM generate_series(1, 100) g",
		"INSERT INTO news VALUES ('undated')")
	n, err := w.Prune(context.Background(), change.Finance, time.Unix(26000, 0))
	if err != nil || n != 24999 {
		t.Errorf("finance: %d, %v", n, err)
	}
	if got := one(t, url, "SELECT string_agg(ticker || timestamp, ' ' ORDER BY ticker) FROM finance"); got != "A25000 OLD5" {
		t.Errorf("kept %s", got)
	}
	n, err = w.Prune(context.Background(), change.News, time.Unix(91, 0))
	if err != nil || n != 90 {
		t.Errorf("news: %d, %v", n, err)
	}
	if _, err := w.Prune(context.Background(), change.Verra, time.Now()); err == nil {
		t.Error("projects were pruned")
	}
}

package e2e_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"carbond/cmd/carbond/internal/programtest"
	pb "carbond/proto/carbon"
	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// upheavalSQL makes the tables in which upheavals are possible, before carbond
// makes the others: leaves, an enum, keys that may move over each other.
const upheavalSQL = `
CREATE TYPE status AS ENUM ('ACTIVE', 'RETIRED', 'UNDER_VALIDATION', 'anything');
CREATE CAST (text AS status) WITH INOUT AS ASSIGNMENT;
CREATE TABLE finance (ticker text, price double precision, volume bigint, market_cap double precision, change_percent double precision, timestamp bigint, currency text, PRIMARY KEY (ticker, timestamp)) PARTITION BY RANGE (timestamp);
CREATE TABLE finance_low PARTITION OF finance FOR VALUES FROM (MINVALUE) TO (1700000000);
CREATE TABLE finance_mid PARTITION OF finance FOR VALUES FROM (1700000000) TO (1700000020);
CREATE TABLE finance_rest PARTITION OF finance DEFAULT;
CREATE TABLE carbonmark (id text PRIMARY KEY DEFERRABLE, project_id text, project_name text, vintage int, amount double precision, updated_at timestamptz);
ALTER TABLE carbonmark REPLICA IDENTITY FULL;
CREATE TABLE verra (id bigserial, project_id text PRIMARY KEY, project_name text, project_link text, project_summary text, registry_status status, country text, vintage int, supply double precision, updated_at timestamptz);
CREATE SCHEMA attic;`

// upheavals lists what can be done to the tables themselves. Of some of it the
// stream says nothing: carbond has to notice, and to copy again.
func upheavals() map[string]event {
	return map[string]event{
		"rename a table away and back": func(w *world) {
			w.away("ALTER TABLE X RENAME TO elsewhere", "elsewhere", "ALTER TABLE elsewhere RENAME TO X")
		},
		"another schema and back": func(w *world) {
			w.away("ALTER TABLE X SET SCHEMA attic", "attic.X", "ALTER TABLE attic.X SET SCHEMA public")
		},
		"rewrite with USING": func(w *world) {
			w.upheave(w.random.one([]string{
				"ALTER TABLE carbonmark ALTER project_name TYPE text USING left(project_name, 20) || '!'",
				"ALTER TABLE verra ALTER supply TYPE double precision USING -supply",
				"ALTER TABLE finance ALTER price TYPE double precision USING -price",
				"ALTER TABLE news ALTER title TYPE text USING upper(title), ALTER link TYPE text USING link || 'x'",
			}))
		},
		"rename an enum value": func(w *world) {
			if w.try("ALTER TYPE status RENAME VALUE 'ACTIVE' TO 'LIVE'") != nil {
				w.upheave("ALTER TYPE status RENAME VALUE 'LIVE' TO 'ACTIVE'")
			}
		},
		"truncate a leaf": func(w *world) { w.upheave("TRUNCATE " + w.random.one(leaves())) },
		"truncate all, then a leaf": func(w *world) {
			if err := w.try("TRUNCATE finance", "INSERT INTO finance(ticker, price, timestamp) VALUES ('KRBN', 1, 1), ('GRN', 2, 1700000005), ('KEUA', 3, 1700000025)"); err != nil {
				w.t.Logf("truncate: %v", err) // the writers hold it
			}
			w.upheave("TRUNCATE " + w.random.one(leaves()))
		},
		"replace a leaf": func(w *world) {
			w.upheave("DROP TABLE finance_mid", "DELETE FROM finance WHERE timestamp >= 1700000000 AND timestamp < 1700000020",
				"CREATE TABLE finance_mid PARTITION OF finance FOR VALUES FROM (1700000000) TO (1700000020)",
				"INSERT INTO finance(ticker, price, timestamp) VALUES ('KRBN', 1, 1700000005), ('GRN', 2, 1700000007)")
		},
		"detach a leaf and attach it": func(w *world) {
			w.upheave("ALTER TABLE finance DETACH PARTITION finance_low", "UPDATE finance_low SET price = 77 WHERE ticker = 'KRBN'", "DELETE FROM finance_low WHERE ticker = 'GRN'",
				"DELETE FROM finance WHERE timestamp < 1700000000", "ALTER TABLE finance ATTACH PARTITION finance_low FOR VALUES FROM (MINVALUE) TO (1700000000)")
		},
		"attach a leaf with rows": func(w *world) {
			w.upheave("ALTER TABLE finance DETACH PARTITION finance_mid", "CREATE TABLE fresh (LIKE finance INCLUDING ALL)",
				"INSERT INTO fresh(ticker, price, timestamp) SELECT ticker, -price, timestamp FROM finance_mid WHERE ticker <> 'GRN'", "DROP TABLE finance_mid",
				"DELETE FROM finance WHERE timestamp >= 1700000000 AND timestamp < 1700000020",
				"ALTER TABLE finance ATTACH PARTITION fresh FOR VALUES FROM (1700000000) TO (1700000020)", "ALTER TABLE fresh RENAME TO finance_mid")
		},
		"a leaf unlogged and back": func(w *world) {
			leaf := w.random.one(leaves())
			w.upheave("ALTER TABLE "+leaf+" SET UNLOGGED", "DELETE FROM "+leaf+" WHERE ticker = 'GRN'", "UPDATE "+leaf+" SET price = 11 WHERE ticker = 'KRBN'", "ALTER TABLE "+leaf+" SET LOGGED")
		},
		"a leaf of another identity": func(w *world) {
			leaf := w.random.one(leaves())
			w.upheave("ALTER TABLE "+leaf+" REPLICA IDENTITY "+w.random.one([]string{"FULL", "DEFAULT"}), "UPDATE "+leaf+" SET ticker = ticker || '!' WHERE ticker LIKE 'K%'", "DELETE FROM "+leaf+" WHERE ticker LIKE 'G%'")
		},
		"keys change places": func(w *world) {
			w.upheave("SET CONSTRAINTS ALL IMMEDIATE", "UPDATE carbonmark SET id = CASE id WHEN 'c1' THEN 'c2' ELSE 'c1' END WHERE id IN ('c1', 'c2')")
		},
		"keys move on by one": func(w *world) {
			w.upheave("UPDATE carbonmark SET id = 'c' || (substr(id, 2)::int + 1) % 70 WHERE id ~ '^c[0-9]{1,2}$' AND substr(id, 2)::int < 70")
		},
	}
}

func leaves() []string { return []string{"finance_low", "finance_mid", "finance_rest"} }

// upheave runs statements, in one transaction or one by one, while the daemon
// runs, is down, or is killed in the middle.
func (w *world) upheave(statements ...string) {
	w.t.Helper()
	if len(statements) > 1 || w.IntN(2) == 0 {
		statements = slices.Concat([]string{"BEGIN"}, statements, []string{"COMMIT"})
	}
	run := func() {
		for range 5 { // the writers hold it
			err := w.try(statements...)
			if err == nil {
				return
			}
			w.t.Logf("%s: %v", statements[min(1, len(statements)-1)], err)
		}
	}
	switch w.IntN(4) {
	case 0:
		w.stop()
		run()
		w.start()
	case 1:
		run()
		w.wait(1500)
		w.kill()
		w.start()
	case 2:
		run()
		w.net.cut()
	default:
		run()
	}
}

// away gives a table, X, another name, writes, and gives it its own again.
func (w *world) away(there, other, back string) {
	w.t.Helper()
	table := w.random.one([]string{change.News, change.Carbonmark, change.Verra})
	named := func(s string) string { return strings.ReplaceAll(s, "X", table) }
	there, other, back = named(there), named(other), named(back)
	key := change.KeyColumns(table)[0]
	writes := []string{
		fmt.Sprintf("DELETE FROM %s WHERE %s LIKE '%%7'", other, key),
		fmt.Sprintf("UPDATE %s SET %s = %s || ' away' WHERE %[2]s LIKE '%%3'", other, key, key),
		fmt.Sprintf("INSERT INTO %s(%s) VALUES ('made away %d')", other, key, w.IntN(1000)),
	}
	list := slices.Concat([]string{there}, writes, []string{back})
	if w.IntN(2) == 0 {
		w.upheave(list...)
		return
	}
	if err := w.try(list[0]); err != nil {
		w.t.Logf("%s: %v", list[0], err) // the writers hold it
		return
	}
	w.wait(1500)
	for _, s := range writes {
		if err := w.try(s); err != nil {
			w.t.Logf("%s: %v", s, err)
		}
	}
	programtest.Until(w.t, time.Minute, "way back of "+table, func() bool { return w.try(back) == nil })
}

// settled waits until the daemon has copied what the stream did not tell of, and
// compares the views with SQL, and what the log leads to with the tables.
func (w *world) settled() {
	w.t.Helper()
	w.quiet(func(conn *pgx.Conn, lsn change.LSN) {
		d := w.current()
		client := d.Dial(w.t)
		waitLSN(w.t.Context(), w.t, pb.NewCarbonServiceClient(client), lsn)
		client.Close()
		deadline := time.Now().Add(2 * time.Minute)
		for {
			diff := w.unequal(conn)
			if diff == "" {
				break
			}
			if time.Now().After(deadline) {
				ready, _ := w.current().get(w.t.Context(), "/readyz?verbose")
				w.t.Fatalf("after %s: %s\n%.3000s", w.comfort, diff, ready)
			}
			pause(w.t.Context(), 300*time.Millisecond)
		}
		client = w.current().Dial(w.t)
		defer client.Close()
		// An enum cannot be compared with texts in SQL.
		w.views += compareViews(w.t.Context(), w.t, w.Rand, conn, pb.NewCarbonServiceClient(client), lsn, "projects")
		w.rounds++
		w.noAnomaly(w.current())
	})
}

// unequal compares once, and describes the first difference. The log can be read
// only while the daemon is down.
func (w *world) unequal(conn *pgx.Conn) string {
	w.t.Helper()
	if _, err := w.current().get(w.t.Context(), "/readyz"); err != nil {
		return err.Error()
	}
	client := w.current().Dial(w.t)
	defer client.Close()
	if d := sameViews(w.t.Context(), w.t, conn, pb.NewCarbonServiceClient(client)); d != "" {
		return "the views: " + d
	}
	w.stop()
	defer w.start()
	s := openStore(w.t, copyDir(w.t, w.dir))
	defer s.Close()
	w.history.follow(w.t, s)
	program.Must(w.t, w.env, "fsck")
	if d := w.history.differs(w.t, conn); d != "" {
		return "what the log says of " + d
	}
	return ""
}

// follow applies what is new in the log by key, as a consumer does.
func (h *history) follow(t testing.TB, s *store.Store) {
	t.Helper()
	for _, rec := range h.readLog(t, s) {
		rows := h.state[rec.Relation.Name]
		switch {
		case rec.Op == change.Truncate:
			clear(rows)
		case rec.After == "":
			delete(rows, keyOf(rec.Relation.Name, named(rec.Relation, rec.Before)))
		default:
			rows[keyOf(rec.Relation.Name, named(rec.Relation, rec.After))] = named(rec.Relation, rec.After)
		}
	}
}

// TestUpheavals is the oracle while the tables themselves are changed.
func TestUpheavals(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	t.Logf("seed %d: repeat with -args -seed %d", seed, seed)
	w := newWorld(t, seed, upheavalSQL)
	defer func() { t.Log(w.summary()) }()
	w.write(3, 20*time.Millisecond)
	w.wait(500)
	w.start()
	w.settled()
	names := slices.Sorted(maps.Keys(upheavals()))
	w.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	switch {
	case *eventFlag != "":
		names = slices.Repeat([]string{*eventFlag}, 4)
	case !*longFlag:
		names = names[:4]
	}
	for _, name := range names {
		w.happen(name)
		w.settled()
	}
}

// roundsPerWorld is how many runs one Postgres serves.
const roundsPerWorld = 10

// TestPostgresFaults is the oracle in many short runs: in each something befalls
// the daemon, Postgres, the network or the tables, and then all is compared.
func TestPostgresFaults(t *testing.T) {
	runs := storetest.NewRuns(t, "postgres", 3)
	for n, ok := runs.Next(); ok; {
		group := n / roundsPerWorld
		t.Run(fmt.Sprint(group), func(t *testing.T) {
			w := newWorld(t, runs.Seed+uint64(group), map[bool]string{true: upheavalSQL}[group%2 == 0])
			defer func() { t.Log(w.summary()) }()
			w.write(3, 15*time.Millisecond)
			w.wait(500)
			w.start()
			settle := w.settled
			if !w.changing {
				settle = func() { w.compare(true) }
			}
			settle() // a first start makes a table that is away just then
			for ; ok && n/roundsPerWorld == group; n, ok = runs.Next() {
				w.random = random{runs.Rand(n)}
				names := slices.Sorted(maps.Keys(chaos()))
				if w.changing {
					names = slices.Concat(names, slices.Sorted(maps.Keys(upheavals())), slices.Sorted(maps.Keys(upheavals())))
				}
				name := names[w.IntN(len(names))]
				t.Logf("run %d: %s", n, name)
				w.happen(name)
				w.wait(400)
				settle()
				runs.Done(n, name)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// copyRows loads a few rows with COPY.
func (w *writer) copyRows() (string, string) {
	var b strings.Builder
	if w.IntN(2) == 0 {
		for range 1 + w.IntN(20) {
			fmt.Fprintf(&b, "COPY\t%g\t%d\n", w.NormFloat64(), w.Int64())
		}
		return "COPY finance(ticker, price, timestamp) FROM STDIN", b.String()
	}
	for range 1 + w.IntN(20) {
		fmt.Fprintf(&b, "copy-%d\ttab\\tand\\\\backslash\t\\N\n", w.Uint32())
	}
	return "COPY news(guid, title, summary) FROM STDIN", b.String()
}

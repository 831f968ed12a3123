package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"carbond/replicate/pgtest"
	"carbond/store/change"
)

// event is something that befalls the world while the writers write.
type event func(*world)

// chaos lists what can happen.
func chaos() map[string]event {
	return map[string]event{
		"stop the daemon":        func(w *world) { w.stop(); w.wait(300); w.start() },
		"kill the daemon":        func(w *world) { w.kill(); w.wait(300); w.start() },
		"kill a starting daemon": (*world).killStarting,
		"freeze the daemon":      (*world).freeze,
		"restart Postgres":       (*world).restartPostgres,
		"end Postgres at once":   func(w *world) { w.cluster.Stop(w.t, pgtest.Immediate); w.wait(300); w.cluster.Resume(w.t) },
		"kill Postgres":          func(w *world) { w.cluster.Kill(w.t); w.wait(300); w.cluster.Resume(w.t) },
		"kill both":              func(w *world) { w.cluster.Kill(w.t); w.kill(); w.cluster.Resume(w.t); w.start() },
		"end the walsender": func(w *world) {
			w.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '" + daemonSlot + "'")
		},
		"cut the network":        func(w *world) { w.net.cut() },
		"stall the network":      func(w *world) { w.net.set(stalls); w.wait(4500); w.net.set(passes) },
		"stall and cut":          func(w *world) { w.net.set(stalls); w.wait(1000); w.net.cut(); w.net.set(passes) },
		"slow network":           func(w *world) { w.net.set(crawls); w.wait(2000); w.net.set(passes) },
		"refuse connections":     func(w *world) { w.net.set(refuse); w.net.cut(); w.wait(1500); w.net.set(passes) },
		"walsender without peer": func(w *world) { release := w.net.vanish(); w.wait(2500); release() },
		"large transaction":      func(w *world) { w.large(30_000, nil) },
		"kill in a large one":    func(w *world) { w.large(25_000, func() { w.kill(); w.start() }) },
		"truncate a large table": func(w *world) {
			w.large(30_000, nil)
			if err := w.try("TRUNCATE finance, verra CASCADE"); err != nil {
				w.t.Logf("truncate: %v", err) // the writers hold it
			}
		},
		"cut at a byte":           func(w *world) { w.net.cutAfter(w.IntN(40_000)); w.large(5_000, nil); w.wait(500); w.net.cutAfter(-1) },
		"prepared and held":       (*world).prepared,
		"cut in a large one":      func(w *world) { w.large(25_000, w.net.cut) },
		"change the columns":      (*world).alter,
		"checkpoint of Postgres":  func(w *world) { w.sql("CHECKPOINT"); w.sql("VACUUM verra, carbonmark, finance, news") },
		"publish a foreign table": (*world).foreign,
	}
}

// happen lets one event happen.
func (w *world) happen(name string) {
	w.t.Helper()
	began := time.Now()
	w.comfort = name
	happens, ok := chaos()[name]
	if !ok {
		happens = upheavals()[name]
	}
	happens(w)
	w.events[name]++
	w.t.Logf("%s took %v", name, time.Since(began).Round(time.Millisecond))
}

// wait waits a random part of so many milliseconds.
func (w *world) wait(ms int) {
	pause(w.t.Context(), time.Duration(1+w.IntN(ms))*time.Millisecond)
}

// sql runs a statement over a connection of its own.
func (w *world) sql(sql string) {
	w.t.Helper()
	if err := w.try(sql); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

func (w *world) try(statements ...string) error {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	conn, err := connectDirect(ctx, w.url, "e2e chaos")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// killStarting kills the daemon, and its successor at a random moment of its
// start.
func (w *world) killStarting() {
	w.kill()
	for range 1 + w.IntN(3) {
		d := launch(w.t, w.env)
		w.wait(400)
		d.Kill()
		w.behind()
	}
	w.start()
}

// freeze stops the process as a debugger or a hypervisor would, perhaps for
// longer than Postgres waits.
func (w *world) freeze() {
	p := w.current().Cmd.Process
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		w.t.Fatal(err)
	}
	w.wait(4000)
	if err := p.Signal(syscall.SIGCONT); err != nil {
		w.t.Fatal(err)
	}
}

// restartPostgres asks it to stop in good order, which must not wait for us.
func (w *world) restartPostgres() {
	began := time.Now()
	w.cluster.Stop(w.t, pgtest.Fast)
	if took := time.Since(began); took > 10*time.Second {
		w.t.Errorf("Postgres waited %v for the daemon when it was stopped", took)
	}
	w.wait(300)
	w.cluster.Resume(w.t)
}

// large commits, or sometimes rolls back, a transaction of about n rows. during
// is called somewhere in its middle or soon after.
func (w *world) large(n int, during func()) {
	list := append([]string{"BEGIN"}, w.random.large(n)...)
	end := "COMMIT"
	if w.IntN(5) == 0 {
		end = "ROLLBACK"
	}
	list = append(list, end)
	done := make(chan error, 1)
	go func() { done <- w.try(list...) }()
	if during != nil {
		w.wait(1500)
		during()
	}
	if err := <-done; err != nil {
		w.t.Logf("the large transaction failed: %v", err) // a deadlock with a writer, and then nothing of it happened
	}
}

// prepared prepares a transaction that outlasts the daemon or Postgres, with
// others behind it, and then ends it.
func (w *world) prepared() {
	id := w.IntN(1000)
	if err := w.try("BEGIN", fmt.Sprintf("INSERT INTO news(guid, title) VALUES ('prepared %d', 'held')", id), "DELETE FROM carbonmark WHERE id = 'c3'", "PREPARE TRANSACTION 'e2e held'"); err != nil {
		w.t.Logf("prepare: %v", err)
		return
	}
	w.wait(300)
	switch w.IntN(3) {
	case 0:
		w.kill()
		w.start()
	case 1:
		w.restartPostgres()
	default:
		w.net.cut()
	}
	end := "COMMIT"
	if w.IntN(4) == 0 {
		end = "ROLLBACK"
	}
	w.sql(end + " PREPARED 'e2e held'")
}

// alter adds, renames or drops columns that no view reads.
func (w *world) alter() {
	for _, table := range change.Tables() {
		var err error
		switch w.IntN(5) {
		case 4: // long values stay where they are, under the new name
			err = w.try("ALTER TABLE "+table+" ADD COLUMN IF NOT EXISTS extra text", "ALTER TABLE "+table+" DROP COLUMN IF EXISTS extra2",
				"UPDATE "+table+" SET extra = repeat(md5('x'), 200)", "ALTER TABLE "+table+" RENAME extra TO extra2")
		case 0:
			err = w.try("ALTER TABLE "+table+" ADD COLUMN IF NOT EXISTS extra text", "ALTER TABLE "+table+" ALTER extra SET STORAGE EXTERNAL")
		case 1:
			err = w.try("ALTER TABLE "+table+" ADD COLUMN IF NOT EXISTS extra text DEFAULT 'preset'", "ALTER TABLE "+table+" ADD COLUMN IF NOT EXISTS extra2 numeric DEFAULT 'NaN'")
		case 2:
			err = w.try("ALTER TABLE "+table+" DROP COLUMN IF EXISTS extra", "ALTER TABLE "+table+" DROP COLUMN IF EXISTS extra2")
		default: // both inside a transaction, with rows between
			err = w.try("BEGIN", "ALTER TABLE "+table+" DROP COLUMN IF EXISTS extra2", "UPDATE "+table+" SET "+change.KeyColumns(table)[0]+" = "+change.KeyColumns(table)[0],
				"ALTER TABLE "+table+" ADD COLUMN extra2 interval DEFAULT '1 mon 03:00:00.5'", "COMMIT")
		}
		if err != nil {
			w.t.Logf("alter %s: %v", table, err) // the writers hold it
		}
	}
}

// foreign adds a table that is not ours to the publication, or takes it out.
func (w *world) foreign() {
	if err := w.try("ALTER PUBLICATION carbond ADD TABLE notes"); err != nil {
		w.sql("ALTER PUBLICATION carbond DROP TABLE notes")
	}
}

// metricSum adds up the samples of a metric.
func metricSum(text, name string) (sum float64, found bool) {
	for line := range strings.SplitSeq(text, "\n") {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		fields := strings.Fields(rest)
		if v, err := strconv.ParseFloat(fields[len(fields)-1], 64); err == nil {
			sum += v
			found = true
		}
	}
	return sum, found
}

// program returns the order in which things happen: everything once, in a
// random order, then at random.
func (w *world) program() func() string {
	names := slices.Sorted(maps.Keys(chaos()))
	var queue []string
	return func() string {
		if len(queue) == 0 {
			queue = slices.Clone(names)
			w.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] })
		}
		next := queue[0]
		queue = queue[1:]
		return next
	}
}

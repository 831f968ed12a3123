package replicate_test

import (
	"testing"

	"carbond/replicate/pgtest"
	"carbond/store/change"
)

func TestCopyThenStream(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	sink := newSink()
	opt := options(url)
	r := run(t, sink, opt)
	r.level()
	pgtest.Exec(t, url,
		"INSERT INTO verra (project_id, project_name, supply, updated_at) VALUES ('VCS1', 'one', 'NaN', now()), ('VCS2', NULL, 'Infinity', '-infinity')",
		"INSERT INTO finance VALUES ('KRBN', 30.1, 5, NULL, -0.5, 1700000000)",
		"UPDATE verra SET supply = 2 WHERE project_id = 'VCS1'",
		"DELETE FROM finance",
	)
	r.level()
	sink.sameAsSQL(t, url)
	if got := len(sink.transactions()); got != 5 {
		t.Fatalf("%d transactions, want the copy and 4", got)
	}
	r.stop()
	if c := confirmed(t, url, opt.Slot); c == 0 || c > sink.Position().LSN {
		t.Fatalf("confirmed %s, durable %s", c, sink.Position().LSN)
	}

	pgtest.Exec(t, url, "INSERT INTO news (guid, title) VALUES ('g', 't')")
	r = run(t, sink, opt)
	r.level()
	sink.sameAsSQL(t, url)
	last := sink.transactions()[5]
	if len(last.Changes) != 1 || last.Changes[0].Op != change.Create || last.Changes[0].LSN == 0 || last.EndLSN <= last.CommitLSN || last.XID == 0 {
		t.Fatalf("got %+v", last)
	}
}

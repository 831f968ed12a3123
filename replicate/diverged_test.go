package replicate_test

import (
	"strings"
	"testing"

	"carbond/replicate/pgerr"
	"carbond/replicate/pgtest"
)

// A change that the sink can never apply is a gap: sending it again does not
// help, and only a new copy does. Here it is a long value that Postgres does not
// send again, in a column whose new name the sink of these tests cannot trace.
func TestDivergedSink(t *testing.T) {
	r, url := started(t)
	pgtest.Exec(t, url,
		"ALTER TABLE verra ALTER project_summary SET STORAGE EXTERNAL",
		"INSERT INTO verra (project_id, project_summary) SELECT 'a', string_agg(md5(i::text), '') FROM generate_series(1, 400) i",
		"ALTER TABLE verra RENAME project_summary TO other",
		"UPDATE verra SET country = 'Brazil'")
	s := r.trouble(pgerr.KindDiverged)
	if !strings.Contains(s.Reason, "unchanged, but unknown") || !strings.Contains(s.Reason, "postgres.on_gap") {
		t.Errorf("reason %q", s.Reason)
	}
	r.resnapshot(options(url))
}

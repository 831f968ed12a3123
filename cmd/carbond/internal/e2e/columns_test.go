package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/programtest"
	pb "carbond/proto/carbon"
	"carbond/replicate/pgtest"
	"carbond/store/change"
)

// TestRenamedColumn updates a row whose long value is not sent, after its
// column got another name: the log still has the value.
func TestRenamedColumn(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	dir := filepath.Join(t.TempDir(), "data")
	env := []string{"CARBOND_DATA_DIR=" + dir, "CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=e2e_columns"}
	d := serve(t, env)
	api := pb.NewCarbonServiceClient(d.Dial(t))
	level := func() {
		t.Helper()
		pgtest.Exec(t, url, "CREATE TABLE IF NOT EXISTS mark (a int)", "INSERT INTO mark VALUES (1)")
		lsn, err := change.ParseLSN(pgtest.Text(t, url, "SELECT pg_current_wal_flush_lsn()")[0][0])
		if err != nil {
			t.Fatal(err)
		}
		waitLSN(t.Context(), t, api, lsn)
	}
	programtest.Until(t, 2*time.Minute, "slot", func() bool {
		return pgtest.Text(t, url, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'e2e_columns'")[0][0] == "1"
	})
	level()
	pgtest.Exec(t, url,
		"ALTER TABLE verra ADD COLUMN extra text, ADD COLUMN gone text",
		"ALTER TABLE verra ALTER extra SET STORAGE EXTERNAL",
		"INSERT INTO verra(project_id, extra, gone) VALUES ('A', repeat('long ', 2000), 'x')",
		"ALTER TABLE verra RENAME extra TO remark",
		"UPDATE verra SET country = 'Peru'",
		"ALTER TABLE verra DROP COLUMN gone",
		"UPDATE verra SET country = 'Cuba'", // two changes of the columns at once cannot be told apart
		"ALTER TABLE verra RENAME remark TO words",
		"UPDATE verra SET country = 'Chile'",
		"UPDATE verra SET project_id = 'B'")
	level()
	d.stop(t)
	s := openStore(t, copyDir(t, dir))
	defer s.Close()
	recs, err := s.NewReader(1).Read(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]int{}
	for _, r := range recs {
		for _, row := range []row{named(r.Relation, r.Before), named(r.Relation, r.After)} {
			for _, name := range []string{"extra", "remark", "words"} {
				if v, ok := row[name]; ok {
					names[name]++
					if v.Text != strings.Repeat("long ", 2000) {
						t.Errorf("offset %d: %s %s has %s = %.20q (kind %d)", r.Offset, r.Op, row["project_id"].Text, name, v.Text, v.Kind)
					}
				}
			}
		}
	}
	if names["extra"] == 0 || names["remark"] == 0 || names["words"] == 0 {
		t.Errorf("rows by column: %v", names)
	}
}

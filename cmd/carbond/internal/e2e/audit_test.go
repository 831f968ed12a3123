package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"carbond/store/change"
)

// The names of the second slot and of the daemon's.
const (
	oracleSlot = "e2e_oracle"
	daemonSlot = "e2e_daemon"
)

// auditSQL makes the independent record of every change: a trigger writes what
// happened into a table of the same transaction, so that it commits, or does
// not, together with it.
const auditSQL = `
CREATE SCHEMA audit;
CREATE TABLE audit.change (n bigserial PRIMARY KEY, xid bigint NOT NULL, tab text NOT NULL, op text NOT NULL, old json, new json);
CREATE FUNCTION audit.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit.change(xid, tab, op, old, new) VALUES (
    pg_current_xact_id()::text::bigint & 4294967295, TG_TABLE_NAME, lower(left(TG_OP, 1)),
    CASE WHEN TG_OP IN ('UPDATE', 'DELETE') THEN row_to_json(OLD) END,
    CASE WHEN TG_OP IN ('INSERT', 'UPDATE') THEN row_to_json(NEW) END);
  RETURN NULL;
END $$;
-- A table of somebody else with a foreign key, so that TRUNCATE needs CASCADE.
CREATE TABLE notes (id bigserial PRIMARY KEY, project_id text REFERENCES verra(project_id) ON DELETE CASCADE ON UPDATE CASCADE, body text);
-- Long values are stored outside the row and not compressed.
ALTER TABLE verra ALTER project_summary SET STORAGE EXTERNAL, ALTER project_name SET STORAGE EXTERNAL;
ALTER TABLE carbonmark ALTER project_name SET STORAGE EXTERNAL;
ALTER TABLE news ALTER summary SET STORAGE EXTERNAL;
`

// installAudit prepares a database whose four tables exist.
func installAudit(ctx context.Context, t testing.TB, conn *pgx.Conn) {
	t.Helper()
	if _, err := conn.Exec(ctx, auditSQL); err != nil {
		t.Fatalf("install the audit: %v", err)
	}
	for _, tab := range change.Tables() {
		if _, err := conn.Exec(ctx, fmt.Sprintf(`
CREATE TRIGGER audit_rows AFTER INSERT OR UPDATE OR DELETE ON %[1]s FOR EACH ROW EXECUTE FUNCTION audit.note();
CREATE TRIGGER audit_truncate AFTER TRUNCATE ON %[1]s FOR EACH STATEMENT EXECUTE FUNCTION audit.note()`, tab)); err != nil {
			t.Fatalf("install the audit of %s: %v", tab, err)
		}
	}
	// A slot cannot be made in a transaction that has written.
	if _, err := conn.Exec(ctx, "SELECT pg_create_logical_replication_slot($1, 'test_decoding')", oracleSlot); err != nil {
		t.Fatalf("create the slot of the oracle: %v", err)
	}
}

// row is a table row by column name. A NULL is there as a change.Null.
type row map[string]change.Value

// audited is one change as the triggers saw it.
type audited struct {
	table, op string // op: i, u, d, t
	old, new  row
}

// commit is one committed transaction as the second slot gives it.
type commit struct {
	end change.LSN
	xid uint32
}

// auditor reads the independent record bit by bit.
type auditor struct {
	last    int64 // audit.change.n that has been read
	end     change.LSN
	commits []commit             // not checked yet, in commit order
	changes map[uint32][]audited // of those, by transaction
	rows    map[string]int       // changes read, by table and op
	decoded map[string]int       // the same as the slot counts them
}

func newAuditor() *auditor {
	return &auditor{changes: map[uint32][]audited{}, rows: map[string]int{}, decoded: map[string]int{}}
}

// read takes in what was committed since the last time. Nobody may be writing.
func (a *auditor) read(ctx context.Context, t testing.TB, conn *pgx.Conn) {
	t.Helper()
	a.readCommits(ctx, t, conn)
	rows, err := conn.Query(ctx, "SELECT n, xid, tab, op, old::text, new::text FROM audit.change WHERE n > $1 ORDER BY n", a.last)
	if err != nil {
		t.Fatalf("read the audit: %v", err)
	}
	var c audited
	var xid int64
	var old, cur *string
	_, err = pgx.ForEachRow(rows, []any{&a.last, &xid, &c.table, &c.op, &old, &cur}, func() error {
		if c.old, err = decodeRow(old); err != nil {
			return err
		}
		if c.new, err = decodeRow(cur); err != nil {
			return err
		}
		a.changes[uint32(xid)] = append(a.changes[uint32(xid)], c)
		a.rows[c.table+" "+c.op]++
		return nil
	})
	if err != nil {
		t.Fatalf("read the audit: %v", err)
	}
}

// readCommits takes the order of commits from the second slot, and counts the
// changes that it saw: a trigger that missed one would be found out.
func (a *auditor) readCommits(ctx context.Context, t testing.TB, conn *pgx.Conn) {
	t.Helper()
	// Where it spills to its disk, test_decoding of Postgres 18.6 has ended by SIGSEGV.
	if _, err := conn.Exec(ctx, "SET logical_decoding_work_mem = '1GB'"); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(ctx, `
SELECT lsn::text, xid::text::bigint, left(data, 200) FROM pg_logical_slot_get_changes($1, NULL, NULL, 'skip-empty-xacts', '1', 'include-timestamp', '0')
WHERE data NOT LIKE 'BEGIN%' AND data NOT LIKE 'table audit.%'`, oracleSlot)
	if err != nil {
		t.Fatalf("read the slot of the oracle: %v", err)
	}
	var lsn, data string
	var xid int64
	seen := map[string]int{}
	_, err = pgx.ForEachRow(rows, []any{&lsn, &xid, &data}, func() error {
		if !strings.HasPrefix(data, "COMMIT") {
			countDecoded(seen, data)
			return nil
		}
		end, err := change.ParseLSN(lsn)
		if err == nil && end > a.end { // after a crash Postgres sends some again
			a.end = end
			a.commits = append(a.commits, commit{end, uint32(xid)})
			for k, n := range seen {
				a.decoded[k] += n
			}
		}
		clear(seen)
		return err
	})
	if err != nil {
		t.Fatalf("read the slot of the oracle: %v", err)
	}
}

// countDecoded counts a line such as `table public.verra: INSERT: ...` or
// `table public.verra, public.carbonmark: TRUNCATE: ...`.
func countDecoded(seen map[string]int, line string) {
	names, rest, ok := strings.Cut(strings.TrimPrefix(line, "table "), ": ")
	if !ok {
		return
	}
	for name := range strings.SplitSeq(names, ", ") {
		tab, ours := strings.CutPrefix(name, "public.")
		if ours && change.KeyColumns(tab) != nil {
			seen[tab+" "+strings.ToLower(rest[:1])]++
		}
	}
}

// decodeRow reads what row_to_json made: numbers as the server writes them,
// times as ISO 8601.
func decodeRow(text *string) (row, error) {
	if text == nil {
		return nil, nil
	}
	dec := json.NewDecoder(strings.NewReader(*text))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return nil, err
	}
	r := row{}
	for k, v := range m {
		switch v := v.(type) {
		case nil:
			r[k] = change.Value{}
		case json.Number:
			r[k] = change.T(v.String())
		case string:
			if k == "updated_at" || k == "published_at" {
				v = strings.Replace(strings.Replace(v, "T", " ", 1), "+00:00", "+00", 1)
			}
			r[k] = change.T(v)
		case bool:
			r[k] = change.T(strconv.FormatBool(v)[:1])
		default:
			return nil, fmt.Errorf("column %s: unexpected %T", k, v)
		}
	}
	return r, nil
}

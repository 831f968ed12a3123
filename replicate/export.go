package replicate

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"carbond/replicate/internal/server"
	"carbond/replicate/schema"
	"carbond/store/change"
)

// Exported is a read-only transaction that sees the database exactly as it was
// at LSN: every transaction that ended at or before it, and no other. Close it.
type Exported struct {
	LSN  change.LSN
	Name string // of the snapshot, as pg_export_snapshot gives it

	conn    *pgx.Conn
	without []string // tables of the views that somebody has made for something else
}

// ExportSnapshot pins a moment of the database to an LSN by way of a temporary
// replication slot, which is gone again when the call returns. Like every
// creation of a slot it waits for older writing transactions to end.
func ExportSnapshot(ctx context.Context, opt server.Options) (*Exported, error) {
	opt = opt.WithDefaults()
	conn, err := opt.Connect(ctx)
	if err != nil {
		return nil, err
	}
	e := &Exported{conn: conn}
	if err := e.open(ctx, &opt); err != nil {
		return nil, errors.Join(opt.Classify(err), e.Close(ctx))
	}
	return e, nil
}

func (e *Exported) open(ctx context.Context, opt *server.Options) error {
	srv, err := server.ReadInfo(ctx, e.conn, "")
	if err != nil {
		return err
	}
	if _, err := schema.Recognise(ctx, e.conn, opt); err != nil {
		return err
	}
	e.without = opt.Without
	for attempt := 1; ; attempt++ {
		err := e.takeSnapshot(ctx, opt, srv)
		if !errors.Is(err, errRewritten) || attempt == maxSnapshots {
			return err
		}
		if _, err := e.conn.Exec(ctx, "ROLLBACK"); err != nil {
			return err
		}
	}
}

// pin takes one snapshot and opens it.
func (e *Exported) takeSnapshot(ctx context.Context, opt *server.Options, srv server.Info) error {
	repl, _, err := opt.ConnectReplication(ctx)
	if err != nil {
		return err
	}
	// The temporary slot goes with its connection. Once a transaction has
	// taken the snapshot over, it needs neither.
	defer repl.Close(context.WithoutCancel(ctx))
	var tag [6]byte
	_, _ = rand.Read(tag[:]) // never fails
	name := opt.Slot[:min(len(opt.Slot), 40)] + "_verify_" + hex.EncodeToString(tag[:])
	res, err := pglogrepl.ParseCreateReplicationSlot(repl.Exec(ctx, opt.CreateSlotSQL(name, srv.Version, true)))
	if err != nil {
		return fmt.Errorf("create temporary replication slot %q: %w", name, err)
	}
	if e.LSN, err = change.ParseLSN(res.ConsistentPoint); err != nil {
		return err
	}
	e.Name = res.SnapshotName
	return openSnapshot(ctx, e.conn, opt, e.Name, nil)
}

// Has reports whether the snapshot has a table of the views that came later than the others.
func (e *Exported) Has(ctx context.Context, schema, table string) (there bool, err error) {
	if slices.Contains(e.without, table) {
		return false, nil
	}
	err = e.conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", server.Ident(schema, table)).Scan(&there)
	return there, err
}

// Query runs a query inside the snapshot. One query at a time.
func (e *Exported) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return e.conn.Query(ctx, sql, args...)
}

// Close ends the transaction and the connection.
func (e *Exported) Close(ctx context.Context) error {
	return e.conn.Close(context.WithoutCancel(ctx))
}

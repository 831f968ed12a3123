package schema

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/replicate/internal/server"
	"carbond/replicate/pgerr"
	"carbond/store/change"
)

// Teardown drops the replication slot and the publication, so that Postgres
// keeps no WAL for a carbond that is gone. Tables and rows stay. What does not
// exist is skipped. A slot in use is an error of KindSlotInUse.
//
// A slot does not say which publications it is read with. While the database has
// other slots of pgoutput, the publication stays; kept has their names then.
func Teardown(ctx context.Context, opt server.Options) (kept []string, err error) {
	opt = opt.WithDefaults()
	conn, err := opt.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := DropIdleSlot(ctx, conn, &opt); err != nil {
		return nil, err
	}
	p, err := readPublication(ctx, conn, &opt)
	if err != nil || !p.exists {
		return nil, opt.Classify(err)
	}
	rows, err := conn.Query(ctx, "SELECT slot_name::text FROM pg_replication_slots WHERE plugin = 'pgoutput' AND database = current_database() AND NOT temporary ORDER BY 1")
	if err != nil {
		return nil, opt.Classify(err)
	}
	if kept, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || len(kept) > 0 {
		return kept, opt.Classify(err)
	}
	if _, err := conn.Exec(ctx, "DROP PUBLICATION IF EXISTS "+server.Ident(opt.Publication)); err != nil {
		return nil, opt.Classify(fmt.Errorf("drop publication %q: %w", opt.Publication, err))
	}
	opt.Logger.Info("dropped the publication", "publication", opt.Publication)
	return nil, nil
}

// slotEnds is how long a slot may be in use by a carbond that was just stopped: the
// server notices the end of its connection a moment later.
const slotEnds = 3 * time.Second

// idleSlot reads our slot, and waits a moment for one in use to become idle. It is
// nil when there is none.
func idleSlot(ctx context.Context, conn *pgx.Conn, opt *server.Options) (*server.Slot, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; {
		slot, err := server.ReadSlot(ctx, conn, opt.Slot)
		if err != nil || slot == nil || slot.Pid == 0 || time.Since(began) > slotEnds {
			return slot, opt.Classify(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// DropIdleSlot drops our slot, if it exists. One in use is an error of KindSlotInUse.
func DropIdleSlot(ctx context.Context, conn *pgx.Conn, opt *server.Options) error {
	slot, err := idleSlot(ctx, conn, opt)
	if err != nil {
		return err
	}
	if slot != nil {
		if slot.Plugin != "pgoutput" {
			return pgerr.New(pgerr.KindSlotForeign, "correct the slot name", nil, "replication slot %q uses plugin %q: it is not carbond's", opt.Slot, slot.Plugin)
		}
		if slot.Pid != 0 {
			return pgerr.New(pgerr.KindSlotInUse, fmt.Sprintf("stop carbond first, or SELECT pg_terminate_backend(%d)", slot.Pid), nil,
				"replication slot %q is in use by server process %d", opt.Slot, slot.Pid)
		}
		if err := server.AsLogin(ctx, conn, "SELECT pg_drop_replication_slot($1)", opt.Slot); err != nil {
			return opt.Classify(fmt.Errorf("drop replication slot %q: %w", opt.Slot, err))
		}
		opt.Logger.Info("dropped the replication slot", "slot", opt.Slot)
	}
	return nil
}

// RoleSQL returns SQL that a superuser runs once to make a role that can do
// what carbond needs and no more. The role's name and the database are those of
// the URL; the password is left to the reader.
func RoleSQL(opt server.Options) string {
	opt = opt.WithDefaults()
	role, database := "carbond", "<database>"
	if cfg, err := pgconn.ParseConfig(opt.URL); err == nil {
		if cfg.User != "" {
			role = cfg.User
		}
		if cfg.Database != "" {
			database = cfg.Database
		}
	}
	r, schema := server.Ident(role), server.Ident(opt.Schema)
	tables := ""
	for i, t := range change.Tables() {
		if i > 0 {
			tables += ", "
		}
		tables += server.Ident(opt.Schema, t)
	}
	return fmt.Sprintf(`-- Run as superuser in database %[2]s, after the tables exist.
CREATE ROLE %[1]s LOGIN REPLICATION PASSWORD 'choose one';
GRANT CONNECT ON DATABASE %[3]s TO %[1]s;
GRANT USAGE ON SCHEMA %[4]s TO %[1]s;
GRANT SELECT ON %[5]s TO %[1]s;
%[6]s;
-- Only if carbond's feeds write the tables:
GRANT INSERT, UPDATE, DELETE ON %[5]s TO %[1]s;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA %[4]s TO %[1]s;
-- Only if carbond itself creates and upgrades tables and publication (it must own the tables then):
-- GRANT CREATE ON DATABASE %[3]s TO %[1]s;
-- GRANT CREATE ON SCHEMA %[4]s TO %[1]s;
`, r, database, server.Ident(database), schema, tables, publicationSQL(&opt))
}

package bench

import (
	"context"
	"fmt"
	"time"
)

// hugeGoal is what a transaction may cost beyond the rows that it leaves, in MB.
const hugeGoal = 64

// huge inserts all its rows in one transaction and takes the highest resident
// memory of the daemon until they are served. Then the daemon is started again
// over the same data: what it needs at rest is the state that the transaction
// created, and the difference is what the transaction cost beyond it.
func huge(ctx context.Context, o Options) ([]Figure, error) {
	s, err := newSource(ctx, o, "huge")
	if err != nil {
		return nil, err
	}
	defer s.close(context.WithoutCancel(ctx))
	d, err := startDaemon(ctx, o, s.dir, o.PostgresURL)
	if err != nil {
		return nil, err
	}
	defer d.stop()
	if _, err := s.conn.Exec(ctx, insertProjects, 0, o.HugeRows-1); err != nil {
		return nil, err
	}
	end, err := s.lsn(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := waitLSN(ctx, d.addr, end, 30*time.Minute); err != nil {
		return nil, err
	}
	took := time.Since(began)
	peak, err := memory(d.cmd.Process.Pid, "VmHWM")
	if err != nil {
		return nil, err
	}
	d.stop()
	_, rest, err := startAndMeasure(ctx, o, s.dir, o.PostgresURL)
	if err != nil {
		return nil, err
	}
	f := atMost(fmt.Sprintf("memory of a transaction of %d rows beyond the state it creates", o.HugeRows), peak-rest, "MB", hugeGoal)
	f.Note = fmt.Sprintf("highest RSS %.0f MB, at rest with the same rows %.0f MB; served %.0f s after the commit", peak, rest, took.Seconds())
	return []Figure{f}, nil
}

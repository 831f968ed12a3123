package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"carbond/replicate"
)

// watchdog feeds the service manager's watchdog while the daemon makes
// progress, and only then: a process that merely runs may still be stuck. Each
// look asks the store's writer and the gRPC listener to move and looks at the
// last sign of life of replication. Without a manager the looks still keep the
// gauge.
func (d *Daemon) watchdog(ctx context.Context) error {
	every := d.notify.Watchdog() / 3
	if every <= 0 {
		every = 10 * time.Second
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		err := d.progress(ctx, every)
		if ctx.Err() != nil {
			return nil
		}
		d.met.watchdogOK.Set(flag(err == nil))
		if err != nil {
			d.log.Error("no progress, the watchdog is not fed", "error", err)
		} else if err := d.notify.Alive(); err != nil {
			d.log.Warn("watchdog not fed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// progress looks at the three things that must move, within limit.
func (d *Daemon) progress(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := d.storeMoves(ctx); err != nil {
		return err
	}
	if err := d.grpcAnswers(ctx); err != nil {
		return err
	}
	if d.source == nil {
		return nil
	}
	return replicationMoves(d.source.Status(), time.Now())
}

// storeMoves looks whether the store's writer is free or gets on. A large
// transaction keeps it for long, piece by piece.
func (d *Daemon) storeMoves(ctx context.Context) error {
	before, busy := d.store.Progress()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for now := before; busy && now == before; now, busy = d.store.Progress() {
		select {
		case <-t.C:
		case <-ctx.Done():
			return errors.New("the store's writer is stuck")
		}
	}
	return nil
}

// grpcAnswers asks the own listener. Any answer will do, a refusal for lack of
// a certificate or token too: it shows that the server works.
func (d *Daemon) grpcAnswers(ctx context.Context) error {
	_, err := healthpb.NewHealthClient(d.self).Check(ctx, &healthpb.HealthCheckRequest{})
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded {
		return fmt.Errorf("the gRPC listener %s does not answer", d.grpcListener.Addr())
	}
	return nil
}

// silence is how long a streaming replication may be without a sign of life. It
// gives up by itself earlier; beyond this its loop must be stuck.
const silence = 2 * time.Minute

func replicationMoves(s replicate.Status, now time.Time) error {
	if s.Phase == replicate.PhaseStreaming && now.Sub(s.LastEvent) > silence {
		return fmt.Errorf("replication has shown no life for %s", now.Sub(s.LastEvent).Round(time.Second))
	}
	return nil
}

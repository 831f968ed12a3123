package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"carbond/cmd/carbond/internal/systemd"
	"carbond/replicate"
	"carbond/store"
)

// watchdog feeds the service manager's watchdog while the daemon makes
// progress, and only then: a process that merely runs may still be stuck. Each
// look asks the store's writer and the gRPC listener to move and looks at the
// last sign of life of replication. Without a manager the looks still keep the
// gauge.
type watchdog struct {
	store   *store.Store
	source  *replicate.Replicator    // nil without Postgres
	self    grpc.ClientConnInterface // to the own API
	addr    net.Addr                 // of it
	notify  *systemd.Notifier
	healthy prometheus.Gauge
	log     *slog.Logger
}

// run looks until ctx ends.
func (w *watchdog) run(ctx context.Context) error {
	every := w.notify.Watchdog() / 3
	if every <= 0 {
		every = 10 * time.Second
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		err := w.progress(ctx, every)
		if ctx.Err() != nil {
			return nil
		}
		w.healthy.Set(flag(err == nil))
		if err != nil {
			w.log.Error("no progress, the watchdog is not fed", "error", err)
		} else if err := w.notify.Alive(); err != nil {
			w.log.Warn("watchdog not fed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// progress looks at the three things that must move, within limit.
func (w *watchdog) progress(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := w.storeMoves(ctx); err != nil {
		return err
	}
	if err := w.grpcAnswers(ctx); err != nil {
		return err
	}
	if w.source == nil {
		return nil
	}
	return replicationMoves(w.source.Status(), time.Now())
}

// storeMoves looks whether the store's writer is free or gets on. A large
// transaction keeps it for long, piece by piece.
func (w *watchdog) storeMoves(ctx context.Context) error {
	before, busy := w.store.Progress()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for now := before; busy && now == before; now, busy = w.store.Progress() {
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
func (w *watchdog) grpcAnswers(ctx context.Context) error {
	_, err := healthpb.NewHealthClient(w.self).Check(ctx, &healthpb.HealthCheckRequest{})
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded {
		return fmt.Errorf("the gRPC listener %s does not answer", w.addr)
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

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"carbond/cmd/carbond/internal/client"
	"carbond/cmd/carbond/internal/config"
	"carbond/cmd/carbond/internal/fleet"
	"carbond/cmd/carbond/internal/systemd"
	pb "carbond/proto/carbon"
	"carbond/replicate"
	"carbond/replicate/lease"
	"carbond/store"
	"carbond/store/change"
)

// holdLease asks for what one node of a fleet holds at a time, until end: who has it copies
// the tables where no node has data, and polls the feeds. nil where there is no fleet.
func holdLease(ctx context.Context, cfg *config.Config, log *slog.Logger) (alone *lease.Lease, end func()) {
	if cfg.Fleet.Name == "" {
		return nil, func() {}
	}
	opt := ReplicateOptions(cfg)
	opt.Logger = log.With("stage", "fleet")
	alone = lease.New(opt, "fleet "+cfg.Fleet.Name)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { alone.Run(ctx) })
	return alone, func() {
		cancel()
		wg.Wait()
	}
}

// peersOf prepares the connections to the other nodes.
func peersOf(cfg *config.Config, version string) (fleet.Peers, error) {
	f := cfg.Fleet
	peers, err := fleet.Dial(f.Join, client.Client{TLS: f.TLS, CA: f.CA, Cert: f.Cert, Key: f.Key, TokenFile: f.TokenFile, Version: version})
	if err != nil {
		return nil, fmt.Errorf("fleet.join: %w", err)
	}
	return peers, nil
}

// buildFleet makes the part of a node that speaks with the others, before the API that
// serves it.
func (d *Daemon) buildFleet(_ context.Context, cfg *config.Config) (err error) {
	if cfg.Fleet.Name == "" {
		return nil
	}
	if d.peers, err = peersOf(cfg, d.opt.Version.Version); err != nil {
		return err
	}
	d.fleet = fleet.New(fleet.Options{
		Name: cfg.Fleet.Name, Slot: cfg.Postgres.Slot, Log: d.store, Node: d.node, Peers: d.peers,
		Logger: d.log.With("stage", "fleet"), Registerer: d.met.reg,
	})
	return nil
}

// registerFleet adds the service of fleets to the API.
func (d *Daemon) registerFleet(r grpc.ServiceRegistrar) {
	if d.fleet != nil {
		pb.RegisterFleetServiceServer(r, d.fleet)
	}
}

// node says where this node is.
func (d *Daemon) node() *pb.GetNodeResponse {
	pos, s := d.store.Position(), d.source.Status()
	n := &pb.GetNodeResponse{
		Version: d.opt.Version.Version, SystemId: pos.Source.SystemID, Database: pos.Source.Database, Lsn: pos.LSN.String(),
		LagSeconds: s.LagSeconds, RetainedWalBytes: max(s.SlotRetained, 0), Lease: d.alone != nil && d.alone.Held(),
	}
	if v := d.health.last.Load(); v != nil {
		n.Ready, n.Reason = v.ok, d.opt.Redaction.Text(v.reason)
	}
	return n
}

// runFleet compares this node with the others. One that has a gap, which only a copy of the
// tables would close, joins again when there is a node to join with.
func (d *Daemon) runFleet(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	wg.Go(func() {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for away := false; ; {
			if err := d.store.SyncGroups(ctx); (err != nil) != away && ctx.Err() == nil {
				if away = err != nil; away {
					d.log.Warn("cannot read the consumer groups of the fleet", "error", err)
				} else {
					d.log.Info("the consumer groups of the fleet can be read again")
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if s := d.source.Status(); s.Kind.Gap() && d.peers.CanJoin(ctx, d.conf.cfg.Load().Fleet.Name, d.conf.cfg.Load().Postgres.Slot) {
				cancel(fmt.Errorf("%w: %s", fleet.ErrRejoin, s.Reason))
			}
		}
	})
	if err := d.fleet.Run(ctx); err != nil {
		return err
	}
	if err := context.Cause(ctx); errors.Is(err, fleet.ErrRejoin) {
		return err
	}
	return nil
}

// joinFleet takes the data of a peer before the daemon is built: where the directory has none,
// where a join into it did not end, and where again says that what it holds must not
// be used. Where no peer has data, an empty directory is left to the first copy of the
// tables, by the one that has the lease. A signal ends the wait.
func joinFleet(ctx context.Context, cfg *config.Config, opt Options, alone *lease.Lease, again bool) error {
	if cfg.Fleet.Name == "" || len(cfg.Fleet.Join) == 0 {
		return nil
	}
	holds, err := store.Holds(cfg.DataDir)
	if err != nil || holds == store.HoldsData && !again {
		return err
	}
	peers, err := peersOf(cfg, opt.Version.Version)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- join(ctx, cfg, opt, peers, alone, holds == store.HoldsNothing) }()
	for {
		select {
		case err := <-done:
			cancel()
			return errors.Join(err, peers.Close())
		case sig := <-opt.Signals:
			if sig != syscall.SIGHUP { // the configuration was read a moment ago
				opt.Log.Info("stopping while the node joins its fleet", "reason", "signal: "+sig.String())
				cancel()
				<-done // what the directory held is left as it was
				return errors.Join(errStopped, peers.Close())
			}
		}
	}
}

// join tries until it has the data of a peer, or no peer has any and none is needed.
func join(ctx context.Context, cfg *config.Config, opt Options, peers fleet.Peers, alone *lease.Lease, empty bool) error {
	ropt := ReplicateOptions(cfg)
	ropt.Logger = opt.Log.With("stage", "replicate")
	notify, last := systemd.New(opt.Getenv, opt.PID), time.Time{}
	tell := func(what string) {
		if time.Since(last) < time.Second {
			return
		}
		last = time.Now()
		_ = errors.Join(notify.Extend(30*time.Second, "joining the fleet: "+what), notify.Alive())
	}
	j := fleet.Joining{
		Dir: cfg.DataDir, Store: StoreOptions(cfg), Name: cfg.Fleet.Name, Slot: cfg.Postgres.Slot, Peers: peers,
		MakeSlot: func(ctx context.Context) (change.LSN, error) { return replicate.JoinSlot(ctx, ropt) },
		Progress: tell, Log: opt.Log.With("stage", "fleet"),
	}
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for said := ""; ; {
		err := fleet.Join(ctx, j)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fleet.ErrNoPeer) && empty && alone.Held():
			opt.Log.Info("no node of fleet.join has data: this one copies the tables", "fleet", cfg.Fleet.Name)
			return nil
		case err.Error() != said:
			said = err.Error()
			opt.Log.Warn("cannot join the fleet yet; it is tried again every second", "fleet", cfg.Fleet.Name, "error", err)
		}
		tell(said)
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

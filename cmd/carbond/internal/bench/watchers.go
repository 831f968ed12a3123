package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	pb "carbond/proto/carbon"
	"carbond/store"
)

// watcherCount are the watchers whose memory is measured.
const watcherCount = 1000

// watchers measures what watchers add to the resident memory of a daemon that has
// nothing new for them, each on a connection of its own and many on a few.
func watchers(ctx context.Context, o Options) ([]Figure, error) {
	dir := filepath.Join(o.Dir, "watchers")
	s, err := store.Open(dir, store.Options{NoSync: true})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(fill(ctx, s, 1000, 47), s.Close()); err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var out []Figure
	for _, goal := range []struct {
		connections int
		mb          float64
	}{{watcherCount, 45}, {4, 20}} {
		mb, err := watcherMemory(ctx, o, dir, goal.connections)
		if err != nil {
			return out, err
		}
		out = append(out, atMost(fmt.Sprintf("memory of %d watchers on %d connections", watcherCount, goal.connections), mb, "MB", goal.mb))
	}
	return out, nil
}

// watcherMemory returns the MB that watchers add to a daemon of their own.
func watcherMemory(ctx context.Context, o Options, dir string, connections int) (float64, error) {
	d, err := startDaemon(ctx, o, dir, "")
	if err != nil {
		return 0, err
	}
	defer d.stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	before, err := d.settled(ctx)
	if err != nil {
		return 0, err
	}
	var conn *grpc.ClientConn
	for i := range watcherCount {
		if i%(watcherCount/connections) == 0 {
			if conn, err = dial(d.addr); err != nil {
				return 0, err
			}
			defer conn.Close()
		}
		w, err := pb.NewCarbonServiceClient(conn).WatchFinanceData(ctx, &pb.WatchFinanceDataRequest{})
		if err == nil {
			_, err = w.Recv()
		}
		if err != nil {
			return 0, fmt.Errorf("watcher %d: %w", i, err)
		}
	}
	after, err := d.settled(ctx)
	return after - before, err
}

// settled returns the resident memory in MB after a moment without work, in which the
// runtime gives garbage back.
func (d *daemon) settled(ctx context.Context) (float64, error) {
	select {
	case <-time.After(8 * time.Second):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return memory(d.cmd.Process.Pid, "VmRSS")
}

package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"carbond/cmd/carbond/internal/client"
	pb "carbond/proto/carbon"
	"carbond/store"
	"carbond/store/change"
)

// ErrNoPeer means that no peer has data to join with.
var ErrNoPeer = errors.New("no node of fleet.join has data and is ready")

// Joining is what a node needs to join.
type Joining struct {
	Dir   string
	Store store.Options
	Name  string // of the fleet
	Slot  string // of this node
	Peers Peers
	// MakeSlot makes the replication slot of this node, or makes it again, and returns
	// where it begins.
	MakeSlot func(context.Context) (change.LSN, error)
	Progress func(what string)
	Log      *slog.Logger
}

// poll is how often a peer is asked for its position.
const poll = 200 * time.Millisecond

// Join makes the directory a copy of that of a peer, from which the node's own slot leads
// on. What it held is replaced, at the very end. Errors: ErrNoPeer, those of Postgres,
// of the peer's backup and of store.Join.
func Join(ctx context.Context, j Joining) error {
	peer, ok := j.Peers.best(ctx, j.Name, j.Slot)
	if !ok {
		return ErrNoPeer
	}
	j.Progress("making the replication slot")
	point, err := j.MakeSlot(ctx)
	if err != nil {
		return err
	}
	j.Progress("waiting for " + peer.GetSlot() + " to pass the slot's beginning")
	if err := j.passed(ctx, peer.Peer, point); err != nil {
		return err
	}
	began := time.Now()
	m, report, err := j.fetch(ctx, peer.Peer)
	if err != nil {
		return fmt.Errorf("take the data of %s: %w", peer.Peer.Addr, err)
	}
	j.Log.Info("joined the fleet", "fleet", j.Name, "peer", peer.Peer.Addr, "peer_slot", peer.GetSlot(), "history", m.History.ID,
		"offset", uint64(report.Position.Offset), "lsn", report.Position.LSN.String(), "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// passed waits until a peer's position is at or beyond point.
func (j *Joining) passed(ctx context.Context, peer *Peer, point change.LSN) error {
	t := time.NewTicker(poll)
	defer t.Stop()
	for {
		nodes := Peers{peer}.Ask(ctx)
		if err := nodes[0].Err; err != nil {
			return err
		}
		lsn, err := change.ParseLSN(nodes[0].GetLsn())
		if err != nil || lsn >= point {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fetch puts a backup of a peer in the directory's place.
func (j *Joining) fetch(ctx context.Context, peer *Peer) (*store.Manifest, *store.Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the backup when it cannot be taken
	ss, err := pb.NewChangelogServiceClient(peer.conn).Backup(ctx, &pb.BackupRequest{})
	if err != nil {
		return nil, nil, err
	}
	b := &backup{recv: ss.Recv, progress: j.Progress}
	m, report, err := store.Join(j.Dir, b, j.Store)
	if b.err != nil {
		err = errors.New(said(b.err))
	}
	return m, report, err
}

// backup reads the messages of a backup as one file.
type backup struct {
	recv     func() (*pb.BackupResponse, error)
	progress func(string)
	rest     []byte
	n        int64
	err      error // of the call, nil for its end
}

// Read implements io.Reader.
func (b *backup) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		m, err := b.recv()
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err != nil {
			b.err = err
			return 0, err
		}
		b.rest = m.GetData()
		b.progress("copying from a peer: " + client.Bytes(b.n))
	}
	n := copy(p, b.rest)
	b.rest, b.n = b.rest[n:], b.n+int64(n)
	return n, nil
}

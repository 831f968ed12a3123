// Package yardstick is the least that a logical replication client can do: it
// receives the same stream as carbond and throws it away, or only makes it
// durable. Benchmarks measure against it within one run.
package yardstick

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"carbond/store/change"
)

// Stats is what a client received.
type Stats struct {
	Rows  int
	Bytes int64
	Took  time.Duration // from the start of streaming
}

// Client tails one slot.
type Client struct {
	URL, Slot, Publication string
	// Until ends Run at the first commit whose end is at or behind it.
	Until change.LSN
	// Sync, when set, gets the raw messages and an fsync at every point where
	// nothing more is waiting, as a client does that keeps what it acknowledges.
	Sync *os.File
	// Committed is called for each commit once it is received and, with Sync,
	// on disk. It may be nil.
	Committed func(xid uint32, at time.Time)
}

// Run streams until Until or the end of ctx.
func (c *Client) Run(ctx context.Context) (Stats, error) {
	conn, err := c.start(ctx)
	if err != nil {
		return Stats{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// The loop costs what it must: a context or a timer for each message would
	// cost as much as the message. Who asks for an answer gets one at once.
	stop := context.AfterFunc(ctx, func() { _ = conn.Conn().SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	r := receiver{Client: c, conn: conn, began: time.Now()}
	r.acked = r.began
	for r.stats.Took == 0 {
		msg, err := conn.ReceiveMessage(context.Background())
		if err != nil {
			return r.stats, errors.Join(ctx.Err(), err)
		}
		if data, ok := msg.(*pgproto3.CopyData); ok && len(data.Data) > 0 {
			if err := r.receive(ctx, data.Data); err != nil {
				return r.stats, err
			}
		}
	}
	return r.stats, nil
}

func (c *Client) start(ctx context.Context) (*pgconn.PgConn, error) {
	cfg, err := pgconn.ParseConfig(c.URL)
	if err != nil {
		return nil, errors.New("parse connection string")
	}
	cfg.RuntimeParams["replication"] = "database"
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	err = pglogrepl.StartReplication(ctx, conn, c.Slot, 0, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{"proto_version '1'", "publication_names '" + c.Publication + "'"},
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start replication: %w", err), conn.Close(context.WithoutCancel(ctx)))
	}
	return conn, nil
}

// receiver is a running Client.
type receiver struct {
	*Client
	conn    *pgconn.PgConn
	began   time.Time
	stats   Stats // Took is set at the end
	acked   time.Time
	pos     change.LSN
	xid     uint32
	waiting []uint32 // transactions that Committed has not been told of
}

// receive takes what a CopyData holds: bytes of WAL or a keepalive.
func (r *receiver) receive(ctx context.Context, data []byte) error {
	if data[0] == pglogrepl.PrimaryKeepaliveMessageByteID {
		if len(data) == 18 && data[17] == 1 { // it asks for an answer
			return r.ack(ctx)
		}
		return nil
	}
	if len(data) < 26 {
		return nil
	}
	body := data[25:]
	r.stats.Bytes += int64(len(body))
	if r.Sync != nil {
		if _, err := r.Sync.Write(body); err != nil {
			return err
		}
	}
	switch body[0] {
	case 'I', 'U', 'D':
		r.stats.Rows++
	case 'B':
		r.xid = binary.BigEndian.Uint32(body[17:]) // final LSN, commit time, xid
	case 'C':
		r.pos = change.LSN(binary.BigEndian.Uint64(body[10:])) // flags, commit LSN, end LSN
		r.waiting = append(r.waiting, r.xid)
	}
	if len(r.waiting) > 0 && (r.Sync == nil || drained(r.conn)) {
		return r.committed(ctx)
	}
	return nil
}

// committed tells of the transactions that were received, once they are on disk
// where they go there.
func (r *receiver) committed(ctx context.Context) error {
	if r.Sync != nil {
		if err := r.Sync.Sync(); err != nil {
			return err
		}
	}
	now := time.Now()
	if r.Committed != nil {
		for _, x := range r.waiting {
			r.Committed(x, now)
		}
	}
	r.waiting = r.waiting[:0]
	if r.pos >= r.Until && r.Until > 0 {
		r.stats.Took = now.Sub(r.began)
	} else if now.Sub(r.acked) < time.Second {
		return nil
	}
	return r.ack(ctx)
}

// ack tells the server how far the client is.
func (r *receiver) ack(ctx context.Context) error {
	r.acked = time.Now()
	if r.pos == 0 {
		return nil
	}
	l := pglogrepl.LSN(r.pos)
	return pglogrepl.SendStandbyStatusUpdate(ctx, r.conn, pglogrepl.StandbyStatusUpdate{
		WALWritePosition: l, WALFlushPosition: l, WALApplyPosition: l,
	})
}

// drained reports whether no further message is buffered, as far as a client
// can know without waiting.
func drained(conn *pgconn.PgConn) bool { return conn.Frontend().ReadBufferLen() == 0 }

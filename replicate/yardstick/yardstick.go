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
func (c *Client) Run(ctx context.Context) (s Stats, err error) {
	cfg, err := pgconn.ParseConfig(c.URL)
	if err != nil {
		return s, errors.New("parse connection string")
	}
	cfg.RuntimeParams["replication"] = "database"
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return s, fmt.Errorf("connect: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = pglogrepl.StartReplication(ctx, conn, c.Slot, 0, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{"proto_version '1'", "publication_names '" + c.Publication + "'"},
	})
	if err != nil {
		return s, fmt.Errorf("start replication: %w", err)
	}
	began, acked := time.Now(), time.Now()
	var pos change.LSN
	var xid uint32
	var waiting []uint32
	for {
		if time.Since(acked) > time.Second {
			if err := ack(ctx, conn, pos); err != nil {
				return s, err
			}
			acked = time.Now()
		}
		wait, cancel := context.WithTimeout(ctx, time.Second)
		msg, err := conn.ReceiveMessage(wait)
		cancel()
		if pgconn.Timeout(err) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return s, err
		}
		data, ok := msg.(*pgproto3.CopyData)
		if !ok || len(data.Data) == 0 {
			continue
		}
		if data.Data[0] == pglogrepl.PrimaryKeepaliveMessageByteID {
			if len(data.Data) == 18 && data.Data[17] == 1 {
				acked = time.Time{}
			}
			continue
		}
		if len(data.Data) < 26 {
			continue
		}
		body := data.Data[25:]
		s.Bytes += int64(len(body))
		if c.Sync != nil {
			if _, err := c.Sync.Write(body); err != nil {
				return s, err
			}
		}
		switch body[0] {
		case 'I', 'U', 'D':
			s.Rows++
		case 'B':
			xid = binary.BigEndian.Uint32(body[17:]) // final LSN, commit time, xid
		case 'C':
			pos = change.LSN(binary.BigEndian.Uint64(body[10:])) // flags, commit LSN, end LSN
			waiting = append(waiting, xid)
		}
		if len(waiting) > 0 && (c.Sync == nil || drained(conn)) {
			if c.Sync != nil {
				if err := c.Sync.Sync(); err != nil {
					return s, err
				}
			}
			now := time.Now()
			for _, x := range waiting {
				if c.Committed != nil {
					c.Committed(x, now)
				}
			}
			waiting = waiting[:0]
			if pos >= c.Until && c.Until > 0 {
				s.Took = time.Since(began)
				return s, ack(ctx, conn, pos)
			}
		}
	}
}

// drained reports whether no further message is buffered, as far as a client
// can know without waiting.
func drained(conn *pgconn.PgConn) bool { return conn.Frontend().ReadBufferLen() == 0 }

func ack(ctx context.Context, conn *pgconn.PgConn, at change.LSN) error {
	if at == 0 {
		return nil
	}
	l := pglogrepl.LSN(at)
	return pglogrepl.SendStandbyStatusUpdate(ctx, conn, pglogrepl.StandbyStatusUpdate{
		WALWritePosition: l, WALFlushPosition: l, WALApplyPosition: l,
	})
}

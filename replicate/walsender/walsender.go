// Package walsender is a scripted stand-in for the streaming half of a Postgres
// walsender: a test says what is sent, byte for byte, and sees every status
// message that comes back. It needs no Postgres and no network, so that it also
// works on the fake clock of testing/synctest.
package walsender

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"

	"carbond/store/change"
)

// Status is a standby status update from the client.
type Status struct {
	Write, Flush, Apply change.LSN
	Reply               bool
}

// Server is the server's end of a stream.
type Server struct {
	conn   net.Conn
	out    chan []byte   // as a socket's buffer: Send does not wait for the client
	Status chan Status   // every status, in order
	Done   chan struct{} // closed when the client has sent CopyDone or gone
	left   atomic.Int64  // bytes until the connection is cut; negative: no end
}

// Start returns a server and the client's end of the connection. Both end with
// the test.
func Start(tb testing.TB) (*Server, net.Conn) {
	tb.Helper()
	client, conn := net.Pipe()
	s := &Server{conn: conn, out: make(chan []byte, 10_000), Status: make(chan Status, 10_000), Done: make(chan struct{})}
	s.left.Store(-1)
	over, written := make(chan struct{}), make(chan struct{})
	go s.read()
	go func() {
		defer close(written)
		s.write(over)
	}()
	tb.Cleanup(func() {
		close(over)
		client.Close()
		conn.Close()
		<-s.Done
		<-written
	})
	return s, client
}

func (s *Server) write(over <-chan struct{}) {
	for {
		select {
		case msg := <-s.out:
			if left := s.left.Load(); left >= 0 {
				if left <= int64(len(msg)) {
					_, _ = s.conn.Write(msg[:left]) // the client may be gone
					s.conn.Close()
					return
				}
				s.left.Store(left - int64(len(msg)))
			}
			if _, err := s.conn.Write(msg); err != nil {
				return // the client is gone, and may well be
			}
		case <-over:
			return
		}
	}
}

// CutAfter breaks the connection after n bytes, in the middle of a message or not.
func (s *Server) CutAfter(n int) { s.left.Store(int64(n)) }

func (s *Server) read() {
	defer close(s.Done)
	r := bufio.NewReader(s.conn)
	for {
		var head [5]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		switch {
		case head[0] == 'c':
			s.out <- []byte{'c', 0, 0, 0, 4}
			return
		case head[0] == 'd' && len(body) == 34 && body[0] == 'r':
			lsn := func(i int) change.LSN { return change.LSN(binary.BigEndian.Uint64(body[i:])) }
			s.Status <- Status{Write: lsn(1), Flush: lsn(9), Apply: lsn(17), Reply: body[33] != 0}
		}
	}
}

// Send writes a message of any type.
func (s *Server) Send(kind byte, body []byte) {
	msg := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	s.out <- append(msg, body...)
}

// Keepalive sends a keepalive.
func (s *Server) Keepalive(end change.LSN, reply bool) {
	b := binary.BigEndian.AppendUint64([]byte{'k'}, uint64(end))
	b = append(b, make([]byte, 9)...)
	if reply {
		b[17] = 1
	}
	s.Send('d', b)
}

// Data sends one pgoutput message whose record begins at lsn.
func (s *Server) Data(lsn change.LSN, msg []byte) {
	b := binary.BigEndian.AppendUint64([]byte{'w'}, uint64(lsn))
	b = append(b, make([]byte, 16)...)
	s.Send('d', append(b, msg...))
}

// Begin sends BEGIN.
func (s *Server) Begin(commit change.LSN, xid uint32) {
	b := binary.BigEndian.AppendUint64([]byte{'B'}, uint64(commit))
	b = binary.BigEndian.AppendUint64(b, 0)
	s.Data(commit-1, binary.BigEndian.AppendUint32(b, xid))
}

// Commit sends COMMIT.
func (s *Server) Commit(commit, end change.LSN) {
	b := binary.BigEndian.AppendUint64([]byte{'C', 0}, uint64(commit))
	b = binary.BigEndian.AppendUint64(b, uint64(end))
	s.Data(commit, binary.BigEndian.AppendUint64(b, 0))
}

// News describes public.news with one column, guid, as relation 1. Like the
// real server it gives position 0.
func (s *Server) News() {
	b := append([]byte{'R', 0, 0, 0, 1}, "public\x00news\x00d\x00\x01\x01guid\x00"...)
	s.Data(0, append(b, 0, 0, 0, 25, 255, 255, 255, 255))
}

// Insert sends an INSERT into news.
func (s *Server) Insert(lsn change.LSN, guid string) {
	b := []byte{'I', 0, 0, 0, 1, 'N', 0, 1, 't'}
	b = binary.BigEndian.AppendUint32(b, uint32(len(guid)))
	s.Data(lsn, append(b, guid...))
}

// TableID is the relation number of a table of carbond's in Txn.
func TableID(table string) uint32 { return uint32(10 + slices.Index(change.Tables(), table)) }

// Relation describes a table.
func (s *Server) Relation(id uint32, r *change.Relation) {
	b := binary.BigEndian.AppendUint32([]byte{'R'}, id)
	b = append(b, r.Schema+"\x00"+r.Name+"\x00d"...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Columns)))
	for _, c := range r.Columns {
		key := byte(0)
		if slices.Contains(change.KeyColumns(r.Name), c.Name) {
			key = 1
		}
		b = append(b, key)
		b = append(b, c.Name+"\x00"...)
		b = binary.BigEndian.AppendUint32(b, c.Type)
		b = append(b, 255, 255, 255, 255)
	}
	s.Data(0, b)
}

// Txn sends a whole transaction. Its tables were described under TableID.
func (s *Server) Txn(t change.Txn) {
	s.Begin(t.CommitLSN, t.XID)
	for _, c := range t.Changes {
		id := binary.BigEndian.AppendUint32(nil, TableID(c.Relation.Name))
		switch c.Op {
		case change.Truncate:
			s.Data(c.LSN, append([]byte{'T', 0, 0, 0, 1, 0}, id...))
		case change.Delete:
			s.Data(c.LSN, tuple(append(append([]byte{'D'}, id...), 'K'), c.Before))
		case change.Update:
			b := append([]byte{'U'}, id...)
			if c.Before != "" {
				b = tuple(append(b, 'K'), c.Before)
			}
			s.Data(c.LSN, tuple(append(b, 'N'), c.After))
		default:
			s.Data(c.LSN, tuple(append(append([]byte{'I'}, id...), 'N'), c.After))
		}
	}
	s.Commit(t.CommitLSN, t.EndLSN)
}

func tuple(b []byte, r change.Row) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(r.Len()))
	for _, v := range r.All() {
		switch v.Kind {
		case change.Null:
			b = append(b, 'n')
		case change.Unchanged:
			b = append(b, 'u')
		default:
			b = binary.BigEndian.AppendUint32(append(b, 't'), uint32(len(v.Text)))
			b = append(b, v.Text...)
		}
	}
	return b
}

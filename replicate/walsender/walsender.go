// Package walsender is a scripted stand-in for the streaming half of a Postgres
// walsender: a test says what is sent, byte for byte, and sees every status
// message that comes back. It needs no Postgres.
package walsender

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
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
	tb     testing.TB
	conn   net.Conn
	Status chan Status   // every status, in order
	Done   chan struct{} // closed when the client has sent CopyDone or gone
}

// Start returns a server and the client's end of the connection.
func Start(tb testing.TB) (*Server, net.Conn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{tb: tb, conn: conn, Status: make(chan Status, 10_000), Done: make(chan struct{})}
	go s.read()
	tb.Cleanup(func() {
		client.Close()
		conn.Close()
		<-s.Done
	})
	return s, client
}

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
			_, _ = s.conn.Write([]byte{'c', 0, 0, 0, 4}) // the client may be gone
			return
		case head[0] == 'd' && len(body) == 34 && body[0] == 'r':
			lsn := func(i int) change.LSN { return change.LSN(binary.BigEndian.Uint64(body[i:])) }
			s.Status <- Status{Write: lsn(1), Flush: lsn(9), Apply: lsn(17), Reply: body[33] != 0}
		}
	}
}

// Send writes a message of any type.
func (s *Server) Send(kind byte, body []byte) {
	s.tb.Helper()
	msg := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	if _, err := s.conn.Write(append(msg, body...)); err != nil {
		s.tb.Fatal(err)
	}
}

// Keepalive sends a keepalive.
func (s *Server) Keepalive(end change.LSN, reply bool) {
	s.tb.Helper()
	b := binary.BigEndian.AppendUint64([]byte{'k'}, uint64(end))
	b = append(b, make([]byte, 9)...)
	if reply {
		b[17] = 1
	}
	s.Send('d', b)
}

// Data sends one pgoutput message whose record begins at lsn.
func (s *Server) Data(lsn change.LSN, msg []byte) {
	s.tb.Helper()
	b := binary.BigEndian.AppendUint64([]byte{'w'}, uint64(lsn))
	b = append(b, make([]byte, 16)...)
	s.Send('d', append(b, msg...))
}

// Begin sends BEGIN.
func (s *Server) Begin(commit change.LSN, xid uint32) {
	s.tb.Helper()
	b := binary.BigEndian.AppendUint64([]byte{'B'}, uint64(commit))
	b = binary.BigEndian.AppendUint64(b, 0)
	s.Data(commit-1, binary.BigEndian.AppendUint32(b, xid))
}

// Commit sends COMMIT.
func (s *Server) Commit(commit, end change.LSN) {
	s.tb.Helper()
	b := binary.BigEndian.AppendUint64([]byte{'C', 0}, uint64(commit))
	b = binary.BigEndian.AppendUint64(b, uint64(end))
	s.Data(commit, binary.BigEndian.AppendUint64(b, 0))
}

// News describes public.news with one column, guid, as relation 1. Like the
// real server it gives position 0.
func (s *Server) News() {
	s.tb.Helper()
	b := append([]byte{'R', 0, 0, 0, 1}, "public\x00news\x00d\x00\x01\x01guid\x00"...)
	s.Data(0, append(b, 0, 0, 0, 25, 255, 255, 255, 255))
}

// Insert sends an INSERT into news.
func (s *Server) Insert(lsn change.LSN, guid string) {
	s.tb.Helper()
	b := []byte{'I', 0, 0, 0, 1, 'N', 0, 1, 't'}
	b = binary.BigEndian.AppendUint32(b, uint32(len(guid)))
	s.Data(lsn, append(b, guid...))
}

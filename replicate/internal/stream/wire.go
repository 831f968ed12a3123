// Package stream has the parts of a replication stream that know nothing of each
// other: the wire, the assembly of transactions, the way to the sink, and the rule
// that says which position may be confirmed.
package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"carbond/replicate/pgerr"
	"carbond/store/change"
)

const (
	wireBuffer  = 256 << 10 // read buffer; grows for a larger message and shrinks again
	wireHeader  = 5         // type byte and length
	maxMessage  = 1<<30 + 1<<20
	writeBudget = 10 * time.Second
)

// ErrTick is returned by fill when the deadline passed or somebody called Interrupt.
var ErrTick = errors.New("nothing arrived in time")

// Wire is the receiving side of a replication connection. Before streaming it
// is the reader under pgconn's frontend and hands out single messages, so that
// nothing is left in the frontend's buffer when streaming takes over; then next
// and fill yield messages without allocation.
//
// One goroutine reads. Interrupt may be called by any.
type Wire struct {
	r    io.Reader
	Conn net.Conn // set by takeOver, before the reader uses it
	buf  []byte
	rp   int // unread bytes are buf[rp:wp]
	wp   int
	left int // bytes of the present message that Read has still to hand out

	mu          sync.Mutex // guards interrupted, ending and the writing of conn; orders SetReadDeadline calls
	interrupted bool
	ending      bool // Interrupt is no longer wanted
}

// NewWire makes a wire that reads from r until Frontend is called.
func NewWire(r io.Reader) *Wire { return &Wire{r: r, buf: make([]byte, wireBuffer)} }

// Frontend is a pgconn.BuildFrontendFunc.
func (w *Wire) Frontend(r io.Reader, out io.Writer) *pgproto3.Frontend {
	w.r, w.rp, w.wp, w.left = r, 0, 0, 0 // pgconn may try several hosts
	return pgproto3.NewFrontend(w, out)
}

// Read hands out at most the rest of one message.
func (w *Wire) Read(p []byte) (int, error) {
	if w.left == 0 {
		for w.wp-w.rp < wireHeader {
			if err := w.More(wireHeader); err != nil {
				return 0, err
			}
		}
		n := int(int32(binary.BigEndian.Uint32(w.buf[w.rp+1:])))
		if n < 4 || n > maxMessage {
			return 0, fmt.Errorf("read a message: length %d", n)
		}
		w.left = n + 1
	}
	if w.rp == w.wp {
		if err := w.More(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.buf[w.rp:min(w.wp, w.rp+w.left)])
	w.rp += n
	w.left -= n
	return n, nil
}

// More reads once, after making room for want unread bytes.
func (w *Wire) More(want int) error {
	if w.rp == w.wp {
		w.rp, w.wp = 0, 0
		if len(w.buf) > wireBuffer && want <= wireBuffer {
			w.buf = make([]byte, wireBuffer)
		}
	}
	if len(w.buf)-w.rp < want {
		to := w.buf
		if len(to) < want {
			to = make([]byte, want)
		}
		w.wp = copy(to, w.buf[w.rp:w.wp])
		w.rp, w.buf = 0, to
	}
	if w.wp == len(w.buf) {
		w.wp = copy(w.buf, w.buf[w.rp:w.wp])
		w.rp = 0
	}
	n, err := w.r.Read(w.buf[w.wp:])
	w.wp += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// TakeOver begins streaming on conn.
func (w *Wire) TakeOver(conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Conn = conn
}

// SetFinalDeadline gives everything that is still to be sent and read until the given
// time; Interrupt does nothing any more.
func (w *Wire) SetFinalDeadline(until time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ending = true
	return w.Conn.SetDeadline(until)
}

// Next returns the next message if it is completely buffered. The body is valid
// until the next call of fill. want is the size to ask fill for when it is not.
func (w *Wire) Next() (kind byte, body []byte, want int, err error) {
	have := w.wp - w.rp
	if have < wireHeader {
		return 0, nil, wireHeader, nil
	}
	n := int(int32(binary.BigEndian.Uint32(w.buf[w.rp+1:])))
	if n < 4 || n > maxMessage {
		return 0, nil, 0, pgerr.New(pgerr.KindProtocol, "", nil, "the server sent a message of length %d", n)
	}
	if have < n+1 {
		return 0, nil, n + 1, nil
	}
	kind, body = w.buf[w.rp], w.buf[w.rp+wireHeader:w.rp+1+n]
	w.rp += n + 1
	return kind, body, 0, nil
}

// Fill reads once, until the given time at most. It returns errTick when that
// has passed, or Interrupt was called, with nothing read.
func (w *Wire) Fill(want int, until time.Time) error {
	w.mu.Lock()
	if w.interrupted {
		w.interrupted = false
		w.mu.Unlock()
		return ErrTick
	}
	err := w.Conn.SetReadDeadline(until)
	w.mu.Unlock()
	if err != nil {
		return err
	}
	err = w.More(want)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.mu.Lock()
		w.interrupted = false
		w.mu.Unlock()
		return ErrTick
	}
	return err
}

// Interrupt makes a present or the next fill return at once. Before takeOver it does
// nothing.
func (w *Wire) Interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.Conn == nil || w.ending {
		return
	}
	w.interrupted = true
	// An error means that the connection is closed: fill finds out.
	_ = w.Conn.SetReadDeadline(time.Unix(1, 0))
}

// Send writes one already framed message.
func (w *Wire) Send(msg []byte) error {
	if err := w.Conn.SetWriteDeadline(time.Now().Add(writeBudget)); err != nil {
		return err
	}
	_, err := w.Conn.Write(msg)
	return err
}

// AppendStatus appends a framed standby status update that confirms lsn as
// written, flushed and applied. All three are set by hand: a zero would be read
// as "confirm what was written" by some helpers, and moved a slot past its
// consumer in the field.
func AppendStatus(b []byte, lsn change.LSN, now time.Time, reply bool) []byte {
	b = append(b, 'd', 0, 0, 0, 4+34, 'r')
	for range 3 {
		b = binary.BigEndian.AppendUint64(b, uint64(lsn))
	}
	b = binary.BigEndian.AppendUint64(b, uint64(now.UnixMicro()-946_684_800_000_000))
	if reply {
		return append(b, 1)
	}
	return append(b, 0)
}

// CopyData is the content of a CopyData message of a replication stream.
type CopyData struct {
	Kind    byte       // 'w' data, 'k' keepalive
	Start   change.LSN // 'w': position of the record; 0 for descriptions
	End     change.LSN // the server has sent up to here
	Reply   bool       // 'k': an answer is wanted at once
	Payload []byte     // 'w'
}

// ParseCopyData splits the body of a CopyData message.
func ParseCopyData(b []byte) (CopyData, error) {
	switch {
	case len(b) >= 25 && b[0] == 'w':
		return CopyData{
			Kind: 'w', Start: change.LSN(binary.BigEndian.Uint64(b[1:])),
			End: change.LSN(binary.BigEndian.Uint64(b[9:])), Payload: b[25:],
		}, nil
	case len(b) == 18 && b[0] == 'k':
		return CopyData{Kind: 'k', End: change.LSN(binary.BigEndian.Uint64(b[1:])), Reply: b[17] != 0}, nil
	case len(b) > 0 && b[0] != 'w' && b[0] != 'k':
		return CopyData{Kind: b[0]}, nil
	}
	return CopyData{}, pgerr.New(pgerr.KindProtocol, "", nil, "the server sent a replication message of %d bytes", len(b))
}

package replicate

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

	"carbond/store/change"
)

const (
	wireBuffer  = 256 << 10 // read buffer; grows for a larger message and shrinks again
	wireHeader  = 5         // type byte and length
	maxMessage  = 1<<30 + 1<<20
	writeBudget = 10 * time.Second
)

// errTick is returned by fill when the deadline passed or somebody called poke.
var errTick = errors.New("nothing arrived in time")

// wire is the receiving side of a replication connection. Before streaming it
// is the reader under pgconn's frontend and hands out single messages, so that
// nothing is left in the frontend's buffer when streaming takes over; then next
// and fill yield messages without allocation.
//
// One goroutine reads. poke may be called by any.
type wire struct {
	r    io.Reader
	conn net.Conn // set by takeOver, before the reader uses it
	buf  []byte
	rp   int // unread bytes are buf[rp:wp]
	wp   int
	left int // bytes of the present message that Read has still to hand out

	mu     sync.Mutex // guards poked, ending and the writing of conn; orders SetReadDeadline calls
	poked  bool
	ending bool // poke is no longer wanted
}

func newWire(r io.Reader) *wire { return &wire{r: r, buf: make([]byte, wireBuffer)} }

// frontend is a pgconn.BuildFrontendFunc.
func (w *wire) frontend(r io.Reader, out io.Writer) *pgproto3.Frontend {
	w.r, w.rp, w.wp, w.left = r, 0, 0, 0 // pgconn may try several hosts
	return pgproto3.NewFrontend(w, out)
}

// Read hands out at most the rest of one message.
func (w *wire) Read(p []byte) (int, error) {
	if w.left == 0 {
		for w.wp-w.rp < wireHeader {
			if err := w.more(wireHeader); err != nil {
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
		if err := w.more(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.buf[w.rp:min(w.wp, w.rp+w.left)])
	w.rp += n
	w.left -= n
	return n, nil
}

// more reads once, after making room for want unread bytes.
func (w *wire) more(want int) error {
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

// takeOver begins streaming on conn.
func (w *wire) takeOver(conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = conn
}

// windUp gives everything that is still to be sent and read until the given
// time; poke does nothing any more.
func (w *wire) windUp(until time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ending = true
	return w.conn.SetDeadline(until)
}

// next returns the next message if it is completely buffered. The body is valid
// until the next call of fill. want is the size to ask fill for when it is not.
func (w *wire) next() (kind byte, body []byte, want int, err error) {
	have := w.wp - w.rp
	if have < wireHeader {
		return 0, nil, wireHeader, nil
	}
	n := int(int32(binary.BigEndian.Uint32(w.buf[w.rp+1:])))
	if n < 4 || n > maxMessage {
		return 0, nil, 0, fault(KindProtocol, "", nil, "the server sent a message of length %d", n)
	}
	if have < n+1 {
		return 0, nil, n + 1, nil
	}
	kind, body = w.buf[w.rp], w.buf[w.rp+wireHeader:w.rp+1+n]
	w.rp += n + 1
	return kind, body, 0, nil
}

// fill reads once, until the given time at most. It returns errTick when that
// has passed, or poke was called, with nothing read.
func (w *wire) fill(want int, until time.Time) error {
	w.mu.Lock()
	if w.poked {
		w.poked = false
		w.mu.Unlock()
		return errTick
	}
	err := w.conn.SetReadDeadline(until)
	w.mu.Unlock()
	if err != nil {
		return err
	}
	err = w.more(want)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.mu.Lock()
		w.poked = false
		w.mu.Unlock()
		return errTick
	}
	return err
}

// poke makes a present or the next fill return at once. Before takeOver it does
// nothing.
func (w *wire) poke() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn == nil || w.ending {
		return
	}
	w.poked = true
	// An error means that the connection is closed: fill finds out.
	_ = w.conn.SetReadDeadline(time.Unix(1, 0))
}

// send writes one already framed message.
func (w *wire) send(msg []byte) error {
	if err := w.conn.SetWriteDeadline(time.Now().Add(writeBudget)); err != nil {
		return err
	}
	_, err := w.conn.Write(msg)
	return err
}

// appendStatus appends a framed standby status update that confirms lsn as
// written, flushed and applied. All three are set by hand: a zero would be read
// as "confirm what was written" by some helpers, and moved a slot past its
// consumer in the field.
func appendStatus(b []byte, lsn change.LSN, now time.Time, reply bool) []byte {
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

// copyData is the content of a CopyData message of a replication stream.
type copyData struct {
	kind    byte       // 'w' data, 'k' keepalive
	start   change.LSN // 'w': position of the record; 0 for descriptions
	end     change.LSN // the server has sent up to here
	reply   bool       // 'k': an answer is wanted at once
	payload []byte     // 'w'
}

// parseCopyData splits the body of a CopyData message.
func parseCopyData(b []byte) (copyData, error) {
	switch {
	case len(b) >= 25 && b[0] == 'w':
		return copyData{
			kind: 'w', start: change.LSN(binary.BigEndian.Uint64(b[1:])),
			end: change.LSN(binary.BigEndian.Uint64(b[9:])), payload: b[25:],
		}, nil
	case len(b) == 18 && b[0] == 'k':
		return copyData{kind: 'k', end: change.LSN(binary.BigEndian.Uint64(b[1:])), reply: b[17] != 0}, nil
	case len(b) > 0 && b[0] != 'w' && b[0] != 'k':
		return copyData{kind: b[0]}, nil
	}
	return copyData{}, fault(KindProtocol, "", nil, "the server sent a replication message of %d bytes", len(b))
}

package change

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// LSN is a log sequence number: a byte position in the WAL of one Postgres
// cluster. Zero means "none" and is never acknowledged.
type LSN uint64

// String returns the Postgres form, two hexadecimal halves: "16/B374D848".
func (l LSN) String() string {
	const hex = "0123456789ABCDEF"
	var b [17]byte
	i := len(b)
	half := func(n uint32) {
		for {
			i--
			b[i] = hex[n&15]
			if n >>= 4; n == 0 {
				return
			}
		}
	}
	half(uint32(l))
	i--
	b[i] = '/'
	half(uint32(l >> 32))
	return string(b[i:])
}

// ParseLSN reads the Postgres form "16/B374D848".
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(s, "/")
	if !ok {
		return 0, fmt.Errorf("parse LSN %q: want two hexadecimal numbers joined by a slash", s)
	}
	h, err := strconv.ParseUint(hi, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("parse LSN %q: %w", s, err)
	}
	l, err := strconv.ParseUint(lo, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("parse LSN %q: %w", s, err)
	}
	return LSN(h<<32 | l), nil
}

// Offset is a position in the changelog. Every change has the number behind the
// one before it, over all topics, but for the holes that History knows; zero
// means "before the first change".
type Offset uint64

// Source names where the changes of a changelog come from. A changelog belongs
// to one source for life, unless it is re-copied on purpose.
type Source struct {
	SystemID string // system identifier of the Postgres cluster, "" in embedded mode
	Database string
	Slot     string
	// Copy is the identity of the copy that brought the tables here: what is
	// noted elsewhere about its rows holds as long as it is the same.
	Copy string `json:",omitempty"`
	// Catalog is what the source said of the tables when they were copied, in
	// words of whoever copied them: a change of it means that changes may be
	// missing. "" when nobody noted it.
	Catalog string `json:",omitempty"`
}

// Embedded reports whether no Postgres stands behind the changelog.
func (s Source) Embedded() bool { return s.SystemID == "" }

// Position is what the changelog has made durable.
type Position struct {
	Offset     Offset    // last visible offset
	LSN        LSN       // commit-end LSN up to which everything is on disk, or a later idle position
	CommitTime time.Time // source commit time of the last transaction, zero when none
	Source     Source
	// Copied is set once the initial copy of this source has committed.
	Copied bool
	// CopyLSN is where the newest copy was taken: what lies before it may be of
	// another history. 0 when nobody noted it.
	CopyLSN LSN
}

// Checksum is of a log's changes behind the offset Since and up to At. Two logs of one
// history with the same one hold the same changes.
type Checksum struct {
	At, Since Offset
	Sum       uint64
}

// TxnID tells one source transaction from every other, also from those of
// another history of the same server.
type TxnID struct {
	XID        uint32
	CommitLSN  LSN
	EndLSN     LSN
	CommitTime time.Time // of microseconds
}

// Equal reports whether both are the same transaction.
func (t TxnID) Equal(o TxnID) bool {
	return t.XID == o.XID && t.CommitLSN == o.CommitLSN && t.EndLSN == o.EndLSN && t.CommitTime.Equal(o.CommitTime)
}

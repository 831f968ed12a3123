package changelog

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"carbond/store/change"
	"carbond/store/internal/boltfile"
)

// Every segment repeats the log's history, as it repeats the dictionary. In one
// of format 1 there is none: the log is older than histories.

func decodeHistory(v []byte) (change.History, error) {
	if v == nil {
		return change.History{First: 1}, nil
	}
	v, err := unprotect(v)
	if err != nil {
		return change.History{}, fmt.Errorf("history: %w", err)
	}
	var h change.History
	if err := json.Unmarshal(v, &h); err != nil {
		return h, fmt.Errorf("history: %w", err)
	}
	if h.ID == "" || h.First == 0 {
		return h, fmt.Errorf("history is impossible: id %q, first offset %d", h.ID, h.First)
	}
	return h, nil
}

// identify writes the history of a segment, and the header, whose format says
// that there is one.
func identify(meta *bolt.Bucket, first change.Offset, start Tail, h change.History) error {
	b, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode history: %w", err)
	}
	if err := meta.Put(keyHistory, protect(b)); err != nil {
		return err
	}
	return meta.Put(keyHeader, protect(encodeHeader(first, start)))
}

// newID returns a random UUID.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// name gives an identity to a log that is older than histories.
func (l *Log) name() error {
	s, h := l.open(), l.history
	h.ID = newID()
	err := l.opt.fault("history.named")
	if err == nil {
		err = s.update(func(tx *bolt.Tx) error { return identify(tx.Bucket(bucketMeta), s.first, *s.start, h) })
	}
	if err != nil {
		return fmt.Errorf("give %s a history id: %w", s.path, err)
	}
	l.history = h
	l.show()
	return nil
}

// Fork begins a history of its own behind what is visible: a new segment under
// a new id, whose changes get offsets from first on. The log must be whole, as
// it is behind Open.
func (l *Log) Fork(first change.Offset) error {
	s, tail := l.open(), l.Tail()
	h := l.history
	if first <= tail.Next {
		return fmt.Errorf("begin a history at offset %d: the log stands at %d already", first, tail.Next)
	}
	parents := append(h.Parents[:len(h.Parents):len(h.Parents)], change.Ancestor{ID: h.ID, First: h.First, Last: tail.Visible})
	empty := tail.Next == s.first
	if !empty {
		if err := l.seal(s, tail); err != nil {
			return err
		}
	}
	l.history = change.History{ID: newID(), First: first, Parents: parents}
	tail.Next = first
	next, err := l.create(tail)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = append(l.segments, next)
	l.tail = tail
	l.sum, l.blocks, l.written = 0, 0, 0
	defer l.show()
	if !empty {
		l.touch(s)
		return nil
	}
	// It would be a segment between two holes that holds nothing.
	l.segments = append(l.segments[:len(l.segments)-2], next)
	return errors.Join(s.close(), boltfile.Remove(s.path))
}

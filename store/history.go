package store

import (
	"math/rand/v2"
	"time"

	"carbond/store/change"
)

// clockFloor is a time before which no clock can be right.
var clockFloor = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// offsetAt is the time in seconds with 20 binary places. No source makes a
// million changes a second for long, so what is written to any directory before
// t has lower offsets. Until 2242 they are numbers that a JSON reader keeps.
func offsetAt(t time.Time) change.Offset {
	return change.Offset(t.Unix())<<20 + change.Offset(t.Nanosecond())<<20/1e9
}

// firstOffset returns where a history begins whose offsets must be above those
// of every other: at the time, or at random not far behind the last offset that
// is known when the clock is behind that, or was never set.
func firstOffset(now time.Time, last change.Offset) change.Offset {
	if last = max(last, offsetAt(clockFloor)); offsetAt(now) > last {
		return offsetAt(now)
	}
	return last + 1 + change.Offset(rand.Int64N(1<<40))
}

// History says which offsets of this and of other directories mean what.
func (s *Store) History() change.History { return s.history }

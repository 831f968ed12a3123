package replicate

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/replicate/internal/note"
	"carbond/store/change"
)

// timelineOf reads on which timeline the server is, and where it left those
// before. The number alone says little: every standby that is promoted takes the
// next one.
func timelineOf(ctx context.Context, repl *pgconn.PgConn, id pglogrepl.IdentifySystemResult) (note.Timeline, error) {
	t := note.Timeline{SystemID: id.SystemID, Timeline: id.Timeline}
	if id.Timeline == 1 {
		return t, nil
	}
	h, err := pglogrepl.TimelineHistory(ctx, repl, id.Timeline)
	if err != nil {
		return t, fmt.Errorf("read the history of timeline %d: %w", id.Timeline, err)
	}
	t.Before = parseHistory(h.Content)
	return t, nil
}

// parted makes sure that a position of one timeline lies in the history of the
// one on which the server is now.
func parted(was, now note.Timeline, pos change.LSN) error {
	if was.SystemID != now.SystemID {
		return nil // nothing is known
	}
	if at := shared(was, now); pos > at {
		return fault(KindServerBehind, resnapshotAdvice, nil,
			"the server is on timeline %d, which left timeline %d at %s, before the durable position %s: it was restored from a backup, or a standby that was behind was promoted",
			now.Timeline, was.Timeline, at, pos)
	}
	return nil
}

// shared returns the position up to which two timelines have one history, the
// largest position when one goes on from the other's end.
func shared(was, now note.Timeline) (at change.LSN) {
	a, b := lineage(was), lineage(now)
	if len(a) == 1 && was.Timeline > 1 { // an earlier version noted the number alone
		a = slices.DeleteFunc(lineage(now), func(s note.Switch) bool { return s.Timeline >= was.Timeline })
		a = append(a, note.Switch{Timeline: was.Timeline, Left: math.MaxUint64})
	}
	for i := range min(len(a), len(b)) {
		if a[i].Timeline != b[i].Timeline {
			return at
		}
		at = min(a[i].Left, b[i].Left)
		if a[i].Left != b[i].Left {
			return at
		}
	}
	return at
}

// lineage lists a timeline and those before it, oldest first.
func lineage(t note.Timeline) []note.Switch {
	return append(slices.Clone(t.Before), note.Switch{Timeline: t.Timeline, Left: math.MaxUint64})
}

// parseHistory reads a timeline history. Its lines are a timeline, the position
// where it was left, and a reason, parted by tabs.
func parseHistory(history []byte) (out []note.Switch) {
	for lines := bufio.NewScanner(bytes.NewReader(history)); lines.Scan(); {
		var s note.Switch
		var at string
		if n, _ := fmt.Sscan(lines.Text(), &s.Timeline, &at); n != 2 {
			continue
		}
		if lsn, err := change.ParseLSN(at); err == nil {
			s.Left = lsn
			out = append(out, s)
		}
	}
	return out
}

package replicate

import (
	"bufio"
	"bytes"
	"context"
	"fmt"

	"github.com/jackc/pglogrepl"

	"carbond/replicate/internal/note"
	"carbond/store/change"
)

// keepTimeline notes where positions lie from now on.
func (r *Replicator) keepTimeline(t note.Timeline) error {
	return r.keep(func(n *note.Note) { n.Timeline = t })
}

// sameHistory makes sure that the durable position lies in the history of the
// timeline on which the server is now.
func (s *session) sameHistory(ctx context.Context, now note.Timeline) error {
	n, err := s.remembered(s.sink.Position())
	if err != nil {
		return err
	}
	was, pos := n.Timeline, s.sink.Position().LSN
	if was.SystemID != now.SystemID || was.Timeline == now.Timeline {
		return nil // nothing is known, or nothing has changed
	}
	left := change.LSN(0) // 0: the server was never on that timeline
	if now.Timeline > was.Timeline {
		h, err := pglogrepl.TimelineHistory(ctx, s.repl, now.Timeline)
		if err != nil {
			return s.opt.classify(fmt.Errorf("read the history of timeline %d: %w", now.Timeline, err))
		}
		left = leftAt(h.Content, was.Timeline)
	}
	if pos <= left {
		s.log.Info("the server goes on under a new timeline", "timeline", now.Timeline, "before", was.Timeline, "left_at", left.String(), "durable_lsn", pos.String())
		return nil
	}
	return fault(KindServerBehind, resnapshotAdvice, nil,
		"the server is on timeline %d, which left timeline %d at %s, before the durable position %s: it was restored from a backup, or a standby that was behind was promoted",
		now.Timeline, was.Timeline, left, pos)
}

// leftAt returns where a timeline history leaves a timeline, 0 for nowhere. Its
// lines are a timeline, a position and a reason, parted by tabs.
func leftAt(history []byte, timeline int32) change.LSN {
	for lines := bufio.NewScanner(bytes.NewReader(history)); lines.Scan(); {
		var id int32
		var at string
		if n, _ := fmt.Sscan(lines.Text(), &id, &at); n == 2 && id == timeline {
			lsn, err := change.ParseLSN(at)
			if err != nil {
				return 0
			}
			return lsn
		}
	}
	return 0
}

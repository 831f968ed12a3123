package replicate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/jackc/pglogrepl"

	"carbond/store/change"
)

// timeline is on which timeline of which cluster the durable position was last
// known to lie. A server that was restored, or promoted before it had received
// everything, goes on from an earlier position under a new timeline. Once it has
// written as much again, positions alone do not tell any more.
type timeline struct {
	SystemID string `json:"system_id"`
	Timeline int32  `json:"timeline"`
}

// knownTimeline returns the note of an earlier session, zero for none.
func (r *Replicator) knownTimeline() (t timeline) {
	if r.timeline != (timeline{}) || r.opt.TimelinePath == "" {
		return r.timeline
	}
	b, err := os.ReadFile(r.opt.TimelinePath)
	if errors.Is(err, fs.ErrNotExist) {
		return t
	}
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil {
		r.log.Warn("the note about the server's timeline is unreadable", "path", r.opt.TimelinePath, "error", err)
		return timeline{}
	}
	return t
}

// keepTimeline notes where positions lie from now on.
func (r *Replicator) keepTimeline(t timeline) error {
	if r.knownTimeline() == t {
		r.timeline = t
		return nil
	}
	if r.opt.TimelinePath != "" {
		b, err := json.Marshal(t)
		if err == nil {
			err = replaceFile(r.opt.TimelinePath, append(b, '\n'))
		}
		if err != nil {
			return fault(KindSink, "make the data directory writable", err, "the note about the server's timeline cannot be kept")
		}
	}
	r.timeline = t
	return nil
}

// sameHistory makes sure that the durable position lies in the history of the
// timeline on which the server is now.
func (s *session) sameHistory(ctx context.Context, now timeline) error {
	was, pos := s.knownTimeline(), s.sink.Position().LSN
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

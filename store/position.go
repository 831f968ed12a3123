package store

import (
	"encoding/json"
	"fmt"
	"time"

	"carbond/store/change"
	"carbond/store/internal/view"
)

// tailState is what the changelog's tail says of its visible part, as JSON so
// that later versions can add to it.
type tailState struct {
	LSN        change.LSN    `json:"lsn"`
	CommitTime int64         `json:"commit_time"`          // microseconds since 1970, 0 when none
	CommitEnd  change.LSN    `json:"commit_end,omitempty"` // of the last transaction; LSN may be idle and further
	Source     change.Source `json:"source"`
	Copied     bool          `json:"copied"`
	Topics     [4]topicState `json:"topics"` // by view.Table
	// Counted says that the topics have their number of messages: versions that
	// count none leave it out.
	Counted bool  `json:"counted,omitempty"`
	Serial  int64 `json:"serial"` // last verra.id given out in embedded mode
	// Relations is the highest relation number that the visible part may use, 0
	// in logs that do not say. Higher ones belong to a transaction that was
	// given up: its ALTER TABLE did not happen yet.
	Relations uint32 `json:"relations"`
	// The newest copy: where it was taken, and the last offset that was visible
	// with it. Positions of the source mean this history from there on.
	CopyLSN change.LSN    `json:"copy_lsn,omitempty"`
	CopyAt  change.Offset `json:"copy_offset,omitempty"`
}

// visibleWord reports whether a relation belongs to the visible part of the log.
func visibleWord(state []byte, number uint32) bool {
	t, err := decodeTailState(state)
	return err != nil || t.Relations == 0 || number <= t.Relations
}

// topicState counts what was ever written to a topic and is visible.
type topicState struct {
	Records  uint64        `json:"records"`
	Messages uint64        `json:"messages,omitempty"` // see messages.go
	Bytes    uint64        `json:"bytes"`
	Last     change.Offset `json:"last"`
	Time     int64         `json:"time"` // commit time of the last change, microseconds
}

func (t *tailState) encode() []byte {
	b, err := json.Marshal(t)
	if err != nil {
		panic(fmt.Sprintf("store: encode tail: %v", err)) // plain data cannot fail
	}
	return b
}

func decodeTailState(b []byte) (t tailState, err error) {
	if len(b) == 0 {
		return t, nil
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return t, fmt.Errorf("read changelog tail: %w", err)
	}
	return t, nil
}

func (t *tailState) position(at change.Offset) change.Position {
	p := change.Position{Offset: at, LSN: t.LSN, Source: t.Source, Copied: t.Copied, CopyLSN: t.CopyLSN}
	if t.CommitTime != 0 {
		p.CommitTime = time.UnixMicro(t.CommitTime).UTC()
	}
	return p
}

// countMessages begins to count messages in a log that did not. How many there
// were nobody knows without reading all of it, and part is gone. The number
// taken is the largest that can be: so a log that an older version wrote to in
// between goes on above what was there.
func (t *tailState) countMessages() {
	if t.Counted {
		return
	}
	t.Counted = true
	for i := range t.Topics {
		t.Topics[i].Messages = 2 * t.Topics[i].Records
	}
}

func (t *tailState) count(tab view.Table, op change.Op, at change.Offset, bytes int, commit time.Time) {
	p := &t.Topics[tab]
	p.Records++
	p.Messages += messages(op)
	p.Bytes += uint64(bytes)
	p.Last = at
	if !commit.IsZero() {
		p.Time = commit.UnixMicro()
	}
}

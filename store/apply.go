package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"carbond/store/change"
	"carbond/store/internal/changelog"
	"carbond/store/internal/view"
)

const (
	blockBytes = 64 << 10 // a block is closed at this size
	spillBytes = 4 << 20  // blocks in memory before they go to disk, visible or not
)

// Apply makes transactions durable and visible, in one commit for as many as
// fit. When it returns nil, every transaction whose final part was in txns is
// on disk and in the views; one without its final part is on its way to disk,
// invisible, and an error there comes with the next call. A transaction that is
// durable already is dropped whole. After an error nothing of txns is visible that
// was not before, parts of an unfinished transaction are discarded, and the caller
// starts again at Position().LSN.
func (s *Store) Apply(ctx context.Context, txns []change.Txn) error {
	s.writer.Lock()
	defer s.writer.Unlock()
	if s.closed {
		return change.ErrClosed
	}
	if err := s.settled(); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	g := s.staging()
	err := g.stageAll(ctx, txns)
	if err == nil && s.open != nil {
		err = g.spill()
	} else if err == nil {
		err = g.commit()
	}
	if err != nil {
		s.fail()
		return fmt.Errorf("apply: %w", err)
	}
	return nil
}

// Advance makes an idle position durable: the source has nothing for carbond up
// to lsn. It does nothing when lsn is not ahead, or inside a transaction.
func (s *Store) Advance(_ context.Context, lsn change.LSN) error {
	s.writer.Lock()
	defer s.writer.Unlock()
	if s.closed {
		return change.ErrClosed
	}
	if err := s.settled(); err != nil {
		return fmt.Errorf("advance to %s: %w", lsn, err)
	}
	if s.open != nil || lsn <= s.tail.LSN {
		return nil
	}
	g := s.staging()
	g.stage.LSN = lsn
	if err := g.commit(); err != nil {
		s.fail()
		return fmt.Errorf("advance to %s: %w", lsn, err)
	}
	return nil
}

// staging is what is staged but not committed. Its stage outlives one call of
// Apply while a transaction is open.
type staging struct {
	s      *Store
	stage  *commitState // the tail once everything staged is committed
	blocks []changelog.Block
	bytes  int
	first  change.Offset // of the block in s.enc
}

func (s *Store) staging() *staging {
	if s.open != nil {
		return &staging{s: s, first: s.open.next, stage: &s.open.stage}
	}
	t := s.tail
	return &staging{s: s, first: s.changelog.Tail().Next, stage: &t}
}

// next returns the offset that the next staged change gets.
func (g *staging) next() change.Offset {
	n := g.first + change.Offset(g.s.enc.Count())
	if g.s.open != nil && g.s.open.held != nil {
		n++
	}
	return n
}

// stageAll stages the transactions. Before one that does not end here it
// commits what is whole, so that readers can have that much.
func (g *staging) stageAll(ctx context.Context, txns []change.Txn) error {
	s := g.s
	for i := range txns {
		t := &txns[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		if t.First {
			if s.open != nil {
				// Its end will not come: the source began again.
				if err := s.rollback(); err != nil {
					return err
				}
				*g = *s.staging()
			}
			s.skip = s.durable(t)
		}
		if s.skip {
			s.skip = !t.Final
			continue
		}
		if t.First && !t.Final {
			if err := g.commit(); err != nil {
				return err
			}
			*g = *s.staging()
		}
		if err := g.txn(t); err != nil {
			return err
		}
	}
	return nil
}

// durable reports whether a transaction that begins is on disk already. Its
// commit record begins before a position that is durable exactly when its end
// does not come after it: WAL records do not overlap.
func (s *Store) durable(t *change.Txn) bool {
	if t.Snapshot != nil || t.Copy != nil || t.CommitLSN == 0 {
		return false
	}
	if t.Final && t.EndLSN <= s.tail.LSN {
		return true
	}
	return t.CommitLSN < s.tail.LSN
}

// endBlock closes the block in the encoder.
func (g *staging) endBlock() {
	if g.s.enc.Count() == 0 {
		return
	}
	data, n := g.s.enc.Take()
	// The rows of a truncated table are in the log already, and nobody waits for
	// this copy of them.
	b := changelog.NewBlock(g.first, n, data)
	b.Compress = g.s.open != nil && g.s.open.retracting
	g.blocks = append(g.blocks, b)
	g.first += change.Offset(n)
	g.bytes += len(data)
}

// spill begins to put the staged blocks on disk, invisible: a sync takes as long as
// it takes to stage the next ones. Spills follow each other, and a commit the last.
func (g *staging) spill() error {
	g.endBlock()
	s := g.s
	s.open.next = g.first
	if len(g.blocks) == 0 {
		return nil
	}
	if err := s.landed(); err != nil {
		return err
	}
	blocks, bytes, fresh := g.blocks, g.bytes, s.dict.fresh
	g.blocks, g.bytes, s.dict.fresh = nil, 0, map[uint32][]byte{}
	tail := changelog.Tail{Next: g.first, Visible: s.changelog.Tail().Visible, State: s.tail.encode()}
	landing := make(chan error, 1)
	s.landing = landing
	go func() { landing <- s.append(blocks, bytes, fresh, tail) }()
	if bytes > 2*spillBytes { // huge rows: not the next one beside them
		return s.landed()
	}
	return nil
}

// landed waits for the last spill.
func (s *Store) landed() error {
	if s.landing == nil {
		return nil
	}
	err := <-s.landing
	s.landing = nil
	return err
}

// commit makes everything staged durable and visible.
func (g *staging) commit() error {
	s := g.s
	if err := s.landed(); err != nil {
		return err
	}
	g.endBlock()
	was, visible := s.changelog.Tail().Visible, s.changelog.History().Before(g.first)
	if len(g.blocks) > 0 || s.open == nil && visible > was {
		g.stage.Relations = s.dict.next - 1
	}
	if visible == was && *g.stage == s.tail && len(s.pending) == 0 {
		return nil
	}
	tail := changelog.Tail{Next: g.first, Visible: visible, State: g.stage.encode(), Topics: s.encodeTopics()}
	if err := s.append(g.blocks, g.bytes, s.dict.fresh, tail); err != nil {
		return err
	}
	clear(s.dict.fresh)
	g.blocks, g.bytes = nil, 0
	s.tail = *g.stage
	s.keepTopics()
	s.publish(visible)
	return nil
}

// append commits to the changelog. Nothing else writes to it meanwhile.
func (s *Store) append(blocks []changelog.Block, bytes int, relations map[uint32][]byte, tail changelog.Tail) error {
	began := time.Now()
	if err := s.changelog.Append(blocks, relations, tail); err != nil {
		return err
	}
	s.progressed.Add(1)
	s.met.committed(time.Since(began), bytes)
	if s.changelog.Full() {
		// The data is safe in the full segment; a failure is tried again with
		// the next commit.
		if err := s.changelog.Rotate(); err != nil {
			s.log.Warn("cannot start a new changelog segment", "error", err)
			s.met.failed()
		}
	}
	return nil
}

// rollback returns to what is durable and visible. Nothing can be staged until
// it has worked.
func (s *Store) rollback() error {
	_ = s.landed() // whatever came of it is cut off
	s.enc.Reset()
	clear(s.pending)
	s.open, s.skip, s.needsRollback = nil, false, true
	s.work = s.published.Load().fork()
	if err := s.changelog.Rollback(); err != nil {
		return fmt.Errorf("cut the unfinished transaction off the changelog: %w", err)
	}
	tail := s.changelog.Tail()
	if at := s.Position().Offset; tail.Visible < at {
		return &CorruptionError{
			File: s.changelog.Path(), Offset: tail.Visible, Byte: -1,
			Err:  fmt.Errorf("it ends at offset %d, and what was committed up to %d is gone", tail.Visible, at),
			Hint: "Restore this directory from a backup, or move it aside to copy everything again from Postgres",
		}
	}
	st, err := decodeCommitState(tail.State)
	if err != nil {
		return err
	}
	st.countMessages()
	st.beginChecksum(tail.Visible)
	relations := s.changelog.Dictionary()
	if st.Relations > 0 {
		s.dict.forget(st.Relations)
	} else {
		s.dict.forget(slices.Max(append(slices.Collect(maps.Keys(relations)), 0)))
	}
	for number, w := range relations {
		if err := s.dict.load(number, w); err != nil {
			return err
		}
	}
	if err := s.catchUp(tail, st); err != nil {
		return err
	}
	s.needsRollback = false
	return nil
}

// catchUp takes in a commit that failed and is on disk nevertheless, as when
// the disk took the last write and then failed to say so.
func (s *Store) catchUp(tail changelog.Tail, st commitState) error {
	at := s.Position().Offset
	if tail.Visible == at && st == s.tail {
		return nil
	}
	// Whether it would outlive a power cut is unknown; behind one more commit it
	// does.
	if err := s.changelog.Append(nil, nil, tail); err != nil {
		return fmt.Errorf("confirm the changelog's end: %w", err)
	}
	if err := s.replay(s.work, at+1, tail.Visible); err != nil {
		return err
	}
	if err := s.loadTopics(); err != nil {
		return err
	}
	s.tail = st
	s.publish(tail.Visible)
	return nil
}

// settled ends a rollback that did not work at its time.
func (s *Store) settled() error {
	if !s.needsRollback {
		return nil
	}
	return s.rollback()
}

// fail gives up what is staged after an error.
func (s *Store) fail() {
	s.met.failed()
	if err := s.rollback(); err != nil {
		s.log.Warn("cannot return to the last durable commit; nothing is written until it works", "error", err)
	}
}

// rollbackTries is how often Run tries to return to the last durable commit before
// it gives up: a supervisor's new process begins from the files.
const rollbackTries = 30

// retryRollback ends a rollback that did not work, when nobody writes. A full disk is
// waited for as long as it takes; the last good data is served.
func (s *Store) retryRollback() error {
	if !s.writer.TryLock() {
		return nil
	}
	defer s.writer.Unlock()
	if s.closed || !s.needsRollback {
		s.tries = 0
		return nil
	}
	err := s.rollback()
	if err == nil {
		s.log.Info("returned to the last durable commit", "offset", uint64(s.Position().Offset), "tries", s.tries+1)
		s.tries = 0
		return nil
	}
	if changelog.NoSpace(err) {
		return nil
	}
	if s.tries++; s.tries < rollbackTries {
		return nil
	}
	return fmt.Errorf("the changelog cannot be read back after an error, in %d tries: %w", s.tries, err)
}

// Progress counts the pieces of work that the writer has done. busy reports
// whether somebody writes now: a count that stands still then is a writer that
// is stuck.
func (s *Store) Progress() (pieces uint64, busy bool) {
	if s.writer.TryLock() {
		s.writer.Unlock()
		return s.progressed.Load(), false
	}
	return s.progressed.Load(), true
}

// commitState is what the changelog's tail says of its visible part, as JSON so
// that later versions can add to it.
type commitState struct {
	LSN        change.LSN                  `json:"lsn"`
	CommitTime int64                       `json:"commit_time"`          // microseconds since 1970, 0 when none
	CommitEnd  change.LSN                  `json:"commit_end,omitempty"` // of the last transaction; LSN may be idle and further
	Source     change.Source               `json:"source"`
	Copied     bool                        `json:"copied"`
	Topics     [view.TableCount]topicState `json:"topics"` // by view.Table; others are in plain.go
	// Counted says that the topics have their number of messages: versions that
	// count none leave it out.
	Counted bool   `json:"counted,omitempty"`
	Plain   uint64 `json:"plain,omitempty"` // bytes of the rows of all topics of tables without a view
	Serial  int64  `json:"serial"`          // last verra.id given out in embedded mode
	// Relations is the highest relation number that the visible part may use, 0
	// in logs that do not say. Higher ones belong to a transaction that was
	// given up: its ALTER TABLE did not happen yet.
	Relations uint32 `json:"relations"`
	// The newest copy: where it was taken, and the last offset that was visible
	// with it. Positions of the source mean this history from there on.
	CopyLSN change.LSN    `json:"copy_lsn,omitempty"`
	CopyAt  change.Offset `json:"copy_offset,omitempty"`
	// Checksum is that of the visible changes behind the offset Summed, see
	// record.Checksum; 0 in what a version wrote that knows none.
	Checksum uint64        `json:"checksum,omitempty"`
	Summed   change.Offset `json:"summed,omitempty"`
}

// visibleRelation reports whether a relation belongs to the visible part of the log.
func visibleRelation(state []byte, number uint32) bool {
	t, err := decodeCommitState(state)
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

// add counts what another one counted of the topic.
func (p *topicState) add(o *topicState) {
	p.Records, p.Messages, p.Bytes = p.Records+o.Records, p.Messages+o.Messages, p.Bytes+o.Bytes
	p.Last, p.Time = max(p.Last, o.Last), max(p.Time, o.Time)
}

func (t *commitState) encode() []byte {
	b, err := json.Marshal(t)
	if err != nil {
		panic(fmt.Sprintf("store: encode tail: %v", err)) // plain data cannot fail
	}
	return b
}

func decodeCommitState(b []byte) (t commitState, err error) {
	if len(b) == 0 {
		return t, nil
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return t, fmt.Errorf("read changelog tail: %w", err)
	}
	return t, nil
}

func (t *commitState) position(at change.Offset) change.Position {
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
func (t *commitState) countMessages() {
	if t.Counted {
		return
	}
	t.Counted = true
	for i := range t.Topics {
		t.Topics[i].Messages = 2 * t.Topics[i].Records
	}
}

// beginChecksum begins the checksum of a log that has none, behind what is visible.
func (t *commitState) beginChecksum(visible change.Offset) {
	if t.Checksum == 0 {
		t.Checksum, t.Summed = 1, visible
	}
}

func (p *topicState) count(op change.Op, at change.Offset, bytes int, commit time.Time) {
	p.Records++
	p.Messages += messages(op)
	p.Bytes += uint64(bytes)
	p.Last = at
	if !commit.IsZero() {
		p.Time = commit.UnixMicro()
	}
}

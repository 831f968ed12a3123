package hub

import (
	"sync"
	"sync/atomic"
	"time"

	"carbond/store/change"
)

// Bounds of messages in bytes of encoded deltas. A single larger delta is a
// message of its own.
const (
	maxShared  = 512 << 10 // one buffer for all watchers of a filter
	maxPrivate = 64 << 10  // encoded for one watcher
)

// Key says what a watcher watches.
type Key struct {
	View   change.View
	Filter string // "" = all
}

// Matches reports whether a delta is one of the key's.
func (k Key) Matches(d *change.Delta) bool {
	view, name := classify(d)
	return k.matches(view, name)
}

// matches: a news delta is about one window, the others are right for every
// filter that the row has.
func (k Key) matches(view change.View, name string) bool {
	return view == k.View && (name == k.Filter || k.Filter == "" && view != change.ViewNews)
}

func classify(d *change.Delta) (change.View, string) {
	view, row := d.Row()
	if view.Limit > 0 {
		return view.Name, d.Window
	}
	return view.Name, view.Text(row, view.Filter)
}

// Head is the place of a message.
type Head struct {
	Offset     change.Offset
	LSN        change.LSN
	CommitTime time.Time
	Last       bool // the end of a transaction: a watcher may continue from here
}

// Batch is one or more whole transactions.
type Batch struct {
	opt   *Options
	sent  *atomic.Int64 // bytes of deltas handed out, of the hub
	from  change.Offset // the end of the batch before
	heads []Head        // one for each transaction
	ends  []int32       // index in deltas behind each transaction
	// bulk is set in place of deltas for one transaction that is too large.
	bulk   *change.ViewTxn
	deltas []piece
	buf    []byte
	size   int64

	mu     sync.Mutex // guards what follows
	shared map[Key][]sized
}

// sized is a message, with the bytes of its deltas.
type sized struct {
	msg  any
	size int
}

// piece is one encoded delta.
type piece struct {
	view change.View
	name string
	end  int32 // in buf; it begins where the one before ends
}

// End returns the offset of the batch's last transaction.
func (b *Batch) End() change.Offset { return b.Head().Offset }

// Head returns the place behind the batch.
func (b *Batch) Head() Head { return b.heads[len(b.heads)-1] }

// Each sends the messages of a key for the transactions behind at, in order,
// until send says no. There may be none.
func (b *Batch) Each(k Key, at change.Offset, send func(any) error) error {
	if b.bulk != nil {
		return b.eachBulk(k, send)
	}
	msgs := b.messages(k, at)
	for _, m := range msgs {
		b.sent.Add(int64(m.size))
		if err := send(m.msg); err != nil {
			return err
		}
	}
	return nil
}

func (b *Batch) messages(k Key, at change.Offset) []sized {
	if at > b.from { // the rest of a batch, after a resume
		i := 0
		for b.heads[i].Offset <= at {
			i++
		}
		if i == 0 {
			return b.assemble(k, 0)
		}
		return b.assemble(k, int(b.ends[i-1]))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	msgs, ok := b.shared[k]
	if !ok {
		if msgs = b.assemble(k, 0); msgs == nil {
			return nil // not kept: filters that match nothing are without number
		}
		if b.shared == nil {
			b.shared = map[Key][]sized{}
		}
		b.shared[k] = msgs
	}
	return msgs
}

// assemble makes the messages of a key from the deltas behind the first skip.
func (b *Batch) assemble(k Key, skip int) (out []sized) {
	if !b.opt.Split {
		return b.cut(nil, k, skip, len(b.deltas), b.Head())
	}
	for i, end := range b.ends {
		if int(end) > skip {
			out = b.cut(out, k, skip, int(end), b.heads[i])
			skip = int(end)
		}
	}
	return out
}

// cut appends the messages of the deltas from first to end, which end at head.
func (b *Batch) cut(out []sized, k Key, first, end int, head Head) []sized {
	var part []byte
	for i := first; i < end; i++ {
		p := &b.deltas[i]
		if !k.matches(p.view, p.name) {
			continue
		}
		enc := b.encoded(i)
		if len(part) > 0 && len(part)+len(enc) > maxShared {
			head.Last = false
			out = append(out, sized{b.opt.Wrap(k, head, part), len(part)})
			part = nil
		}
		part = append(part, enc...)
	}
	if len(part) == 0 {
		return out
	}
	head.Last = true
	return append(out, sized{b.opt.Wrap(k, head, part), len(part)})
}

func (b *Batch) encoded(i int) []byte {
	from := int32(0)
	if i > 0 {
		from = b.deltas[i-1].end
	}
	return b.buf[from:b.deltas[i].end]
}

// eachBulk encodes for one watcher, at its own pace, message by message.
func (b *Batch) eachBulk(k Key, send func(any) error) error {
	head := b.Head()
	head.Last = false
	var part []byte
	var err error
	b.bulk.All(func(d change.Delta) bool {
		if !k.Matches(&d) {
			return true
		}
		if len(part) >= maxPrivate {
			b.sent.Add(int64(len(part)))
			err = send(b.opt.Wrap(k, head, part))
			part = nil
		}
		part = b.opt.Encode(part, &d)
		return err == nil
	})
	if err != nil || len(part) == 0 {
		return err
	}
	head.Last = true
	b.sent.Add(int64(len(part)))
	return send(b.opt.Wrap(k, head, part))
}

// packer makes batches.
type packer struct {
	opt   *Options
	sent  *atomic.Int64
	names *names
	from  change.Offset
	open  *Batch
	out   []*Batch

	bytes        int
	txns, deltas int
}

// add takes a transaction. One that fits goes to the open batch, so that a batch
// of several transactions is always one message.
func (p *packer) add(t *change.ViewTxn) {
	head := Head{Offset: t.Offset, LSN: t.LSN, CommitTime: t.CommitTime, Last: true}
	p.txns++
	if t.Bulk != nil {
		p.close()
		p.open = &Batch{opt: p.opt, sent: p.sent, from: p.from, bulk: t, heads: []Head{head}}
		p.close()
		return
	}
	if p.open == nil {
		p.open = &Batch{opt: p.opt, sent: p.sent, from: p.from}
	}
	b := p.open
	first, begin := len(b.deltas), int32(len(b.buf))
	for i := range t.Deltas {
		d := &t.Deltas[i]
		view, name := classify(d)
		b.buf = p.opt.Encode(b.buf, d)
		b.deltas = append(b.deltas, piece{view, p.names.of(name), int32(len(b.buf))})
	}
	p.deltas += len(t.Deltas)
	p.bytes += len(b.buf) - int(begin)
	if len(b.heads) > 0 && len(b.buf) > maxShared {
		n := &Batch{opt: p.opt, sent: p.sent, buf: append([]byte(nil), b.buf[begin:]...)}
		for _, d := range b.deltas[first:] {
			n.deltas = append(n.deltas, piece{d.view, d.name, d.end - begin})
		}
		b.buf, b.deltas = b.buf[:begin], b.deltas[:first]
		p.close()
		n.from, p.open, b = p.from, n, n
	}
	b.heads = append(b.heads, head)
	b.ends = append(b.ends, int32(len(b.deltas)))
}

func (p *packer) close() {
	b := p.open
	if b == nil || len(b.heads) == 0 {
		return
	}
	// The shared messages are at most twice the deltas: once under the filter of
	// the row and once under none.
	b.size = 512 + 3*int64(cap(b.buf)) + 48*int64(cap(b.deltas)) + 64*int64(cap(b.heads))
	if b.bulk != nil {
		b.size = p.opt.Bytes / 4 // it keeps a whole state alive
	}
	p.out = append(p.out, b)
	p.from, p.open = b.End(), nil
}

func (p *packer) done() []*Batch {
	p.close()
	return p.out
}

// Pack makes batches of transactions read by other means than the hub's own
// follower; from is the end of the transaction before them.
func (h *Hub) Pack(from change.Offset, txns []change.ViewTxn) []*Batch {
	p := packer{opt: &h.opt, sent: &h.sent, names: newNames(), from: from}
	for i := range txns {
		p.add(&txns[i])
	}
	return p.done()
}

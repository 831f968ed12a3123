package pgoutput

import (
	"errors"
	"fmt"
	"time"

	"carbond/store/change"
)

// ErrProtocol is wrapped by every error about a malformed message.
var ErrProtocol = errors.New("malformed pgoutput message")

// Kind is what an Event tells.
type Kind byte

// The kinds of an Event.
const (
	Other       Kind = iota // nothing that matters here: ORIGIN, TYPE, a logical message, a row that is not kept
	Begin                   // XID, CommitLSN, Time
	Commit                  // CommitLSN, EndLSN, Time
	Row                     // Change
	Truncate                // Truncated
	Description             // Relation: described for the first time or again
)

// Event is one decoded message. Fields that its kind does not list are stale.
type Event struct {
	Kind      Kind
	Type      byte       // type byte of the message
	XID       uint32     // transaction number
	CommitLSN change.LSN // position of the commit record
	EndLSN    change.LSN // end of the commit record
	Time      time.Time  // commit time, clock of the server
	Change    change.Change
	Truncated []*change.Relation // kept relations only
	Relation  *change.Relation
	Kept      bool // of Relation
}

// relation is what a connection knows of one relation number.
type relation struct {
	raw  *change.Relation // as it was described
	rel  *change.Relation // as intern has it
	kept bool
	err  error // why it cannot be described any more
}

// Decoder decodes the messages of one connection.
type Decoder struct {
	describe func(id uint32, sent *change.Relation) (*change.Relation, error)
	rels     map[uint32]relation
	lastID   uint32 // memo of the last lookup: rows come in runs
	last     relation
	builder  change.RowBuilder
}

// NewDecoder makes a Decoder. Of each description that comes, describe says which
// relation it is, with as many columns: the same pointer as before when nothing
// has changed, nil when it does not matter.
func NewDecoder(describe func(id uint32, sent *change.Relation) (*change.Relation, error)) *Decoder {
	return &Decoder{describe: describe, rels: map[uint32]relation{}}
}

// Again has every relation described once more. One for which that fails is an
// error when it is used without having been sent again.
func (d *Decoder) Again() {
	d.last = relation{}
	for id, r := range d.rels {
		if ours, err := d.describe(id, r.raw); err != nil {
			d.rels[id] = relation{raw: r.raw, rel: r.rel, kept: r.kept, err: err}
		} else if ours != nil {
			d.rels[id] = relation{raw: r.raw, rel: ours, kept: true}
		}
	}
}

// Decode decodes one message into ev. The LSN of a change is not part of the
// message; the caller sets it.
func (d *Decoder) Decode(data []byte, ev *Event) error {
	if len(data) == 0 {
		return fmt.Errorf("%w: it is empty", ErrProtocol)
	}
	c := cursor{b: data[1:]}
	ev.Kind, ev.Type = Other, data[0]
	var err error
	switch data[0] {
	case 'I':
		err = d.insert(&c, ev)
	case 'U':
		err = d.update(&c, ev)
	case 'D':
		err = d.remove(&c, ev)
	case 'B':
		ev.CommitLSN, ev.Time, ev.XID = change.LSN(c.uint64()), serverTime(c.uint64()), c.uint32()
		ev.Kind = Begin
	case 'C':
		c.byte() // flags, none defined
		ev.CommitLSN, ev.EndLSN, ev.Time = change.LSN(c.uint64()), change.LSN(c.uint64()), serverTime(c.uint64())
		ev.Kind = Commit
	case 'R':
		err = d.relation(&c, ev)
	case 'T':
		err = d.truncate(&c, ev)
	case 'O', 'Y', 'M':
		return nil // not looked into: nothing of them is used
	default:
		return nil
	}
	if err == nil && c.short {
		err = fmt.Errorf("%w: type %q ends early", ErrProtocol, data[0])
	}
	if err == nil && len(c.b) > 0 && ev.Kind != Other {
		err = fmt.Errorf("%w: type %q has %d bytes too many", ErrProtocol, data[0], len(c.b))
	}
	if err != nil {
		ev.Kind = Other
	}
	return err
}

// serverTime converts microseconds since 2000-01-01.
func serverTime(us uint64) time.Time {
	return time.UnixMicro(int64(us) + 946_684_800_000_000).UTC()
}

func (d *Decoder) find(id uint32) (relation, error) {
	if id == d.lastID && d.last.rel != nil {
		return d.last, nil
	}
	r, ok := d.rels[id]
	if !ok {
		return r, fmt.Errorf("%w: relation %d was not described", ErrProtocol, id)
	}
	if r.err != nil {
		return r, r.err
	}
	d.lastID, d.last = id, r
	return r, nil
}

func (d *Decoder) insert(c *cursor, ev *Event) error {
	r, err := d.find(c.uint32())
	if err != nil || !r.kept {
		return err
	}
	if k := c.byte(); k != 'N' {
		return fmt.Errorf("%w: INSERT with a tuple %q", ErrProtocol, k)
	}
	after, err := d.tuple(c, r.rel)
	if err != nil {
		return err
	}
	ev.Kind, ev.Change = Row, change.Change{Op: change.Create, Relation: r.rel, After: after}
	return nil
}

func (d *Decoder) update(c *cursor, ev *Event) error {
	r, err := d.find(c.uint32())
	if err != nil || !r.kept {
		return err
	}
	var before, after change.Row
	k := c.byte()
	if k == 'K' || k == 'O' {
		if before, err = d.tuple(c, r.rel); err != nil {
			return err
		}
		k = c.byte()
	}
	if k != 'N' {
		return fmt.Errorf("%w: UPDATE with a tuple %q", ErrProtocol, k)
	}
	if after, err = d.tuple(c, r.rel); err != nil {
		return err
	}
	ev.Kind, ev.Change = Row, change.Change{Op: change.Update, Relation: r.rel, Before: before, After: after}
	return nil
}

func (d *Decoder) remove(c *cursor, ev *Event) error {
	r, err := d.find(c.uint32())
	if err != nil || !r.kept {
		return err
	}
	if k := c.byte(); k != 'K' && k != 'O' {
		return fmt.Errorf("%w: DELETE with a tuple %q", ErrProtocol, k)
	}
	before, err := d.tuple(c, r.rel)
	if err != nil {
		return err
	}
	ev.Kind, ev.Change = Row, change.Change{Op: change.Delete, Relation: r.rel, Before: before}
	return nil
}

// tuple decodes the column values of one row.
func (d *Decoder) tuple(c *cursor, rel *change.Relation) (change.Row, error) {
	n := int(c.uint16())
	if n != len(rel.Columns) {
		return "", fmt.Errorf("%w: a row of %s.%s has %d columns, its description %d", ErrProtocol, rel.Schema, rel.Name, n, len(rel.Columns))
	}
	d.builder.Grow(len(c.b)) // of an update, both rows
	d.builder.Reset(n)
	for i := range n {
		switch k := c.byte(); k {
		case 't':
			d.builder.Bytes(c.bytes(c.uint32()))
		case 'n':
			d.builder.Null()
		case 'u':
			d.builder.Unchanged()
		default:
			if c.short {
				return "", fmt.Errorf("%w: a row of %s.%s ends in column %d", ErrProtocol, rel.Schema, rel.Name, i)
			}
			return "", fmt.Errorf("%w: column %s.%s.%s in unknown form %q", ErrProtocol, rel.Schema, rel.Name, rel.Columns[i].Name, k)
		}
	}
	if c.short {
		return "", fmt.Errorf("%w: a row of %s.%s ends early", ErrProtocol, rel.Schema, rel.Name)
	}
	return d.builder.Row(), nil
}

// relation decodes the description of a relation and remembers it.
func (d *Decoder) relation(c *cursor, ev *Event) error {
	id := c.uint32()
	rel := &change.Relation{Schema: c.text(), Name: c.text()}
	if rel.Schema == "" {
		rel.Schema = "pg_catalog" // the protocol's abbreviation
	}
	c.byte() // replica identity setting; the key flags below say what matters
	n := int(c.uint16())
	if n > change.MaxColumns {
		return fmt.Errorf("%w: %s.%s with %d columns", ErrProtocol, rel.Schema, rel.Name, n)
	}
	for range n {
		if c.short {
			break
		}
		key := c.byte()&1 != 0
		col := change.Column{Name: c.text(), Type: c.uint32(), Key: key}
		c.uint32() // type modifier
		rel.Columns = append(rel.Columns, col)
	}
	if c.short {
		return fmt.Errorf("%w: description of relation %d ends early", ErrProtocol, id)
	}
	ours, err := d.describe(id, rel)
	if err != nil {
		return err
	}
	old, known := d.rels[id]
	r := relation{raw: rel, rel: ours, kept: ours != nil}
	if !r.kept {
		r.rel = rel
	}
	ev.Kind, ev.Relation, ev.Kept = Description, r.rel, r.kept
	if known && old.kept == r.kept && (old.rel == r.rel || !r.kept && old.rel.Equal(r.rel)) {
		ev.Kind = Other
		return nil
	}
	d.rels[id] = r
	d.last = relation{}
	return nil
}

func (d *Decoder) truncate(c *cursor, ev *Event) error {
	n := c.uint32()
	c.byte() // CASCADE and RESTART IDENTITY: the listed relations already say all
	if n == 0 || uint64(n)*4 != uint64(len(c.b)) {
		return fmt.Errorf("%w: TRUNCATE of %d relations in %d bytes", ErrProtocol, n, len(c.b))
	}
	ev.Truncated = ev.Truncated[:0]
	for range n {
		r, err := d.find(c.uint32())
		if err != nil {
			return err
		}
		if r.kept {
			ev.Truncated = append(ev.Truncated, r.rel)
		}
	}
	ev.Kind = Truncate
	return nil
}

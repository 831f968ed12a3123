package rpc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/cache"
	"carbond/rpc/internal/form"
	"carbond/rpc/internal/wire"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// reading is a list call that was checked, with the version of the views that
// answers it. Nothing is computed yet.
type reading struct {
	list    list
	sel     selection
	page    page
	snap    change.ViewSnapshot
	version change.Offset // of what it reads
	direct  bool          // by SQL
	skip    bool          // goes past the cache
}

// listQuery is what the queries of the list calls have in common.
type listQuery interface {
	proto.Message
	GetPageSize() int32
	GetPageToken() string
	GetAsOfOffset() uint64
	GetAsOfTime() string
}

// read checks a list call and finds the version that answers it.
func (c *core) read(ctx context.Context, l list, q listQuery) (reading, error) {
	r := reading{list: l}
	lsn, err := wantedLSN(ctx, HeaderAtLSN)
	if err != nil {
		return r, err
	}
	at := asOf{q.GetAsOfOffset(), q.GetAsOfTime(), lsn}
	if at.set() {
		if err := c.checkAsOf(l, at); err != nil {
			return r, err
		}
	}
	if r.sel, err = selectionOf(l, q); err != nil {
		return r, err
	}
	if r.page, err = c.checkPage(l, &r.sel, q.GetPageSize(), q.GetPageToken(), at); err != nil {
		return r, err
	}
	noCache, err := c.conditions(ctx)
	if err != nil {
		return r, err
	}
	r.skip = noCache || r.page.size > 0 || r.page.resume
	if at.set() {
		return r, c.readPast(ctx, &r, at)
	}
	r.direct = l.sql && c.opt.Pool != nil
	r.snap = c.reader.Snapshot()
	if r.snap == nil && r.direct {
		r.snap, r.skip = emptySnapshot{}, true // SQL needs no view, but a cached answer does
	}
	if r.snap == nil {
		return r, rpcerr.NotLoaded()
	}
	// The version is read before any SQL runs: what the SQL sees is then at
	// least as new as the version says, and the first change after it ends the
	// entry. A version of the whole view covers every filter.
	if r.direct {
		r.version = r.snap.Version(l.view, "")
	} else {
		r.version = r.snap.Version(l.view, r.sel.filter)
	}
	return r, nil
}

// answer gives the reply from the cache, or computes it, and sets the headers.
func (c *core) answer(ctx context.Context, r *reading, f form.Form) (any, error) {
	view := r.list.key
	if f != form.Proto {
		view += "." + f.String()
	}
	load := func(ctx context.Context) (cache.Item[any], error) { return c.load(ctx, r, f) }
	m, from, err := c.get(ctx, cache.Key{View: view, Filter: r.sel.key()}, r.list.key, cacheVersion{version: r.version}, load, r.skip)
	c.header(ctx, r.snap, from)
	if r.page.version != nil { // as of then
		if t := r.snap.CommitTime(); !t.IsZero() {
			_ = grpc.SetHeader(ctx, metadata.Pairs(HeaderCommitTime, t.UTC().Format(time.RFC3339Nano)))
		}
	}
	return m, err
}

// load computes a list reply from the snapshot, or by SQL.
func (c *core) load(ctx context.Context, r *reading, f form.Form) (cache.Item[any], error) {
	var none cache.Item[any]
	begin := c.opt.Now()
	buf := scratch.Get().(*[]byte)
	e := &encoder{ctx: ctx, list: r.list, sel: &r.sel, page: r.page, form: f, max: c.opt.MaxSendBytes, b: (*buf)[:0]}
	if f != form.Proto && r.page.size == 0 {
		e.large = largeText
	}
	defer func() {
		if cap(e.b) <= maxScratch {
			*buf = e.b
			scratch.Put(buf)
		}
	}()
	e.begin()
	if r.direct {
		if err := c.runSQL(ctx, e); err != nil {
			return none, err
		}
	} else {
		select {
		case c.loads <- struct{}{}:
			defer func() { <-c.loads }()
		case <-ctx.Done():
			return none, ctx.Err()
		}
		e.snapshot(r.snap)
	}
	raw, next, err := e.finish()
	if err != nil {
		return none, err
	}
	c.metrics.byView[r.list.key].load.Observe(c.opt.Now().Sub(begin).Seconds())
	// An answer without rows is as cheap as a cache hit, and its filters are
	// without number: a client could drive out what others use.
	keep := e.n > 0 || r.sel.key() == ""
	if e.tooLarge {
		return cache.Item[any]{Value: &form.Text{Large: true}, Keep: keep}, nil
	}
	raw = bytes.Clone(raw) // exactly as long as it is, and e.b is used again
	if f != form.Proto {
		t := &form.Text{Raw: raw, Next: next}
		return cache.Item[any]{Value: t, Size: t.Size(), Keep: keep}, nil
	}
	if keep {
		c.opt.Gzip.Share(raw)
	}
	return cache.Item[any]{Value: wire.Reply(r.list.view, raw), Size: len(raw), Keep: keep}, nil
}

// largeText is the size beyond which a whole list as text is not held: it is written
// row by row for each client.
const largeText = 8 << 20

// pieceBytes is what a list that is written row by row holds of it.
const pieceBytes = 64 << 10

// Listing is the answer of a list call as text.
type Listing struct {
	ETag        string // with the quotes
	Unchanged   bool   // the caller has it: there is nothing to write
	ContentType string
	Next        string // token of the next page, "" at the end
	Headers     *Headers

	text  *form.Text
	write func(ctx context.Context, w io.Writer) error // of what is too large to be held
}

// Bytes returns the answer in an encoding, and false when it has to be streamed.
func (l *Listing) Bytes(e form.Encoding) ([]byte, bool) {
	if l.write != nil {
		return nil, false
	}
	return l.text.In(e), true
}

// Stream writes the rows as they are read.
func (l *Listing) Stream(ctx context.Context, w io.Writer) error { return l.write(ctx, w) }

// List is a list call whose answer is text: q is a *pb.ProjectQuery, *pb.NewsQuery or
// *pb.FinanceQuery. has reports whether the caller has the answer with an ETag; e is the
// encoding in which it will be asked for.
func (s *Server) List(ctx context.Context, q proto.Message, f form.Form, e form.Encoding, has func(etag string) bool) (*Listing, error) {
	l := projects
	method := pb.CarbonService_GetProjects_FullMethodName
	switch q.(type) {
	case *pb.NewsQuery:
		l, method = news, pb.CarbonService_GetNews_FullMethodName
	case *pb.FinanceQuery:
		l, method = finance, pb.CarbonService_GetFinanceData_FullMethodName
	}
	out := &Listing{ContentType: f.ContentType(), Headers: &Headers{}}
	err := s.call(ctx, method, out.Headers, func(ctx context.Context) error {
		r, err := s.core.read(ctx, l, q.(listQuery))
		if err != nil {
			return err
		}
		out.ETag = s.core.etag(&r, f.String()+string(e), q)
		if has(out.ETag) {
			out.Unchanged = true
			s.core.header(ctx, r.snap, hit)
			return nil
		}
		m, err := s.core.answer(ctx, &r, f)
		if err != nil {
			return err
		}
		out.text = m.(*form.Text)
		out.Next = out.text.Next
		if out.text.Large {
			out.write = func(ctx context.Context, w io.Writer) error {
				enc := &encoder{ctx: ctx, list: r.list, sel: &r.sel, form: f, to: w}
				enc.begin()
				enc.snapshot(r.snap)
				return enc.flush()
			}
		}
		return nil
	})
	return out, err
}

// Detail is GetProjectDetail with an answer in text: the row alone.
func (s *Server) Detail(ctx context.Context, q *pb.ProjectDetailQuery, f form.Form, e form.Encoding, has func(etag string) bool) (*Listing, error) {
	out := &Listing{ContentType: f.ContentType(), Headers: &Headers{}}
	err := s.call(ctx, pb.CarbonService_GetProjectDetail_FullMethodName, out.Headers, func(ctx context.Context) error {
		d, snap, _, err := s.core.project(ctx, q)
		if err != nil {
			return err
		}
		s.core.header(ctx, snap, bypass)
		view := &change.ProjectDetails.ViewDef
		var raw []byte
		if f == form.JSON {
			raw = append(form.AppendObject(raw, view, d), '\n')
		} else {
			raw = f.AppendRow(f.AppendHead(raw, view.Fields), view, d, 0)
		}
		out = NewListing(raw, f, e, "", out.Headers, has)
		return nil
	})
	return out, err
}

// NewListing makes a listing of an answer that was encoded elsewhere. Equal bytes have
// the same ETag.
func NewListing(raw []byte, f form.Form, e form.Encoding, next string, h *Headers, has func(etag string) bool) *Listing {
	sum := sha256.Sum256(append(slices.Clip(raw), e...))
	l := &Listing{ContentType: f.ContentType(), Next: next, Headers: h, text: &form.Text{Raw: raw}}
	l.ETag = `"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"`
	l.Unchanged = has(l.ETag)
	return l
}

// etag names an answer: equal ones mean equal bytes. It is made of the history, the
// version of what was read, the query and the form.
func (c *core) etag(r *reading, form string, q proto.Message) string {
	version := r.version
	if r.page.version != nil {
		version = *r.page.version
	}
	history := ""
	if c.opt.History != nil {
		history = c.opt.History.History().ID
	}
	asked, _ := proto.MarshalOptions{Deterministic: true}.Marshal(q)
	h := sha256.New()
	for _, part := range [][]byte{[]byte(history), []byte(r.list.key), []byte(form), asked, binary.BigEndian.AppendUint64(nil, uint64(version))} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	return `"` + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:15]) + `"`
}

// begin writes what comes before the rows.
func (e *encoder) begin() { e.b = e.form.AppendHead(e.b, e.list.view.Def().Fields) }

// add encodes one row.
func (e *encoder) add(view *change.ViewDef, row any) {
	if e.form == form.Proto {
		e.b = wire.AppendRow(e.b, view, row)
	} else {
		e.b = e.form.AppendRow(e.b, view, row, e.n)
	}
	e.n++
}

// flush writes what is left of a list that is written row by row, with its end.
func (e *encoder) flush() error {
	if e.err != nil {
		return e.err
	}
	e.b = e.form.AppendTail(e.b, "")
	_, err := e.to.Write(e.b)
	return err
}

// sorted encodes the first rows in another order than that of the view. It holds
// twice as many as the answer has, at most.
func (e *encoder) sorted(rows func(yield func(row any) bool), copied func(row any) any) {
	type place struct {
		key string
		row any
	}
	limit := e.page.size + 1 // one more tells whether there is a next page
	var first []place
	last := "" // key beyond which rows are not among the first, "" while there is none
	trim := func() {
		slices.SortFunc(first, func(a, b place) int { return strings.Compare(a.key, b.key) })
		if len(first) >= limit {
			first = first[:limit]
			last = first[limit-1].key
		}
	}
	n := 0
	for row := range rows {
		if n++; n%1024 == 0 && e.ctx.Err() != nil {
			e.err = e.ctx.Err()
			return
		}
		key := e.sel.order.key(row)
		if e.page.resume && key <= e.page.after || last != "" && key > last {
			continue
		}
		if first = append(first, place{key, copied(row)}); len(first) >= 2*limit {
			trim()
		}
	}
	trim()
	for _, p := range first {
		if !e.room() {
			return
		}
		e.add(e.list.view.Def(), p.row)
		e.last = p.key
	}
}

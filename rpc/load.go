package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/grpc/codes"

	"carbond/rpc/internal/form"
	"carbond/rpc/internal/wire"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// page is the part of a list that a call asks for. The zero page is the whole
// list.
type page struct {
	size   int  // largest number of items, 0 = all
	resume bool // begin after the key after, or after the mark
	after  string
	mark   newsMark

	scope   string         // of a query as of then, for its page tokens
	version *change.Offset // the version that all its pages are of
}

// encoder turns the rows of one list, or of one page of it, into the encoded
// reply. No message and no slice of rows is built on the way.
type encoder struct {
	ctx   context.Context // of the load; an encoder lives only as long as that
	list  list
	sel   *selection
	page  page
	form  form.Form
	max   int       // bytes
	large int       // bytes beyond which encoding stops, 0 = none
	to    io.Writer // gets pieces of what is written row by row; nil to hold all

	b    []byte
	n    int    // items
	last string // key of the last item
	next []byte // body of the next page token, nil at the end of the list
	err  error

	tooLarge bool // it was stopped at large
}

// room reports whether one more item fits, and remembers that there was one.
func (e *encoder) room() bool {
	if e.page.size > 0 && e.n == e.page.size {
		e.next = []byte(e.last)
		if e.next == nil {
			e.next = []byte{}
		}
		return false
	}
	if e.n%1024 == 1023 {
		e.err = e.ctx.Err()
	}
	switch {
	case e.to != nil && len(e.b) >= pieceBytes:
		_, e.err = e.to.Write(e.b)
		e.b = e.b[:0]
	case e.to == nil && e.large > 0 && len(e.b) > e.large:
		e.tooLarge = true
		return false
	case e.to == nil && len(e.b) > e.max:
		e.err = rpcerr.New(codes.ResourceExhausted,
			fmt.Sprintf("the reply is larger than %d bytes; set page_size", e.max), rpcerr.Info(rpcerr.ReasonTooLarge))
	}
	return e.err == nil
}

// row encodes a row of a view that is in the order of its key. It reports whether
// the page has room for it.
func (e *encoder) row(view *change.ViewDef, row any) bool {
	if !e.room() {
		return false
	}
	e.add(view, row)
	e.last = view.Text(row, view.Key)
	return true
}

// newsPage encodes the asked page of the at most 100 newest items.
func (e *encoder) newsPage(items []change.NewsItem) {
	from, to := 0, len(items)
	if e.page.resume {
		from = e.page.mark.start(items)
	}
	if e.page.size > 0 && to-from > e.page.size {
		to = from + e.page.size
		e.next = mark(items, to).encode()
	}
	for i := from; i < to; i++ {
		e.add(&change.NewsItems.ViewDef, &items[i])
	}
}

// scratch holds buffers for encoding: a reply grows in one of them and is then
// copied once, at its exact size.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// maxScratch bounds a buffer that is kept for the next reply.
const maxScratch = 4 << 20

// snapshot encodes from a snapshot.
func (e *encoder) snapshot(snap change.ViewSnapshot) {
	view := e.list.view.Def()
	if e.sel.archive != nil {
		e.news(snap)
		return
	}
	from := e.from()
	if e.sel.order != nil {
		from = ""
	}
	rows := e.matching(change.Rows(snap, e.list.view, e.sel.filter, from))
	if e.sel.order != nil {
		e.sorted(rows, view.Clone)
		return
	}
	if view.Limit > 0 {
		items := make([]change.NewsItem, 0, view.Limit)
		for row := range rows {
			items = append(items, *row.(*change.NewsItem))
		}
		e.newsPage(items)
		return
	}
	for row := range rows {
		if !e.row(view, row) {
			return
		}
	}
}

// news encodes a page of all news.
func (e *encoder) news(snap change.ViewSnapshot) {
	n := 0
	for place, item := range snap.Archive(e.sel.filter, e.page.after, e.sel.archive.since, e.sel.archive.until) {
		if n++; n%1024 == 0 && e.ctx.Err() != nil {
			e.err = e.ctx.Err()
			return
		}
		if e.sel.match != nil && !e.sel.match(&item) {
			continue
		}
		if !e.room() {
			return
		}
		e.add(&change.NewsItems.ViewDef, &item)
		e.last = place
	}
}

// matching leaves out rows that were not asked for.
func (e *encoder) matching(rows iter.Seq[any]) iter.Seq[any] {
	if e.sel.match == nil {
		return rows
	}
	return func(yield func(any) bool) {
		n := 0
		for row := range rows {
			if n++; n%1024 == 0 && e.ctx.Err() != nil {
				e.err = e.ctx.Err()
				return
			}
			if e.sel.match(row) && !yield(row) {
				return
			}
		}
	}
}

// from returns the key to begin after. An empty key that was handed out is a
// place in the list, while "" means its start; no text of Postgres lies between
// "" and "\x00".
func (e *encoder) from() string {
	if e.page.resume && e.page.after == "" {
		return "\x00"
	}
	return e.page.after
}

// finish returns the encoded reply, and the token of the next page.
func (e *encoder) finish() (raw []byte, next string, err error) {
	if e.err != nil || e.tooLarge {
		return nil, "", e.err
	}
	if e.next != nil {
		next = wire.EncodeToken(e.list.key+e.page.scope, e.sel.key(), e.page.putVersion(e.next))
	}
	if e.form != form.Proto {
		e.b = e.form.AppendTail(e.b, next)
	} else {
		if e.list.view == change.ViewFinance {
			e.b = wire.AppendInt(e.b, wire.FieldCount, int64(e.n))
		}
		e.b = wire.AppendString(e.b, wire.FieldNextToken, next)
	}
	if len(e.b) > e.max {
		return nil, "", rpcerr.New(codes.ResourceExhausted,
			fmt.Sprintf("the reply is larger than %d bytes; set page_size", e.max), rpcerr.Info(rpcerr.ReasonTooLarge))
	}
	return e.b, next, nil
}

// runSQL encodes from SQL.
func (c *core) runSQL(ctx context.Context, e *encoder) error {
	qctx, cancel := context.WithTimeout(ctx, c.opt.QueryTimeout)
	defer cancel()
	e.ctx = qctx
	var limit any
	if e.page.size > 0 {
		limit = int64(e.page.size) + 1 // one more tells whether there is a next page
	}
	var err error
	if view := e.list.view.Def(); view.Limit > 0 {
		var items []change.NewsItem
		err = each(qctx, c.opt.Pool, view, func(row any) bool {
			items = append(items, *row.(*change.NewsItem))
			return true
		}, ViewSQL(view), e.sel.filter)
		e.newsPage(items)
	} else {
		err = each(qctx, c.opt.Pool, view, func(row any) bool { return e.row(view, row) },
			pageSQL(view), e.sel.filter, e.page.resume, e.page.after, limit)
	}
	if err == nil && (e.err == nil || rpcerr.Is(e.err)) {
		return nil // finish reports e.err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return c.sqlError(e.list, errors.Join(err, e.err))
}

// sqlError logs why a query failed, once in a while, and tells the caller no
// more than the SQLSTATE: the whole text may name hosts, users and values.
func (c *core) sqlError(l list, err error) error {
	c.metrics.sqlErrors.Inc()
	if n, ok := c.sqlLog.Allow(c.opt.Now()); ok {
		c.opt.Log.Warn("run the SQL of a call", "view", l.key, "error", err, "suppressed", n)
	}
	msg, kv := "Postgres cannot be reached for a NonStreaming call", []string(nil)
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg):
		msg = "Postgres refused the query of a NonStreaming call with SQLSTATE " + pg.Code
		kv = []string{"sqlstate", pg.Code}
	case errors.Is(err, context.DeadlineExceeded):
		msg = "Postgres did not answer a NonStreaming call within " + c.opt.QueryTimeout.String()
	}
	return rpcerr.New(codes.Unavailable, msg+"; the log has the details, and the streaming calls are served from memory",
		rpcerr.Info(rpcerr.ReasonSQL, kv...), rpcerr.RetryAfter(2*time.Second))
}

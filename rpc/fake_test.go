package rpc_test

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"carbond/store/change"
)

// data is a snapshot made of sorted slices, by the simplest rules that are
// right. It counts how often rows were asked for.
type data struct {
	change.ViewSnapshot // nil: what no test of this package asks for

	offset   change.Offset
	lsn      change.LSN
	projects []change.ProjectDetail
	news     []change.NewsItem
	quotes   []change.Quote
	versions map[string]change.Offset // view + filter; absent = base
	base     change.Offset

	reads   *atomic.Int64
	onRows  func() // called before rows are given
	onPanic bool
}

func (d *data) Offset() change.Offset { return d.offset }
func (d *data) LSN() change.LSN       { return d.lsn }
func (d *data) CommitTime() time.Time { return time.Unix(1_700_000_000, 0) }

func (d *data) Version(v change.View, filter string) change.Offset {
	if o, ok := d.versions[string(v)+":"+filter]; ok {
		return o
	}
	return d.base
}

func (d *data) touch() {
	if d.reads != nil {
		d.reads.Add(1)
	}
	if d.onRows != nil {
		d.onRows()
	}
	if d.onPanic {
		panic("rows are broken")
	}
}

func (d *data) Projects(country, after string) iter.Seq[change.Project] {
	return func(yield func(change.Project) bool) {
		d.touch()
		for i := range d.projects {
			p := d.projects[i].Project
			if (country == "" || p.Country == country) && (after == "" || p.ProjectID > after) && !yield(p) {
				return
			}
		}
	}
}

func (d *data) News(source string) iter.Seq[change.NewsItem] {
	return func(yield func(change.NewsItem) bool) {
		d.touch()
		n := 0
		for _, it := range d.news {
			if source != "" && it.Source != source {
				continue
			}
			if n++; n > change.NewsLimit || !yield(it) {
				return
			}
		}
	}
}

func (d *data) Quotes(ticker, after string) iter.Seq[change.Quote] {
	return func(yield func(change.Quote) bool) {
		d.touch()
		for _, q := range d.quotes {
			if (ticker == "" || q.Ticker == ticker) && (after == "" || q.Ticker > after) && !yield(q) {
				return
			}
		}
	}
}

func (d *data) Project(id string) (change.ProjectDetail, bool) {
	i, ok := slices.BinarySearchFunc(d.projects, id, func(p change.ProjectDetail, id string) int {
		return strings.Compare(p.ProjectID, id)
	})
	if !ok {
		return change.ProjectDetail{}, false
	}
	return d.projects[i], true
}

// reader publishes data.
type reader struct {
	mu  sync.Mutex // guards what follows
	cur *data
	ch  chan struct{}
}

func newReader(d *data) *reader { return &reader{cur: d, ch: make(chan struct{})} }

func (r *reader) set(d *data) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cur = d
	close(r.ch)
	r.ch = make(chan struct{})
}

func (r *reader) Snapshot() change.ViewSnapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cur == nil {
		return nil
	}
	return r.cur
}

func (r *reader) WaitLSN(ctx context.Context, lsn change.LSN) error {
	for {
		r.mu.Lock()
		cur, ch := r.cur, r.ch
		r.mu.Unlock()
		if cur != nil && cur.LSN() >= lsn {
			return nil
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

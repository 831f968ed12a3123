package verra

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/poll"
)

// collector gathers the distinct rows of a sweep.
type collector[T any] struct {
	key     func(T) int64
	newer   func(a, b T) bool
	rows    map[int64]T
	skipped int
}

func (k *collector[T]) add(page Page[T]) {
	for _, r := range page.Rows {
		if old, ok := k.rows[k.key(r)]; !ok || !k.newer(old, r) {
			k.rows[k.key(r)] = r
		}
	}
	k.skipped += page.Tally.Skipped()
}

// full reports whether as many rows as announced are here.
func (k *collector[T]) full(total int) bool { return len(k.rows)+k.skipped >= total }

// sweeper reads a whole resource.
type sweeper[T any] struct {
	*collector[T]
	s        *Poller
	c        *poll.Cycle
	resource Resource
	parse    func([]byte, string) (Page[T], error)
	total    int
}

func newSweeper[T any](
	s *Poller, c *poll.Cycle, r Resource, parse func([]byte, string) (Page[T], error), key func(T) int64, newer func(a, b T) bool,
) *sweeper[T] {
	return &sweeper[T]{
		collector: &collector[T]{key: key, newer: newer, rows: map[int64]T{}}, s: s, c: c, resource: r, parse: parse,
	}
}

// sweepAll reads every row of a resource, sorted by entityId, the only order
// that is stable over pages. What the service cannot page to its end is read
// part by part, each proved to be narrower than the whole, and what no part
// holds from both ends. exact reports that all announced rows arrived; a sweep
// that falls short by up to 2 % counts, but proves no absence. One that falls
// short by more, or shrank against last, is refused.
func sweepAll[T any](
	ctx context.Context, s *Poller, c *poll.Cycle, r Resource, last int,
	parse func([]byte, string) (Page[T], error), key func(T) int64, newer func(a, b T) bool, parts []Filter,
) (rows []T, total int, exact bool, err error) {
	w := newSweeper(s, c, r, parse, key, newer)
	op := "sweep " + string(r)
	if err := w.whole(ctx, last, len(parts) > 0); err != nil {
		return nil, 0, false, err
	}
	for i := 0; i < len(parts) && !w.full(w.total); i++ {
		if err := w.part(ctx, parts[i]); err != nil {
			return nil, 0, false, err
		}
	}
	if len(parts) > 0 && !w.full(w.total) && w.total > MaxStart {
		for _, sort := range []Sort{SortSweep(), {Field: SortSweep().Field, Descending: true}} {
			if err := w.pages(ctx, sort, nil, nil); err != nil {
				return nil, 0, false, err
			}
		}
	}
	got := len(w.rows) + w.skipped
	if float64(got) < float64(w.total)*(1-payload.MaxShrink) {
		return nil, 0, false, &fetch.Error{
			Kind: fetch.KindTruncated, Op: op, Err: fmt.Errorf("%w: %d of %d rows arrived", payload.ErrIncomplete, got, w.total),
		}
	}
	for _, v := range w.rows {
		rows = append(rows, v)
	}
	slices.SortFunc(rows, func(a, b T) int { return int(min(max(key(a)-key(b), -1), 1)) })
	return rows, w.total, got >= w.total, nil
}

// whole reads the resource without filter, unless it is too long to be paged to
// its end and can be split. It refuses a total that shrank.
func (w *sweeper[T]) whole(ctx context.Context, last int, splits bool) error {
	return w.pages(ctx, SortSweep(), nil, func(page Page[T]) (bool, error) {
		w.total = page.Total
		if err := payload.CheckCount(page.Total, -1, last); err != nil {
			return false, fmt.Errorf("%w; if upstream really lost them, remove this feed's state file", err)
		}
		return !splits || page.Total <= MaxStart, nil
	})
}

// part reads the rows that pass one filter, having checked that it works.
func (w *sweeper[T]) part(ctx context.Context, f Filter) error {
	return w.pages(ctx, SortSweep(), []Filter{f}, func(page Page[T]) (bool, error) {
		if page.Total >= w.total {
			return false, fmt.Errorf("filter %s = %q was ignored: %d of %d rows pass", f.Field, f.Value, page.Total, w.total)
		}
		for _, row := range page.Rows {
			if u, ok := any(row).(Units); ok && u.Vintage != nil && !strings.HasSuffix(f.Value, fmt.Sprint(*u.Vintage)) {
				return false, fmt.Errorf("filter %s = %q was ignored: a row of %d passes", f.Field, f.Value, *u.Vintage)
			}
		}
		if page.Total > MaxStart+MaxLimit {
			w.c.Log.Warn("a part of the sweep is longer than the service can page", "resource", w.resource, "filter", f.Value, "rows", page.Total)
		}
		return true, nil
	})
}

// pages reads the pages of one search until it ends, the service pages no
// further, or everything is here. judge, if any, sees the first page before it
// is kept and says whether to keep it and go on.
func (w *sweeper[T]) pages(ctx context.Context, sort Sort, filters []Filter, judge func(Page[T]) (bool, error)) error {
	for start := 0; start <= MaxStart; {
		req, res, err := w.s.ask(ctx, w.c, Search{Resource: w.resource, Start: start, Sort: []Sort{sort}, Filters: filters})
		if err != nil {
			return err
		}
		page, err := w.parse(res.Body, res.ContentType())
		if err != nil && !(errors.Is(err, ErrNoEntities) && len(filters) > 0) { // nothing passes the filter
			return poll.Parsed(req, err)
		}
		if start == 0 && judge != nil {
			if more, err := judge(page); err != nil {
				return &fetch.Error{Kind: fetch.KindOf(err), Op: "sweep " + string(w.resource), Err: err}
			} else if !more {
				return nil
			}
		}
		w.add(page)
		start += page.Tally.Elements
		if page.Tally.Elements == 0 || start >= page.Total || w.full(w.total) && filters == nil {
			return nil
		}
	}
	return nil
}

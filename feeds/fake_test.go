package feeds_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"carbond/feeds"
	"carbond/store/change"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// memory is a Writer that keeps the tables in maps.
type memory struct {
	mu     sync.Mutex
	tables map[string]map[string]map[string]change.Value
	log    []change.Written // of each Write that changed something
	fail   error
}

func newMemory() *memory { return &memory{tables: map[string]map[string]map[string]change.Value{}} }

func (m *memory) Write(_ context.Context, edits []change.Edit) (change.Written, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return change.Written{}, m.fail
	}
	n := m.apply(edits, true)
	if n.Changed() {
		m.log = append(m.log, n)
	}
	return n, nil
}

func (m *memory) Preview(_ context.Context, edits []change.Edit) (left []change.Edit, total change.Written, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range edits {
		of := e
		of.Rows = nil
		for _, r := range e.Rows {
			one := e
			one.Rows, one.Delete = []change.Row{r}, nil
			n := m.apply([]change.Edit{one}, false)
			if total = total.Add(n); n.Changed() {
				of.Rows = append(of.Rows, r)
			}
		}
		total.Deleted += m.apply([]change.Edit{{Table: e.Table, Delete: e.Delete}}, false).Deleted
		if len(of.Rows)+len(of.Delete) > 0 {
			left = append(left, of)
		}
	}
	return left, total, nil
}

func (m *memory) apply(edits []change.Edit, real bool) (n change.Written) {
	for _, e := range edits {
		if m.tables[e.Table] == nil {
			m.tables[e.Table] = map[string]map[string]change.Value{}
		}
		t := m.tables[e.Table]
		for _, d := range e.Delete {
			if _, ok := t[string(d)]; ok {
				n.Deleted++
				if real {
					delete(t, string(d))
				}
			}
		}
		for _, r := range e.Rows {
			var keys []change.Value
			for _, k := range change.KeyColumns(e.Table) {
				keys = append(keys, r.Value(slices.Index(e.Columns, k)))
			}
			key := string(change.NewRow(keys...))
			old, ok := t[key]
			differs := !ok
			for i, c := range e.Columns {
				differs = differs || old[c] != e.Merge.Of(old[c], r.Value(i))
			}
			switch {
			case !ok:
				n.Inserted++
			case differs:
				n.Updated++
			default:
				n.Unchanged++
			}
			if !real || !differs {
				continue
			}
			if !ok {
				t[key] = map[string]change.Value{}
			}
			for i, c := range e.Columns {
				t[key][c] = e.Merge.Of(t[key][c], r.Value(i))
			}
		}
	}
	return n
}

func (m *memory) Prune(context.Context, string, time.Time) (int, error) { return 0, nil }

func (m *memory) Rows(_ context.Context, table string, columns []string) ([]change.Row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []change.Row
	for _, row := range m.tables[table] {
		var values []change.Value
		for _, c := range columns {
			values = append(values, row[c])
		}
		out = append(out, change.NewRow(values...))
	}
	return out, nil
}

// col returns one column of the row with the key, "-" for NULL, "" for no row.
func (m *memory) col(table, column string, key ...string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []change.Value
	for _, k := range key {
		keys = append(keys, change.T(k))
	}
	row, ok := m.tables[table][string(change.NewRow(keys...))]
	switch {
	case !ok:
		return ""
	case row[column].Kind != change.Text:
		return "-"
	}
	return row[column].Text
}

func (m *memory) count(table string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.tables[table])
}

// writes is the number of writes that changed something.
func (m *memory) writes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.log)
}

// upstream answers requests without a network, inside a synctest bubble too.
type upstream struct {
	mu     sync.Mutex
	handle func(*http.Request) *http.Response
	seen   []seen
}

type seen struct {
	at     time.Time
	host   string
	path   string
	header http.Header
	body   string
}

func (u *upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	u.mu.Lock()
	u.seen = append(u.seen, seen{time.Now(), r.URL.Host, r.URL.RequestURI(), r.Header, string(body)})
	h := u.handle
	u.mu.Unlock()
	res := h(r)
	if res == nil {
		return nil, fmt.Errorf("dial tcp %s: connection refused", r.URL.Host)
	}
	res.Request = r
	return res, nil
}

func (u *upstream) requests() []seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.seen)
}

func answer(status int, contentType, body string, header ...string) *http.Response {
	h := http.Header{"Content-Type": {contentType}}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{
		StatusCode: status, Header: h, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
		ProtoMajor: 1, ProtoMinor: 1,
	}
}

func asJSON(body string) *http.Response { return answer(200, "application/json", body) }

// fixture reads a file of a parser package.
func fixture(tb testing.TB, path ...string) string {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// only switches all feeds off but the named ones.
func only(opt feeds.Options, names ...string) feeds.Options {
	off := func(n string) bool { return !slices.Contains(names, n) }
	opt.Verra.Disabled, opt.Carbonmark.Disabled = off("verra"), off("carbonmark")
	opt.Finance.Disabled, opt.News.Disabled = off("finance"), off("news")
	return opt
}

func runner(tb testing.TB, opt feeds.Options, w feeds.Writer) *feeds.Runner {
	tb.Helper()
	r, err := feeds.New(opt, w)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// fetchNow polls one feed now.
func fetchNow(tb testing.TB, r *feeds.Runner, name string) (feeds.Report, error) {
	tb.Helper()
	return r.Fetch(context.Background(), name, false)
}

func status(r *feeds.Runner, name string) feeds.FeedStatus {
	for _, s := range r.Status() {
		if s.Name == name {
			return s
		}
	}
	return feeds.FeedStatus{}
}

func v(s string) change.Value { return change.T(s) }

var null = change.Value{}

func verraEdit(rows ...change.Row) change.Edit {
	return change.Edit{
		Table: change.Verra, Columns: []string{"project_id", "country", "vintage", "supply"}, Rows: rows, Stamp: "updated_at",
	}
}

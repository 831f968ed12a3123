package web_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carbond/rpc"
	"carbond/rpc/web"
	"carbond/store"
	"carbond/store/change"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reader lends a store to rpc.
type reader struct{ *store.Store }

func (r reader) Snapshot() change.ViewSnapshot { return r.Store.Snapshot() }

// world is a store with the API in front of it.
type world struct {
	*store.Store
	dir  string
	opt  rpc.Options
	api  *rpc.Server
	door *web.Door
	http *httptest.Server
	stop func()
}

type setup struct {
	rpc     rpc.Options
	tokens  string // of the tokens file, "" for none
	open    bool
	origins []string
}

func newWorld(t testing.TB, s setup) *world {
	t.Helper()
	w := &world{dir: filepath.Join(t.TempDir(), "data"), opt: s.rpc}
	if s.tokens != "" {
		w.opt.TokensFile = filepath.Join(t.TempDir(), "tokens")
		if err := os.WriteFile(w.opt.TokensFile, []byte(s.tokens), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.start(t, s)
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) start(t testing.TB, s setup) {
	t.Helper()
	var err error
	if w.Store, err = store.Open(w.dir, store.Options{NoSync: true, SegmentBytes: 64 << 10, CheckpointInterval: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	opt := w.opt
	opt.WatchProgress = 20 * time.Millisecond
	opt.History, opt.Changelog, opt.Version = w.Past(), w.Store, "test"
	if w.api, err = rpc.New(reader{w.Store}, opt); err != nil {
		t.Fatal(err)
	}
	w.door = web.NewDoor(w.api, web.DoorOptions{Tokens: s.tokens != "", Open: func() bool { return s.open }})
	w.http = httptest.NewServer(web.New(w.api, web.Options{Door: w.door, Origins: func() []string { return s.origins }}))
	w.stop = func() {
		w.http.CloseClientConnections()
		if err := w.api.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		w.http.Close()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

// put writes rows of a table, each with its columns as a=b; a column without a value
// is NULL, and one without = is the empty text.
func (w *world) put(t testing.TB, table string, columns string, rows ...[]change.Value) {
	t.Helper()
	e := change.Edit{Table: table, Columns: strings.Fields(columns)}
	for _, r := range rows {
		e.Rows = append(e.Rows, change.NewRow(r...))
	}
	if _, err := w.Write(t.Context(), []change.Edit{e}); err != nil {
		t.Fatal(err)
	}
}

// row makes the values of a row; "NULL" is NULL.
func row(texts ...string) (out []change.Value) {
	for _, s := range texts {
		if s == "NULL" {
			out = append(out, change.Value{})
		} else {
			out = append(out, change.T(s))
		}
	}
	return out
}

// market writes a few rows that have everything: NULL, empty, formulas, accents.
func (w *world) market(t testing.TB) {
	t.Helper()
	w.put(t, change.Verra, "project_id project_name registry_status country vintage supply",
		row("VCS-1", "Rimba Raya", "ACTIVE", "Indonesia", "2020", "1500.5"),
		row("VCS-2", "São João, \"Várzea\"", "RETIRED", "Brazil", "2018", "70"),
		row("VCS-3", "=HYPERLINK(1)", "ACTIVE", "Brazil", "NULL", "NaN"),
		row("VCS-4", "", "NULL", "NULL", "2021", "NULL"))
	w.put(t, change.News, "guid title link published published_at source summary",
		row("g1", "Øresund wind", "https://example.org/1", "Mon, 02 Jan 2023 15:04:05 GMT", "2023-01-02 15:04:05+00", "Reuters", "NULL"),
		row("g2", "Forests <b>", "https://example.org/2", "Tue, 03 Jan 2023 15:04:05 GMT", "2023-01-03 15:04:05+00", "BBC", "x"))
	w.put(t, change.Finance, "ticker price volume market_cap change_percent timestamp currency",
		row("KRBN", "31.25", "9007199254740993", "NULL", "-0.5", "1700000000", "USD"),
		row("KRBN", "30", "5", "Infinity", "1e-9", "1600000000", "USD"))
}

type answer struct {
	status int
	header http.Header
	body   string
}

// get asks; headers are given as "Name: value".
func (w *world) get(t testing.TB, path string, headers ...string) answer {
	t.Helper()
	return w.do(t, http.MethodGet, path, headers...)
}

func (w *world) do(t testing.TB, method, path string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.http.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	resp, err := w.http.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, resp.Body); err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, b.String()}
}

package viewfile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carbond/cmd/carbond/internal/viewfile"
	"carbond/store"
	"carbond/store/change"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests, 0 chooses one")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seed chooses and prints the seed of a test.
func seed(t *testing.T) uint64 {
	t.Helper()
	s := *seedFlag
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed %d (repeat with -seed)", s)
	return s
}

func openStore(t testing.TB, dir string, opt store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func apply(t testing.TB, s *store.Store, txns ...change.Txn) {
	t.Helper()
	if err := s.Apply(context.Background(), txns); err != nil {
		t.Fatal(err)
	}
}

// run runs a writer and returns what stops it.
func run(t testing.TB, w *viewfile.Writer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// until polls for so long until ok.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("no %s within 2 minutes", what)
		}
	}
}

// written reports whether the files are on disk up to an offset.
func written(dir string, at change.Offset) bool {
	var st struct {
		Phase  string
		Offset change.Offset
	}
	b, err := os.ReadFile(filepath.Join(dir, "views.state.json"))
	return err == nil && json.Unmarshal(b, &st) == nil && st.Phase == "follow" && st.Offset >= at
}

// content is the lines of a view in all files, oldest first.
func content(t testing.TB, dir string, v change.View) []byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, string(v)+".*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	var out []byte
	for _, n := range append(names, filepath.Join(dir, string(v)+".jsonl")) {
		b, err := os.ReadFile(n)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	return out
}

// expected is what a writer writes that has followed a store from its beginning,
// by another way of making lines.
func expected(t testing.TB, s *store.Store) map[change.View][]byte {
	t.Helper()
	out := map[change.View][]byte{}
	f, _, err := s.Follow(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for f.Offset() < s.Position().Offset {
		txns, err := f.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range txns {
			txns[i].All(func(d change.Delta) bool {
				v, line := lineOf(t, d, txns[i].CommitTime.UnixMilli())
				out[v] = append(out[v], line...)
				return true
			})
		}
	}
	return out
}

// ordered is a JSON object with its fields in order.
type ordered []any

func lineOf(t testing.TB, d change.Delta, ms int64) (change.View, string) {
	t.Helper()
	var v change.View
	var fields ordered
	switch {
	case d.Project != nil:
		p := d.Project
		v, fields = change.ViewProjects, ordered{"project_id", p.ProjectID, "project_name", p.ProjectName, "registry_status", p.RegistryStatus, "country", p.Country, "vintage", p.Vintage, "supply", p.Supply, "registry", p.Registry, "methodology", p.Methodology, "project_type", p.ProjectType, "region", p.Region, "price_usd", nil, "has_supply", nil}
		if price := slices.Index(fields, "price_usd"); !p.Null.Has(slices.Index(change.Projects.Names(), "price_usd")) {
			fields[price+1] = p.PriceUSD
		}
		if has := slices.Index(fields, "has_supply"); !p.Null.Has(slices.Index(change.Projects.Names(), "has_supply")) {
			fields[has+1] = p.HasSupply
		}
	case d.News != nil:
		n := d.News
		if d.Window != "" {
			return change.ViewNews, ""
		}
		v, fields = change.ViewNews, ordered{"guid", n.GUID, "title", n.Title, "link", n.Link, "published", n.Published, "source", n.Source, "summary", n.Summary, "published_estimated", n.PublishedEstimated}
	default:
		q := d.Quote
		v, fields = change.ViewFinance, ordered{"ticker", q.Ticker, "price", q.Price, "volume", q.Volume, "market_cap", q.MarketCap, "change_percent", q.ChangePercent, "timestamp", q.Timestamp, "currency", q.Currency}
	}
	fields = append(fields, "diff", d.Diff, "time", ms)
	var parts []string
	for i := 0; i < len(fields); i += 2 {
		b, err := json.Marshal(fields[i+1])
		if err != nil {
			b = []byte(`"Infinity"`) // the generator has no other number that JSON lacks
		}
		parts = append(parts, `"`+fields[i].(string)+`":`+string(b))
	}
	return v, "{" + strings.Join(parts, ",") + "}\n"
}

// same compares the files with what they should be.
func same(t testing.TB, dir string, want map[change.View][]byte) {
	t.Helper()
	for _, v := range change.Views() {
		if got := content(t, dir, v); !bytes.Equal(got, want[v]) {
			t.Fatalf("%s: %d bytes, want %d, equal up to %d", v, len(got), len(want[v]), common(got, want[v]))
		}
	}
}

func common(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// watchWorld is a store with a server on it and a client of that. It remembers
// what the views are at every end of a transaction, by the naive model.
type watchWorld struct {
	tb     testing.TB
	store  *store.Store
	src    *storetest.Source
	client pb.CarbonServiceClient
	conn   *grpc.ClientConn
	lis    *bufconn.Listener

	mu    sync.Mutex // guards what follows
	truth map[change.Offset]*storetest.Model
	moved chan struct{} // closed at the next transaction
	// finished is set when there will be no more.
	finished bool
}

// newWatchWorld serves a store until the test ends. stop ends the server early.
func newWatchWorld(tb testing.TB, seed uint64, sopt store.Options, opt rpc.Options) (w *watchWorld, stop func() error) {
	tb.Helper()
	sopt.NoSync, sopt.First = true, 1
	s, err := store.Open(tb.TempDir(), sopt)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	w = &watchWorld{tb: tb, store: s, src: storetest.NewSource(seed), moved: make(chan struct{})}
	w.truth = map[change.Offset]*storetest.Model{0: w.src.Model.Clone()}
	w.client, w.conn, w.lis, stop = serveStore(tb, s, opt)
	return w, stop
}

// serveStore serves a store over memory until the test ends.
func serveStore(tb testing.TB, s *store.Store, opt rpc.Options) (pb.CarbonServiceClient, *grpc.ClientConn, *bufconn.Listener, func() error) {
	tb.Helper()
	if opt.History == nil {
		opt.History = s.Past()
	}
	srv, err := rpc.New(reader{Store: s}, opt)
	if err != nil {
		tb.Fatal(err)
	}
	lis := bufconn.Listen(1 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, lis) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	conn := dialMemory(tb, lis)
	tb.Cleanup(func() {
		conn.Close()
		if err := stop(); err != nil {
			tb.Errorf("serve: %v", err)
		}
	})
	return pb.NewCarbonServiceClient(conn), conn, lis, stop
}

func dialMemory(tb testing.TB, lis *bufconn.Listener, opts ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	opts = append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)), // whole views by Get calls
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	c, err := grpc.NewClient("passthrough:///memory", opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// apply takes a transaction of the source, and what it leads to.
func (w *watchWorld) apply(txns ...change.Txn) {
	w.tb.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.store.Apply(context.Background(), txns); err != nil {
		w.tb.Fatal(err)
	}
	if at := w.store.Position().Offset; w.truth[at] == nil {
		w.truth[at] = w.src.Model.Clone()
	}
	close(w.moved)
	w.moved = make(chan struct{})
}

// finish ends every wait for more.
func (w *watchWorld) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.finished = true
	close(w.moved)
}

// at returns the model at an offset; nil when no transaction ends there.
func (w *watchWorld) at(o change.Offset) *storetest.Model {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.truth[o]
}

// more waits until another transaction was applied, or there will be none.
func (w *watchWorld) more(ctx context.Context) error {
	w.mu.Lock()
	ch := w.moved
	w.mu.Unlock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rows are the items of a view by key, encoded.
type rows map[string]string

func encodeRow(m proto.Message) string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// modelRows is what a view holds by the model.
func modelRows(m *storetest.Model, view change.View, filter string) rows {
	out := rows{}
	switch view {
	case change.ViewProjects:
		for _, p := range m.Projects(filter) {
			item := &pb.ProjectItem{
				ProjectId: p.ProjectID, ProjectName: p.ProjectName, RegistryStatus: p.RegistryStatus,
				Country: p.Country, Vintage: p.Vintage, Supply: p.Supply,
				Registry: given(p.Registry), Methodology: given(p.Methodology), ProjectType: given(p.ProjectType), Region: given(p.Region),
			}
			if !p.Null.Has(slices.Index(change.Projects.Names(), "price_usd")) {
				item.PriceUsd = &p.PriceUSD
			}
			if !p.Null.Has(slices.Index(change.Projects.Names(), "has_supply")) {
				item.HasSupply = &p.HasSupply
			}
			out[p.ProjectID] = encodeRow(item)
		}
	case change.ViewNews:
		for _, n := range m.News(filter) {
			out[n.GUID] = encodeRow(&pb.NewsItem{Guid: n.GUID, Title: n.Title, Link: n.Link, Published: n.Published, Source: n.Source, Summary: n.Summary, PublishedEstimated: given(n.PublishedEstimated)})
		}
	case change.ViewFinance:
		for _, q := range m.Quotes(filter) {
			out[q.Ticker] = encodeRow(&pb.FinanceItem{Ticker: q.Ticker, Price: q.Price, Volume: q.Volume, MarketCap: q.MarketCap, ChangePercent: q.ChangePercent, Timestamp: q.Timestamp, Currency: given(q.Currency)})
		}
	}
	return out
}

// delta is a delta of any of the calls.
type delta struct {
	diff int32
	key  string
	item string
}

// watcher is a client: its copy of a view, and how it came to it.
type watcher struct {
	w      *watchWorld
	view   change.View
	filter string

	rows  rows
	token string
	at    change.Offset
	fresh bool // inside the snapshot

	recv     func() (*pb.WatchHead, []delta, error)
	cancel   context.CancelFunc
	messages int
	snaps    int // streams begun without a token
}

// open begins a stream, with the last token if there is one.
func (c *watcher) open(ctx context.Context) error {
	if c.cancel != nil {
		c.cancel()
	}
	ctx, c.cancel = context.WithCancel(ctx)
	if c.fresh = c.token == ""; c.fresh {
		c.snaps++
		c.rows = rows{}
	}
	switch c.view {
	case change.ViewProjects:
		s, err := c.w.client.WatchProjects(ctx, &pb.WatchProjectsRequest{Country: c.filter, ResumeToken: c.token})
		c.recv = func() (*pb.WatchHead, []delta, error) {
			m, err := s.Recv()
			var ds []delta
			for _, d := range m.GetDeltas() {
				ds = append(ds, delta{d.Diff, d.Item.ProjectId, encodeRow(d.Item)})
			}
			return m.GetHead(), ds, err
		}
		return err
	case change.ViewNews:
		s, err := c.w.client.WatchNews(ctx, &pb.WatchNewsRequest{Source: c.filter, ResumeToken: c.token})
		c.recv = func() (*pb.WatchHead, []delta, error) {
			m, err := s.Recv()
			var ds []delta
			for _, d := range m.GetDeltas() {
				ds = append(ds, delta{d.Diff, d.Item.Guid, encodeRow(d.Item)})
			}
			return m.GetHead(), ds, err
		}
		return err
	}
	s, err := c.w.client.WatchFinanceData(ctx, &pb.WatchFinanceDataRequest{Ticker: c.filter, ResumeToken: c.token})
	c.recv = func() (*pb.WatchHead, []delta, error) {
		m, err := s.Recv()
		var ds []delta
		for _, d := range m.GetDeltas() {
			ds = append(ds, delta{d.Diff, d.Item.Ticker, encodeRow(d.Item)})
		}
		return m.GetHead(), ds, err
	}
	return err
}

// next takes a message and applies it. Whole is set when the copy is the view at
// an offset.
func (c *watcher) next() (whole bool, err error) {
	h, deltas, err := c.recv()
	if err != nil {
		return false, err
	}
	c.messages++
	if h == nil {
		return false, errors.New("a message without a head")
	}
	if kind := h.Kind; c.fresh != (kind == pb.WatchKind_WATCH_KIND_SNAPSHOT) {
		return false, fmt.Errorf("message of kind %v, inside the snapshot: %v", kind, c.fresh)
	}
	if at := change.Offset(h.Offset); at < c.at {
		return false, fmt.Errorf("offset %d after %d", at, c.at)
	}
	for _, d := range deltas {
		if err := c.apply(d); err != nil {
			return false, fmt.Errorf("offset %d: %w", h.Offset, err)
		}
	}
	if c.fresh && h.SnapshotEnd != (h.ResumeToken != "") {
		return false, errors.New("the token of a snapshot comes with its end")
	}
	if h.SnapshotEnd {
		c.fresh = false
	}
	if h.ResumeToken == "" {
		return false, nil
	}
	c.token, c.at = h.ResumeToken, change.Offset(h.Offset)
	return true, nil
}

func (c *watcher) apply(d delta) error {
	old, had := c.rows[d.key]
	switch {
	case d.diff == 1 && !had:
		c.rows[d.key] = d.item
	case d.diff == -1 && had && old == d.item:
		delete(c.rows, d.key)
	default:
		return fmt.Errorf("%s %q: diff %d of %x does not fit, there is %v %x", c.view, c.key(), d.diff, d.item, had, old)
	}
	return nil
}

func (c *watcher) key() string { return string(c.view) + "/" + c.filter }

// check compares the copy with the model.
func (c *watcher) check() error {
	m := c.w.at(c.at)
	if m == nil {
		return fmt.Errorf("%s: no transaction ends at offset %d", c.key(), c.at)
	}
	if want := modelRows(m, c.view, c.filter); !maps.Equal(c.rows, want) {
		return fmt.Errorf("%s: the copy at offset %d has %d rows and is not the view, which has %d", c.key(), c.at, len(c.rows), len(want))
	}
	return nil
}

// statusReason returns the ErrorInfo of a status.
func statusReason(err error) (codes.Code, *errdetails.ErrorInfo) {
	st := status.Convert(err)
	for _, d := range st.Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			return st.Code(), i
		}
	}
	return st.Code(), nil
}

func wantReason(tb testing.TB, err error, code codes.Code, want string) *errdetails.ErrorInfo {
	tb.Helper()
	got, i := statusReason(err)
	if errors.Is(err, io.EOF) || got != code || want != "" && i.GetReason() != want {
		tb.Fatalf("got %v, want %v with the reason %q", err, code, want)
	}
	return i
}

// deadline is for what should take no time at all.
func deadline(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	tb.Cleanup(cancel)
	return ctx
}

// given is what an optional field holds: nothing for NULL.
func given[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

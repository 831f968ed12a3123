package daemon

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/rpc/rpcerr"
	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// writeProjects puts n projects with names of some length into one transaction.
func writeProjects(tb testing.TB, s *store.Store, n int, name string) {
	tb.Helper()
	e := change.Edit{Table: change.Verra, Columns: []string{"project_id", "project_name", "country"}}
	for i := range n {
		e.Rows = append(e.Rows, change.NewRow(change.T(fmt.Sprintf("VCS-%d", i)), change.T(name), change.T("Kenya")))
	}
	if _, err := s.Write(context.Background(), []change.Edit{e}); err != nil {
		tb.Fatal(err)
	}
}

// mirror applies messages of WatchProjects.
type mirror map[string]*pb.ProjectItem

func (m mirror) apply(tb testing.TB, r *pb.WatchProjectsResponse) {
	tb.Helper()
	if n := proto.Size(r); n >= 1<<20 {
		tb.Fatalf("a message of %d bytes", n)
	}
	for _, d := range r.Deltas {
		old, had := m[d.Item.ProjectId]
		if had != (d.Diff < 0) || had && !proto.Equal(old, d.Item) {
			tb.Fatalf("diff %d of %s does not fit", d.Diff, d.Item.ProjectId)
		}
		if d.Diff < 0 {
			delete(m, d.Item.ProjectId)
		} else {
			m[d.Item.ProjectId] = d.Item
		}
	}
}

// sameAs compares with the answer of the Get call at an offset.
func (m mirror) sameAs(tb testing.TB, c pb.CarbonServiceClient, at uint64) {
	tb.Helper()
	if at == 0 && len(m) == 0 {
		return // before everything; an as_of_offset of 0 is now
	}
	r, err := c.GetProjects(tb.Context(), &pb.ProjectQuery{AsOfOffset: at})
	if err != nil {
		tb.Fatal(err)
	}
	if len(r.Items) != len(m) {
		tb.Fatalf("the copy at offset %d has %d projects, the view %d", at, len(m), len(r.Items))
	}
	for _, it := range r.Items {
		if !proto.Equal(it, m[it.ProjectId]) {
			tb.Fatalf("the copy at offset %d has %v, the view %v", at, m[it.ProjectId], it)
		}
	}
}

// TestWatchLarge sends transactions that are larger than a message: those whose
// deltas are held, encoded once for all, and those too large for that.
func TestWatchLarge(t *testing.T) {
	for name, n := range map[string]int{"held": 6000, "bulk": 25_000} {
		t.Run(name, func(t *testing.T) {
			w, _ := newWatchWorld(t, 1, store.Options{}, rpc.Options{})
			ctx := deadline(t)
			s, err := w.client.WatchProjects(ctx, &pb.WatchProjectsRequest{Country: "Kenya"})
			if err != nil {
				t.Fatal(err)
			}
			m, parts, token := mirror{}, 0, ""
			take := func(r *pb.WatchProjectsResponse) bool {
				m.apply(t, r)
				parts++
				if r.Head.ResumeToken == "" {
					return false
				}
				token = r.Head.ResumeToken
				m.sameAs(t, w.client, r.Head.Offset)
				return true
			}
			read := func(want int) {
				t.Helper()
				for parts = 0; ; {
					r, err := s.Recv()
					if err != nil {
						t.Fatal(err)
					}
					if take(r) && uint64(w.store.Position().Offset) == r.Head.Offset {
						break
					}
				}
				if len(m) != n && want > 0 || parts < want {
					t.Fatalf("%d projects in %d messages, want %d in more than %d", len(m), parts, n, want)
				}
			}
			read(0)
			writeProjects(t, w.store, n, strings.Repeat("x", 150))
			read(2)
			before := token
			writeProjects(t, w.store, n, strings.Repeat("y", 150)) // every one leaves and comes
			read(3)

			// The same through the changelog, for one who was away: the ring begins
			// behind his place once all others have left.
			r, err := w.client.WatchProjects(ctx, &pb.WatchProjectsRequest{Country: "Kenya"})
			if err != nil {
				t.Fatal(err)
			}
			s, m = r, mirror{}
			read(2) // a snapshot
			old, err := w.client.GetProjects(ctx, &pb.ProjectQuery{AsOfOffset: uint64(n)})
			if err != nil {
				t.Fatal(err)
			}
			m = mirror{}
			for _, it := range old.Items {
				m[it.ProjectId] = it
			}
			if s, err = w.client.WatchProjects(ctx, &pb.WatchProjectsRequest{Country: "Kenya", ResumeToken: before}); err != nil {
				t.Fatal(err)
			}
			read(3)
		})
	}
}

// TestWatchSlow leaves a watcher without a reader while the ring goes round.
// Others are not held up, and the slow one resumes with what it has.
func TestWatchSlow(t *testing.T) {
	reg := prometheus.NewRegistry()
	w, _ := newWatchWorld(t, 1, store.Options{}, rpc.Options{WatchRingBytes: 2 << 20, Registerer: reg})
	ctx := deadline(t)
	slow, err := w.client.WatchProjects(ctx, &pb.WatchProjectsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	m := mirror{}
	first, err := slow.Recv()
	if err != nil {
		t.Fatal(err)
	}
	m.apply(t, first)
	fast, err := dialFast(t, w).WatchProjects(ctx, &pb.WatchProjectsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	fm := mirror{}
	for i := range 60 {
		writeProjects(t, w.store, 100, fmt.Sprintf("%d%s", i, strings.Repeat("x", 1000)))
		for at := uint64(0); at < uint64(w.store.Position().Offset); {
			r, err := fast.Recv()
			if err != nil {
				t.Fatalf("the fast watcher: %v", err)
			}
			fm.apply(t, r)
			at = r.Head.Offset
		}
	}
	fm.sameAs(t, w.client, uint64(w.store.Position().Offset))
	var token string
	for err == nil {
		var r *pb.WatchProjectsResponse
		if r, err = slow.Recv(); err == nil {
			m.apply(t, r)
			if r.Head.ResumeToken != "" {
				token = r.Head.ResumeToken
			}
		}
	}
	wantReason(t, err, codes.ResourceExhausted, rpcerr.ReasonSlowWatcher)
	var retry bool
	for _, d := range status.Convert(err).Details() {
		_, is := d.(*errdetails.RetryInfo)
		retry = retry || is
	}
	if !retry {
		t.Errorf("no RetryInfo in %v", err)
	}
	if slow, err = w.client.WatchProjects(ctx, &pb.WatchProjectsRequest{ResumeToken: token}); err != nil {
		t.Fatal(err)
	}
	for at := uint64(0); at < uint64(w.store.Position().Offset); {
		r, err := slow.Recv()
		if err != nil {
			t.Fatal(err)
		}
		m.apply(t, r)
		at = r.Head.Offset
	}
	m.sameAs(t, w.client, uint64(w.store.Position().Offset))
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP carbond_watch_streams Open Watch streams.
# TYPE carbond_watch_streams gauge
carbond_watch_streams 2
`), "carbond_watch_streams"); err != nil {
		t.Error(err)
	}
}

// dialFast gives a client with a connection of its own: streams of one share its
// window.
func dialFast(t *testing.T, w *watchWorld) pb.CarbonServiceClient {
	t.Helper()
	c := dialMemory(t, w.lis)
	t.Cleanup(func() { c.Close() })
	return pb.NewCarbonServiceClient(c)
}

// TestWatchBlocked: a client that takes nothing at all is cut, though its
// message cannot be taken back, and its place is free again.
//
// The clock of the bubble stands while anything moves. So the first client has
// its place before the second one asks, and a stream is blocked because nobody
// reads it, never because the machine is busy.
func TestWatchBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		const timeout = 50 * time.Millisecond
		w, _ := newWatchWorld(t, 1, store.Options{}, rpc.Options{WatchSendTimeout: timeout, MaxWatchers: 1, Registerer: reg})
		writeProjects(t, w.store, 2000, strings.Repeat("x", 1000))
		if _, err := w.client.WatchProjects(t.Context(), &pb.WatchProjectsRequest{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // its first messages fill the window
		c := dialFast(t, w)
		second := func() error {
			s, err := c.WatchFinanceData(t.Context(), &pb.WatchFinanceDataRequest{})
			if err == nil {
				_, err = s.Recv()
			}
			return err
		}
		wantReason(t, second(), codes.ResourceExhausted, rpcerr.ReasonTooManyWatchers)
		if got := cutCount(t, reg, "blocked"); got != 0 {
			t.Errorf("%v streams were cut as blocked before the time", got)
		}
		time.Sleep(timeout)
		synctest.Wait()
		if got := cutCount(t, reg, "blocked"); got != 1 {
			t.Errorf("%v streams were cut as blocked, want 1", got)
		}
		if err := second(); err != nil {
			t.Errorf("the place of the one that was cut is not free: %v", err)
		}
	})
}

// poll waits for a moment.
func poll(ctx context.Context) error {
	t := time.NewTimer(5 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func cutCount(t *testing.T, reg *prometheus.Registry, why string) float64 {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() != "carbond_watch_cut_total" {
			continue
		}
		for _, m := range f.Metric {
			if m.Label[0].GetValue() == why {
				return m.Counter.GetValue()
			}
		}
	}
	t.Fatalf("no carbond_watch_cut_total{reason=%q}", why)
	return 0
}

// TestWatchShutdown: streams end with UNAVAILABLE, and the server with them: it
// does not wait until they may be cut.
func TestWatchShutdown(t *testing.T) {
	w, stop := newWatchWorld(t, 1, store.Options{}, rpc.Options{DrainTimeout: time.Hour})
	w.apply(w.src.Next())
	ctx := deadline(t)
	var streams []func() error
	for range 20 {
		for _, v := range []change.View{change.ViewProjects, change.ViewNews, change.ViewFinance} {
			c := &watcher{w: w, view: v}
			if err := c.open(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := c.next(); err != nil {
				t.Fatal(err)
			}
			streams = append(streams, func() error {
				defer c.cancel()
				for {
					if _, err := c.next(); err != nil {
						return err
					}
				}
			})
		}
	}
	ended := make(chan error, len(streams))
	for _, s := range streams {
		go func() { ended <- s() }()
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	select {
	case err := <-stopped:
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Fatal("the server waits for its streams")
	}
	for range streams {
		wantReason(t, <-ended, codes.Unavailable, rpcerr.ReasonDraining)
	}
}

// TestWatchProgress: an idle stream says that it is right, also when what
// happens is nothing of its filter.
func TestWatchProgress(t *testing.T) {
	w, _ := newWatchWorld(t, 1, store.Options{}, rpc.Options{WatchProgress: 10 * time.Millisecond})
	ctx := deadline(t)
	s, err := w.client.WatchProjects(ctx, &pb.WatchProjectsRequest{Country: "Nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Recv()
	if err != nil || !r.Head.SnapshotEnd || r.Head.Offset != 0 {
		t.Fatalf("%v, %v", r, err)
	}
	for range 3 {
		writeProjects(t, w.store, 3, time.Now().String())
		for r.Head.Offset != uint64(w.store.Position().Offset) {
			if r, err = s.Recv(); err != nil {
				t.Fatal(err)
			}
			if r.Head.Kind != pb.WatchKind_WATCH_KIND_PROGRESS || r.Head.ResumeToken == "" || len(r.Deltas) > 0 {
				t.Fatalf("want a progress mark, got %v", r)
			}
		}
		if got, want := r.Head.CommitTimeMs, w.store.Position().CommitTime.UnixMilli(); got != want {
			t.Errorf("commit time %d, want %d", got, want)
		}
	}
}

// TestWatchProgressAfterEmpty resumes with the token of a progress mark behind a
// snapshot whose last transaction changed nothing: it moved the commit time, and
// not the offset.
func TestWatchProgressAfterEmpty(t *testing.T) {
	w, _ := newWatchWorld(t, 3, store.Options{}, rpc.Options{WatchProgress: 10 * time.Millisecond})
	for w.store.Position().Offset < 5 {
		w.apply(w.src.Next())
	}
	pos := w.store.Position()
	w.apply(change.Txn{
		XID: 1, CommitLSN: pos.LSN + 8, EndLSN: pos.LSN + 16, CommitTime: pos.CommitTime.Add(time.Hour), First: true, Final: true,
	})
	if now := w.store.Position(); now.Offset != pos.Offset || now.CommitTime.Equal(pos.CommitTime) {
		t.Fatalf("position %v, was %v", now, pos)
	}
	ctx := deadline(t)
	token := ""
	for range 2 {
		s, err := w.client.WatchProjects(ctx, &pb.WatchProjectsRequest{ResumeToken: token})
		if err != nil {
			t.Fatal(err)
		}
		var r *pb.WatchProjectsResponse
		for r.GetHead().GetKind() != pb.WatchKind_WATCH_KIND_PROGRESS {
			if r, err = s.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		token = r.Head.ResumeToken
	}
}

// retain runs retention by size until enough says that it has taken enough, which
// is asked again and again.
func (w *watchWorld) retain(ctx context.Context, bytes int64, enough func() bool) {
	w.tb.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	w.store.SetRetention(store.Retention{Bytes: bytes})
	go func() { done <- w.store.Run(ctx) }()
	for !enough() {
		if err := poll(ctx); err != nil {
			w.tb.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		w.tb.Fatal(err)
	}
}

// trimmed returns a world whose changelog has lost its beginning, and a token
// and an offset from before.
func trimmed(t *testing.T) (w *watchWorld, token string) {
	t.Helper()
	w, _ = newWatchWorld(t, 7, store.Options{SegmentBytes: 16 << 10, CheckpointInterval: time.Millisecond}, rpc.Options{})
	ctx := deadline(t)
	for w.store.Position().Offset < 5 {
		w.apply(w.src.Next())
	}
	s, err := w.client.WatchProjects(ctx, &pb.WatchProjectsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	token = r.Head.ResumeToken
	w.retain(ctx, 40<<10, func() bool {
		for i := 0; i < 50 && w.store.Oldest() < 50; i++ {
			w.apply(storetest.Split(w.src.Next(), 3)...)
		}
		return w.store.Oldest() >= 50
	})
	return w, token
}

func TestWatchGone(t *testing.T) {
	w, token := trimmed(t)
	ctx := deadline(t)
	s, err := w.client.WatchProjects(ctx, &pb.WatchProjectsRequest{ResumeToken: token})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Recv()
	i := wantReason(t, err, codes.OutOfRange, rpcerr.ReasonCompacted)
	_, err = w.client.GetProjects(ctx, &pb.ProjectQuery{AsOfOffset: 3})
	j := wantReason(t, err, codes.OutOfRange, rpcerr.ReasonCompacted)
	if i.Metadata["oldest_offset"] == "" || i.Metadata["oldest_offset"] != j.Metadata["oldest_offset"] || i.Metadata["oldest_time"] == "" {
		t.Fatalf("details %v and %v", i, j)
	}
	_, err = w.client.GetNews(ctx, &pb.NewsQuery{AsOfTime: "2001-01-01T00:00:00Z"})
	wantReason(t, err, codes.OutOfRange, rpcerr.ReasonCompacted)
	var oldest uint64
	if _, err := fmt.Sscan(i.Metadata["oldest_offset"], &oldest); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.GetProjects(ctx, &pb.ProjectQuery{AsOfOffset: oldest}); err != nil {
		t.Errorf("as of the oldest offset: %v", err)
	}
	_, err = w.client.GetProjects(ctx, &pb.ProjectQuery{AsOfOffset: oldest - 1})
	wantReason(t, err, codes.OutOfRange, rpcerr.ReasonCompacted)
}

// TestWatchGoneEmptyLog has retention take the whole log: what is served now is
// the oldest that can be asked for, and it has a time.
func TestWatchGoneEmptyLog(t *testing.T) {
	w, _ := newWatchWorld(t, 8, store.Options{SegmentBytes: 16 << 10, CheckpointInterval: time.Millisecond}, rpc.Options{})
	ctx, rel := deadline(t), change.Standard(change.News)
	at := time.Date(2026, 11, 26, 5, 0, 0, 0, time.UTC)
	for i := range 2 {
		txn := change.Txn{First: true, Final: true, CommitLSN: change.LSN(10*i + 10), EndLSN: change.LSN(10*i + 11), CommitTime: at.Add(time.Duration(i) * time.Second)}
		for j := range 200 { // more than a segment
			row := make([]change.Value, len(rel.Columns))
			row[rel.Index("guid")] = change.T(fmt.Sprintf("%d-%d-%s", i, j, strings.Repeat("x", 200)))
			txn.Changes = append(txn.Changes, change.Change{Op: change.Create, Relation: rel, After: change.NewRow(row...)})
		}
		if err := w.store.Apply(ctx, []change.Txn{txn}); err != nil {
			t.Fatal(err)
		}
	}
	w.retain(ctx, 1, func() bool { return w.store.Oldest() > 400 })
	for name, q := range map[string]*pb.NewsQuery{"offset": {AsOfOffset: 200}, "time": {AsOfTime: at.Format(time.RFC3339)}} {
		_, err := w.client.GetNews(ctx, q)
		i := wantReason(t, err, codes.OutOfRange, rpcerr.ReasonCompacted)
		if i.Metadata["oldest_offset"] != "400" || i.Metadata["oldest_time"] != "2026-11-26T05:00:01Z" {
			t.Errorf("as of an %s: details %v", name, i)
		}
	}
	if _, err := w.client.GetNews(ctx, &pb.NewsQuery{AsOfOffset: 400}); err != nil {
		t.Errorf("as of the oldest offset: %v", err)
	}
	for _, topic := range w.store.Topics() {
		if topic.First > topic.Next {
			t.Errorf("topic %s begins at %d and ends at %d", topic.Name, topic.First, topic.Next)
		}
	}
}

// TestWatchTokens: a token works with its call, filter and history alone.
func TestWatchTokens(t *testing.T) {
	a, _ := newWatchWorld(t, 11, store.Options{}, rpc.Options{})
	b, _ := newWatchWorld(t, 12, store.Options{}, rpc.Options{})
	short, _ := newWatchWorld(t, 13, store.Options{}, rpc.Options{})
	ctx := deadline(t)
	writeProjects(t, short.store, 1, "a")
	for i := range 3 { // transactions end at the same offsets, at other times
		writeProjects(t, a.store, 5, fmt.Sprint("a", i))
		if err := poll(ctx); err != nil {
			t.Fatal(err)
		}
		writeProjects(t, b.store, 5, fmt.Sprint("b", i))
	}
	open := func(w *watchWorld, country, token string) (*pb.WatchProjectsResponse, error) {
		s, err := dialFast(t, w).WatchProjects(ctx, &pb.WatchProjectsRequest{Country: country, ResumeToken: token})
		if err != nil {
			return nil, err
		}
		return s.Recv()
	}
	r, err := open(a, "Kenya", "")
	if err != nil {
		t.Fatal(err)
	}
	token := r.Head.ResumeToken
	for name, try := range map[string]func() error{
		"no token":     func() error { _, err := open(a, "Kenya", "nonsense"); return err },
		"cut":          func() error { _, err := open(a, "Kenya", token[:len(token)-2]); return err },
		"other filter": func() error { _, err := open(a, "", token); return err },
		"other call": func() error {
			s, err := a.client.WatchFinanceData(ctx, &pb.WatchFinanceDataRequest{Ticker: "Kenya", ResumeToken: token})
			if err != nil {
				return err
			}
			_, err = s.Recv()
			return err
		},
		"bad filter": func() error { _, err := open(a, "a\x00b", ""); return err },
	} {
		t.Run(name, func(t *testing.T) { wantReason(t, try(), codes.InvalidArgument, "") })
	}
	_, err = open(b, "Kenya", token)
	wantReason(t, err, codes.OutOfRange, rpcerr.ReasonOtherHistory)
	_, err = open(short, "Kenya", token)
	wantReason(t, err, codes.OutOfRange, rpcerr.ReasonOtherHistory)
	writeProjects(t, short.store, 40, "b") // now its offset is inside a transaction
	_, err = open(short, "Kenya", token)
	wantReason(t, err, codes.OutOfRange, rpcerr.ReasonOtherHistory)
}

package daemon

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/rpc/rpcerr"
	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// getRows answers by the Get call of a view.
func (w *watchWorld) getRows(t *testing.T, view change.View, filter string, at uint64, when string, opts ...grpc.CallOption) (rows, error) {
	t.Helper()
	out := rows{}
	switch view {
	case change.ViewProjects:
		r, err := w.client.GetProjects(t.Context(), &pb.ProjectQuery{Country: filter, AsOfOffset: at, AsOfTime: when}, opts...)
		for _, it := range r.GetItems() {
			out[it.ProjectId] = encodeRow(it)
		}
		return out, err
	case change.ViewNews:
		r, err := w.client.GetNews(t.Context(), &pb.NewsQuery{Source: filter, AsOfOffset: at, AsOfTime: when}, opts...)
		for _, it := range r.GetItems() {
			out[it.Guid] = encodeRow(it)
		}
		return out, err
	}
	r, err := w.client.GetFinanceData(t.Context(), &pb.FinanceQuery{Ticker: filter, AsOfOffset: at, AsOfTime: when}, opts...)
	for _, it := range r.GetItems() {
		out[it.Ticker] = encodeRow(it)
	}
	return out, err
}

// TestAsOf asks for random offsets, ends of transactions or not, and for times:
// the answer is what the model was at the last end of a transaction before, and
// the headers say which that is.
func TestAsOf(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	w, _ := newWatchWorld(t, seed, store.Options{SegmentBytes: 32 << 10}, rpc.Options{})
	type end struct {
		lsn  change.LSN
		time time.Time
	}
	ends := map[change.Offset]end{}
	for range 500 {
		txn := w.src.Next()
		before := w.store.Position().Offset
		w.apply(storetest.Split(txn, 1+rng.IntN(3))...)
		if at := w.store.Position().Offset; at != before { // else it changed nothing
			ends[at] = end{txn.EndLSN, txn.CommitTime}
		}
	}
	newest := w.store.Position().Offset
	keys := slices.Sorted(maps.Keys(ends))
	views := []watcher{
		{view: change.ViewProjects},
		{view: change.ViewProjects, filter: "Brazil"},
		{view: change.ViewNews},
		{view: change.ViewNews, filter: "BBC"},
		{view: change.ViewFinance},
		{view: change.ViewFinance, filter: "A"},
	}
	for range 150 {
		at, when := change.Offset(1+rng.Uint64N(uint64(newest))), ""
		ask := uint64(at)
		if rng.IntN(3) == 0 { // by the time of a transaction, which is as of its end
			at = keys[rng.IntN(len(keys))]
			ask, when = 0, ends[at].time.Format(time.RFC3339Nano)
		}
		for at > 0 && ends[at].lsn == 0 {
			at--
		}
		v := views[rng.IntN(len(views))]
		var h metadata.MD
		got, err := w.getRows(t, v.view, v.filter, ask, when, grpc.Header(&h))
		if err != nil {
			t.Fatalf("as of %d%s: %v", ask, when, err)
		}
		if want := modelRows(w.at(at), v.view, v.filter); !maps.Equal(got, want) {
			t.Fatalf("%s as of %d%s: %d rows, not those of offset %d, which are %d", v.key(), ask, when, len(got), at, len(want))
		}
		want := map[string]string{
			rpc.HeaderOffset: strconv.FormatUint(uint64(at), 10),
			rpc.HeaderCache:  "bypass",
		}
		if at != newest && at > 0 {
			want[rpc.HeaderLSN] = ends[at].lsn.String()
			want[rpc.HeaderCommitTime] = ends[at].time.Format(time.RFC3339Nano)
		}
		for k, x := range want {
			if !slices.Equal(h.Get(k), []string{x}) {
				t.Fatalf("as of %d%s: header %s is %q, want %q", ask, when, k, h.Get(k), x)
			}
		}
	}
}

// TestAsOfPages: all pages are of the version of the first, and a token works
// with its as_of alone.
func TestAsOfPages(t *testing.T) {
	w, _ := newWatchWorld(t, 5, store.Options{}, rpc.Options{})
	writeProjects(t, w.store, 10, "old")
	now := time.Now().UTC().Format(time.RFC3339Nano)
	first := uint64(w.store.Position().Offset)
	get := func(q *pb.ProjectQuery) (*pb.ProjectResponse, error) { return w.client.GetProjects(t.Context(), q) }
	for name, q := range map[string]*pb.ProjectQuery{"offset": {AsOfOffset: first, PageSize: 3}, "time": {AsOfTime: now, PageSize: 3}} {
		t.Run(name, func(t *testing.T) {
			var items []*pb.ProjectItem
			for page := 0; ; page++ {
				r, err := get(q)
				if err != nil {
					t.Fatal(err)
				}
				items = append(items, r.Items...)
				writeProjects(t, w.store, 12+page, "new "+name) // commits go on
				if q.PageToken = r.NextPageToken; q.PageToken == "" {
					break
				}
				if page > 0 {
					continue
				}
				for other, bad := range map[string]*pb.ProjectQuery{
					"now":         {PageToken: q.PageToken},
					"other as of": {PageToken: q.PageToken, AsOfOffset: first - 1},
					"filter":      {PageToken: q.PageToken, AsOfOffset: q.AsOfOffset, AsOfTime: q.AsOfTime, Country: "Kenya"},
				} {
					if _, err := get(bad); statusCode(err) != codes.InvalidArgument {
						t.Errorf("a token of %s with %s: %v", name, other, err)
					}
				}
			}
			if len(items) != 10 {
				t.Fatalf("%d projects, want 10", len(items))
			}
			for _, it := range items {
				if it.ProjectName != "old" {
					t.Errorf("%v is not of then", it)
				}
			}
		})
	}
	r, err := get(&pb.ProjectQuery{PageSize: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := get(&pb.ProjectQuery{PageToken: r.NextPageToken, AsOfOffset: first}); statusCode(err) != codes.InvalidArgument {
		t.Errorf("a token of now with as_of_offset: %v", err)
	}
}

func statusCode(err error) codes.Code {
	c, _ := statusReason(err)
	return c
}

func TestAsOfRefused(t *testing.T) {
	w, _ := newWatchWorld(t, 5, store.Options{}, rpc.Options{})
	writeProjects(t, w.store, 10, "x")
	for name, tc := range map[string]struct {
		q    *pb.ProjectQuery
		sql  bool
		code codes.Code
		why  string
	}{
		"both":       {q: &pb.ProjectQuery{AsOfOffset: 1, AsOfTime: "2024-01-01T00:00:00Z"}, code: codes.InvalidArgument},
		"no time":    {q: &pb.ProjectQuery{AsOfTime: "yesterday"}, code: codes.InvalidArgument},
		"future":     {q: &pb.ProjectQuery{AsOfTime: "2999-01-01T00:00:00Z"}, code: codes.OutOfRange, why: rpcerr.ReasonFuture},
		"ahead":      {q: &pb.ProjectQuery{AsOfOffset: 11}, code: codes.OutOfRange, why: rpcerr.ReasonFuture},
		"far ahead":  {q: &pb.ProjectQuery{AsOfOffset: 1<<64 - 1}, code: codes.OutOfRange, why: rpcerr.ReasonFuture},
		"sql offset": {q: &pb.ProjectQuery{AsOfOffset: 1}, sql: true, code: codes.InvalidArgument},
		"sql time":   {q: &pb.ProjectQuery{AsOfTime: "2024-01-01T00:00:00Z"}, sql: true, code: codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			call := w.client.GetProjects
			if tc.sql {
				call = w.client.GetNonStreamingProjects
			}
			_, err := call(t.Context(), tc.q)
			wantReason(t, err, tc.code, tc.why)
		})
	}
}

// heldPast does not answer for the past before hold is closed.
type heldPast struct {
	store.Past
	asked chan struct{} // one for each question
	hold  chan struct{}
}

// AsOf implements rpc.History.
func (p heldPast) AsOf(ctx context.Context, at change.Offset, of change.Selection, near change.ViewSnapshot) (change.ViewSnapshot, error) {
	p.asked <- struct{}{}
	<-p.hold
	return p.Past.AsOf(ctx, at, of, near)
}

// TestResumeBesideAsOf: however many ask for the past, a watcher comes back.
func TestResumeBesideAsOf(t *testing.T) {
	s, err := store.Open(t.TempDir(), store.Options{NoSync: true, First: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	past := heldPast{s.Past(), make(chan struct{}, 100), make(chan struct{})}
	release := sync.OnceFunc(func() { close(past.hold) })
	client, _, _, _ := serveStore(t, s, rpc.Options{History: past, WatchRingBytes: 1 << 10})
	defer release()
	src := storetest.NewSource(1)
	apply := func(n int) {
		for range n {
			if err := s.Apply(t.Context(), []change.Txn{src.Next()}); err != nil {
				t.Fatal(err)
			}
		}
	}
	token := func(q *pb.WatchFinanceDataRequest) string {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		w, err := client.WatchFinanceData(ctx, q)
		for err == nil {
			var m *pb.WatchFinanceDataResponse
			if m, err = w.Recv(); m.GetHead().GetResumeToken() != "" {
				return m.Head.ResumeToken
			}
		}
		t.Fatalf("watch %v: %v", q, err)
		return ""
	}
	apply(50)
	first := token(&pb.WatchFinanceDataRequest{})
	apply(200) // behind the ring
	var calls sync.WaitGroup
	for range 30 {
		calls.Go(func() {
			if _, err := client.GetFinanceData(t.Context(), &pb.FinanceQuery{AsOfOffset: 10}); err != nil {
				t.Error(err)
			}
		})
	}
	<-past.asked
	token(&pb.WatchFinanceDataRequest{ResumeToken: first})
	release()
	calls.Wait()
}

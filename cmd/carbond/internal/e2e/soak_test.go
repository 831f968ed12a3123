package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbond/cmd/carbond/internal/programtest"
	pb "carbond/proto/carbon"
	"carbond/replicate/pgtest"
)

// soakEvery and soakBatch make 200 changes a second.
const (
	soakEvery = 50 * time.Millisecond
	soakBatch = 10
	// soakLog and soakSegment bound the changelog, and with it the disk. A client on a
	// busy machine may be a minute behind.
	soakLog     = 32 << 20
	soakSegment = 2 << 20
)

// TestSoak changes rows at a steady rate, while watchers and consumer groups come,
// stay and go, and wants what the process holds to stay flat: the middle of the
// second half of the samples is that of the first.
func TestSoak(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	length := *soakFlag
	if testing.Short() {
		length = min(length, 5*time.Second)
	}
	url := pgtest.Start(t, "log_min_messages=warning").Database(t)
	dir := filepath.Join(t.TempDir(), "data")
	env := []string{
		"CARBOND_DATA_DIR=" + dir, "CARBOND_POSTGRES_URL=" + url, "CARBOND_STORE_COMPRESS=true",
		fmt.Sprint("CARBOND_STORE_SEGMENT_BYTES=", soakSegment), fmt.Sprint("CARBOND_RETENTION_BYTES=", soakLog),
	}
	program.Must(t, env, "migrate")
	d := serve(t, env)
	s := &soak{t: t, daemon: d, api: pb.NewCarbonServiceClient(d.Dial(t)), log: pb.NewChangelogServiceClient(d.Dial(t))}
	ctx, cancel := context.WithCancel(t.Context())
	full := make(chan struct{})
	s.run(ctx, func(ctx context.Context) error { return s.write(ctx, url, full) })
	defer s.done.Wait()
	defer cancel()
	programtest.Until(t, 5*time.Minute, "segment that retention drops", func() bool {
		return t.Failed() || s.metric(ctx, "carbond_changelog_segments_unlinked_total") > 0
	})
	close(full)
	programtest.Until(t, time.Minute, "end of what retention has to drop", func() bool {
		return t.Failed() || s.metric(ctx, "carbond_changelog_size_bytes") <= soakLog
	})
	s.clients(ctx)

	samples := s.sample(ctx, dir, length)
	cancel()
	s.done.Wait()
	t.Logf("%d changes, %d records consumed, %d deltas and %d streams watched", s.changes.Load(), s.records.Load(), s.deltas.Load(), s.streams.Load())
	for what, n := range map[string]*atomic.Int64{"changes": &s.changes, "records": &s.records, "deltas": &s.deltas} {
		if n.Load() == 0 {
			t.Errorf("no %s", what)
		}
	}
	flat(t, samples)
	out := program.Must(t, env, "verify", "--addr", d.GRPC)
	d.stop(t)
	t.Logf("%s%s", out, program.Must(t, env, "fsck"))
}

// soak is a daemon with its clients.
type soak struct {
	t      *testing.T
	daemon *daemon
	api    pb.CarbonServiceClient
	log    pb.ChangelogServiceClient
	done   sync.WaitGroup

	changes, records, deltas, streams atomic.Int64
}

// run runs f, which returns when ctx ends, and at no other time.
func (s *soak) run(ctx context.Context, f func(context.Context) error) {
	s.done.Go(func() {
		if err := f(ctx); ctx.Err() == nil {
			s.t.Errorf("a client ended: %v", err)
		}
	})
}

// again runs f again and again, each time for a moment of its own.
func (s *soak) again(ctx context.Context, f func(context.Context) error) {
	s.run(ctx, func(ctx context.Context) error {
		for {
			round, cancel := context.WithCancel(ctx) // no deadline: the daemon is not to know
			time.AfterFunc(100*time.Millisecond+rand.N(2*time.Second), cancel)
			err := f(round)
			over := round.Err() != nil
			cancel()
			// The call of a round that is over may arrive after that of the next, and fence it.
			if fenced := status.Code(err) == codes.FailedPrecondition || status.Code(err) == codes.Aborted; !over && !fenced || ctx.Err() != nil {
				return err
			}
			s.streams.Add(1)
		}
	})
}

// write changes a bounded set of rows: as fast as it can until the changelog is
// full, and then at the rate of the soak.
func (s *soak) write(ctx context.Context, url string, full <-chan struct{}) error {
	conn, err := connectDirect(ctx, url, "e2e soak")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	r := rand.New(rand.NewPCG(1, 2))
	tick := time.NewTicker(soakEvery)
	defer tick.Stop()
	for {
		var batch []string
		for range soakBatch {
			batch = append(batch, soakChange(r))
		}
		if _, err := conn.Exec(ctx, strings.Join(batch, ";")); err != nil {
			return err
		}
		s.changes.Add(soakBatch)
		select {
		case <-ctx.Done():
			return nil
		case <-full:
		default:
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// soakChange is one change that never fails. The rows are as many after an hour as
// after a minute, and some are long.
func soakChange(r *rand.Rand) string {
	n := r.IntN(500)
	long := strings.Repeat(fmt.Sprintf("%08x", r.Uint32()), r.IntN(100))
	switch r.IntN(8) {
	case 0:
		return fmt.Sprintf("DELETE FROM carbonmark WHERE id = 'c%d'", n)
	case 1:
		return fmt.Sprintf("UPDATE verra SET project_summary = (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, %d)) WHERE project_id = 'VCS-%d'", r.IntN(200), n)
	case 2, 3:
		return fmt.Sprintf("INSERT INTO finance(ticker, price, volume, timestamp) VALUES ('T%d', %g, %d, %d) ON CONFLICT (ticker, timestamp) DO UPDATE SET price = excluded.price", n%20, r.NormFloat64(), r.Int32(), n)
	case 4:
		return fmt.Sprintf("INSERT INTO news(guid, title, summary, source, published_at) VALUES ('g%d', 'title %d', '%s', 'S%d', now()) ON CONFLICT (guid) DO UPDATE SET title = excluded.title, published_at = excluded.published_at", n, r.Int32(), long, n%5)
	case 5:
		return fmt.Sprintf("INSERT INTO carbonmark(id, project_id, project_name, updated_at) VALUES ('c%d', 'VCS-%d', 'name %d', now()) ON CONFLICT (id) DO UPDATE SET project_name = excluded.project_name", n, r.IntN(500), r.Int32())
	}
	return fmt.Sprintf("INSERT INTO verra(project_id, project_name, country, supply, project_summary, updated_at) VALUES ('VCS-%d', 'project %d', 'C%d', %d, '%s', now()) ON CONFLICT (project_id) DO UPDATE SET supply = excluded.supply, updated_at = excluded.updated_at", n, n, n%9, r.IntN(1e6), long)
}

// clients starts watchers and groups that stay, some that come and go, and callers.
func (s *soak) clients(ctx context.Context) {
	s.run(ctx, s.watchProjects)
	s.run(ctx, s.watchNews)
	s.run(ctx, s.watchFinance)
	s.run(ctx, func(ctx context.Context) error { return s.consume(ctx, "steady", "one") })
	for i := range 2 {
		s.again(ctx, s.watchProjects)
		s.again(ctx, s.watchNews)
		s.again(ctx, func(ctx context.Context) error {
			return s.consume(ctx, fmt.Sprint("restless", i), fmt.Sprint(rand.Uint32()))
		})
	}
	s.run(ctx, func(ctx context.Context) error {
		for pause(ctx, 100*time.Millisecond) {
			if _, err := s.api.GetProjects(ctx, &pb.ProjectQuery{Country: fmt.Sprint("C", rand.IntN(9))}); err != nil {
				return err
			}
			if _, err := s.api.GetNonStreamingNews(ctx, &pb.NewsQuery{PageSize: 10}); err != nil {
				return err
			}
			for _, path := range []string{"/", "/status.json", "/readyz"} {
				if _, err := s.daemon.get(ctx, path); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (s *soak) watchProjects(ctx context.Context) error {
	stream, err := s.api.WatchProjects(ctx, &pb.WatchProjectsRequest{})
	for err == nil {
		var m *pb.WatchProjectsResponse
		m, err = stream.Recv()
		s.deltas.Add(int64(len(m.GetDeltas())))
	}
	return err
}

func (s *soak) watchNews(ctx context.Context) error {
	stream, err := s.api.WatchNews(ctx, &pb.WatchNewsRequest{Source: "S1"})
	for err == nil {
		var m *pb.WatchNewsResponse
		m, err = stream.Recv()
		s.deltas.Add(int64(len(m.GetDeltas())))
	}
	return err
}

func (s *soak) watchFinance(ctx context.Context) error {
	stream, err := s.api.WatchFinanceData(ctx, &pb.WatchFinanceDataRequest{})
	for err == nil {
		var m *pb.WatchFinanceDataResponse
		m, err = stream.Recv()
		s.deltas.Add(int64(len(m.GetDeltas())))
	}
	return err
}

// consume is a member of a group, which commits what it has got.
func (s *soak) consume(ctx context.Context, group, member string) error {
	req := &pb.ConsumeRequest{Group: group, MemberId: member, Follow: true}
	stream, err := s.log.Consume(ctx, req)
	if err != nil {
		return err
	}
	var generation uint64
	for {
		m, err := stream.Recv()
		if status.Code(err) == codes.OutOfRange && req.Start == nil {
			// On a busy machine retention overtakes who begins with the oldest record.
			req.Start = &pb.ConsumeRequest_Latest{Latest: true}
			if stream, err = s.log.Consume(ctx, req); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		generation = max(generation, m.Generation)
		last := map[string]uint64{}
		for _, r := range m.Records {
			last[r.Topic] = r.Offset
		}
		for topic, offset := range last {
			if _, err := s.log.CommitOffset(ctx, &pb.CommitOffsetRequest{Group: group, Topic: topic, Offset: offset, Generation: generation, MemberId: member}); err != nil {
				return err
			}
		}
		s.records.Add(int64(len(m.Records)))
	}
}

// metric is the value of a metric of the daemon.
func (s *soak) metric(ctx context.Context, name string) float64 {
	s.t.Helper()
	b, err := s.daemon.get(ctx, "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	v, found := metricSum(string(b), name)
	if !found {
		s.t.Fatalf("there is no metric %s", name)
	}
	return v
}

// soakFigures are what has to stay flat, each with what it may rise by beside a
// tenth: the garbage of a collection, the streams of one moment, the next size of
// the checkpoint, which bbolt doubles.
func soakFigures() map[string]float64 {
	return map[string]float64{"bytes resident": 12 << 20, "goroutines": 12, "descriptors": 6, "bytes of the log": 2 * soakSegment, "bytes on disk": 8 << 20}
}

// sample notes the figures at 120 moments.
func (s *soak) sample(ctx context.Context, dir string, length time.Duration) map[string][]float64 {
	s.t.Helper()
	out := map[string][]float64{}
	add := func(what string, v float64) { out[what] = append(out[what], v) }
	proc := fmt.Sprintf("/proc/%d/", s.daemon.Cmd.Process.Pid)
	for n := range 120 {
		if !pause(ctx, length/120) || s.t.Failed() {
			break
		}
		text, err := os.ReadFile(proc + "status")
		if err != nil {
			s.t.Fatal(err)
		}
		var kB float64
		if _, rest, found := strings.Cut(string(text), "VmRSS:"); !found {
			s.t.Fatalf("no VmRSS in %s", text)
		} else if _, err := fmt.Sscan(rest, &kB); err != nil {
			s.t.Fatal(err)
		}
		add("bytes resident", kB*1024)
		fds, err := os.ReadDir(proc + "fd")
		if err != nil {
			s.t.Fatal(err)
		}
		add("descriptors", float64(len(fds)))
		add("goroutines", s.metric(ctx, "go_goroutines"))
		add("bytes of the log", sizeOf(s.t, filepath.Join(dir, "log")))
		add("bytes on disk", sizeOf(s.t, dir))
		if n%12 == 11 {
			line := fmt.Sprintf("%3d %%", (n+1)*100/120)
			for _, what := range slices.Sorted(maps.Keys(out)) {
				line += fmt.Sprintf("  %s %.0f", what, out[what][len(out[what])-1])
			}
			s.t.Log(line)
		}
	}
	return out
}

// sizeOf is the sum of the sizes of all files below dir, of which some may go
// meanwhile.
func sizeOf(t *testing.T, dir string) (sum float64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				sum += float64(info.Size())
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// flat compares the halves.
func flat(t *testing.T, samples map[string][]float64) {
	t.Helper()
	for what, slack := range soakFigures() {
		v := samples[what]
		if len(v) < 20 {
			t.Fatalf("%d samples of %s", len(v), what)
		}
		first, second := middle(v[:len(v)/2]), middle(v[len(v)/2:])
		t.Logf("%s: %.0f, then %.0f", what, first, second)
		if second > first*1.1+slack {
			t.Errorf("%s rose from %.0f to %.0f", what, first, second)
		}
	}
}

func middle(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

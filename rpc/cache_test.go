package rpc_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// TestHitReadsNothing: a hit asks the snapshot for no row, and everybody who
// misses at the same time shares one load.
func TestHitReadsNothing(t *testing.T) {
	d := sample()
	c, _ := serve(t, newReader(d), rpc.Options{})
	for range 5 {
		if _, err := c.GetProjects(t.Context(), &pb.ProjectQuery{Country: "Brazil"}); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.reads.Load(); n != 1 {
		t.Fatalf("rows were read %d times for five calls", n)
	}
}

// TestUnknownFilters: filters without rows do not drive out what is used.
func TestUnknownFilters(t *testing.T) {
	d := sample()
	c, _ := serve(t, newReader(d), rpc.Options{CacheMaxBytes: 64 << 10})
	get := func(country string) string {
		var h metadata.MD
		if _, err := c.GetProjects(t.Context(), &pb.ProjectQuery{Country: country}, grpc.Header(&h)); err != nil {
			t.Fatal(err)
		}
		return h.Get(rpc.HeaderCache)[0]
	}
	get("Brazil")
	for i := range 500 {
		get("nowhere " + fmt.Sprint(i))
		if _, err := c.GetProjectDetail(t.Context(), &pb.ProjectDetailQuery{ProjectId: fmt.Sprint("none", i)}); err == nil {
			t.Fatal("found")
		}
	}
	if h := get("Brazil"); h != "hit" {
		t.Fatalf("Brazil is a %s after unknown filters", h)
	}
}

func TestReplyTooLarge(t *testing.T) {
	d := &data{base: 1, projects: manyProjects(1000)}
	c, _ := serve(t, newReader(d), rpc.Options{MaxSendBytes: 20 << 10})
	_, err := c.GetProjects(t.Context(), new(pb.ProjectQuery))
	wantStatus(t, err, codes.ResourceExhausted, rpcerr.ReasonTooLarge)
	if ids, _ := pages(t, 100, projectPages(t, c, "", false)); len(ids) != 1000 {
		t.Fatalf("%d projects by pages", len(ids))
	}
}

// TestGzipReplies: a reply that is compressed once and sent to many is the reply of
// its version.
func TestGzipReplies(t *testing.T) {
	d := &data{base: 1, projects: manyProjects(1000)}
	r := newReader(d)
	c, _ := serve(t, r, rpc.Options{})
	for version := range 5 {
		next := *d
		next.base = change.Offset(version + 1)
		next.projects = slices.Clone(d.projects)
		next.projects[version].ProjectName = fmt.Sprint("name ", version)
		r.set(&next)
		for call := range 3 {
			got, err := c.GetProjects(t.Context(), new(pb.ProjectQuery), grpc.UseCompressor("gzip"))
			if err != nil {
				t.Fatal(version, call, err)
			}
			same(t, got, wantProjects(&next, ""))
		}
	}
}

func TestTTL(t *testing.T) {
	var now atomic.Int64
	d := sample()
	c, _ := serve(t, newReader(d), rpc.Options{CacheTTL: time.Minute, Now: func() time.Time { return time.Unix(now.Load(), 0) }})
	for i, want := range []int64{1, 1, 2, 2} {
		now.Store(int64(i) * 30) // 0, 30, 60, 90
		if _, err := c.GetNews(t.Context(), new(pb.NewsQuery)); err != nil {
			t.Fatal(err)
		}
		if n := d.reads.Load(); n != want {
			t.Fatalf("after %d s: %d loads, want %d", now.Load(), n, want)
		}
	}
}

// TestDetailNeverStale: a detail follows its own row, whatever the version of
// the view says.
func TestDetailNeverStale(t *testing.T) {
	d := sample()
	r := newReader(d)
	c, _ := serve(t, r, rpc.Options{})
	for i := range 5 {
		next := *d
		next.projects = slices.Clone(d.projects)
		next.projects[1].ProjectSummary = fmt.Sprint("summary ", i/2)
		r.set(&next)
		var h metadata.MD
		m, err := c.GetProjectDetail(t.Context(), &pb.ProjectDetailQuery{ProjectId: "ACR-1"}, grpc.Header(&h))
		if err != nil || m.Project.ProjectSummary != fmt.Sprint("summary ", i/2) {
			t.Fatalf("%v %v", m, err)
		}
		if want := []string{"miss", "hit"}[i%2]; h.Get(rpc.HeaderCache)[0] != want {
			t.Fatalf("call %d is a %s", i, h.Get(rpc.HeaderCache)[0])
		}
	}
}

// TestModel changes rows at random while clients ask, and holds every answer
// against the snapshot that its header names.
func TestModel(t *testing.T) {
	countries := []string{"Brazil", "Kenya", "India"}
	var mu sync.Mutex // guards history
	history := map[string]*data{}
	cur := &data{offset: 1, base: 1, versions: map[string]change.Offset{}}
	history["1"] = cur
	r := newReader(cur)
	c, _ := serve(t, r, rpc.Options{CacheMaxBytes: 16 << 10})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			for {
				select {
				case <-stop:
					return
				default:
				}
				f := append(countries, "")[rnd.IntN(4)]
				var h metadata.MD
				got, err := c.GetProjects(context.Background(), &pb.ProjectQuery{Country: f}, grpc.Header(&h))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				d := history[h.Get(rpc.HeaderOffset)[0]]
				mu.Unlock()
				same(t, got, wantProjects(d, f))
			}
		})
	}
	rnd := rand.New(rand.NewPCG(7, 7))
	for i := range 300 {
		next := *cur
		next.offset++
		next.projects = slices.Clone(cur.projects)
		next.versions = maps.Clone(cur.versions)
		touch := func(f string) { next.versions["projects:"+f] = next.offset }
		p := change.ProjectDetail{Project: change.Project{ProjectID: fmt.Sprint("P", rnd.IntN(20)), ProjectName: fmt.Sprint(i), Country: countries[rnd.IntN(3)]}}
		at, found := slices.BinarySearchFunc(next.projects, p, func(a, b change.ProjectDetail) int { return strings.Compare(a.ProjectID, b.ProjectID) })
		touch("")
		touch(p.Country)
		if found {
			touch(next.projects[at].Country)
			next.projects[at] = p
			if rnd.IntN(3) == 0 {
				next.projects = slices.Delete(next.projects, at, at+1)
			}
		} else {
			next.projects = slices.Insert(next.projects, at, p)
		}
		cur = &next
		mu.Lock()
		history[fmt.Sprint(cur.offset)] = cur
		mu.Unlock()
		r.set(cur)
		got, err := c.GetProjects(t.Context(), new(pb.ProjectQuery))
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, wantProjects(cur, ""))
	}
	close(stop)
	wg.Wait()
}

func TestMinLSN(t *testing.T) {
	at := func(ctx context.Context, lsn string) context.Context {
		return metadata.AppendToOutgoingContext(ctx, rpc.HeaderMinLSN, lsn)
	}
	t.Run("embedded", func(t *testing.T) {
		c, _ := serve(t, newReader(sample()), rpc.Options{})
		_, err := c.GetNews(at(t.Context(), "0/1"), new(pb.NewsQuery))
		wantStatus(t, err, codes.FailedPrecondition, rpcerr.ReasonEmbedded)
	})
	t.Run("reached", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newReader(&data{lsn: 0x100})
			c, _ := serve(t, r, rpc.Options{Pool: noSQL{}})
			if _, err := c.GetNews(at(t.Context(), "0/100"), new(pb.NewsQuery)); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(3*time.Second, func() {
				r.set(&data{lsn: 0x201, base: 1, news: []change.NewsItem{{GUID: "mine"}}})
			})
			got, err := c.GetNews(at(at(t.Context(), "0/101"), "0/200"), new(pb.NewsQuery))
			if err != nil || len(got.Items) != 1 {
				t.Fatalf("%v %v", got, err)
			}
		})
	})
	t.Run("not reached", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, _ := serve(t, newReader(&data{lsn: 0x100}), rpc.Options{Pool: noSQL{}, MinLSNWait: 4 * time.Second})
			for _, limit := range []time.Duration{time.Hour, time.Second} {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				begin := time.Now()
				_, err := c.GetNews(at(ctx, "0/101"), new(pb.NewsQuery))
				wantStatus(t, err, codes.Unavailable, rpcerr.ReasonMinLSN)
				if retryInfo(err) <= 0 {
					t.Error("no RetryInfo")
				}
				if d := time.Since(begin); d > min(limit, 4*time.Second) {
					t.Errorf("waited %v", d)
				}
				cancel()
			}
		})
	})
}

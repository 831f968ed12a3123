package web_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"carbond/store/change"
)

// processor is the time that the process has had so far.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (w *world) manyProjects(b *testing.B, n int) {
	b.Helper()
	statuses, methods := []string{"ACTIVE", "RETIRED", "ON_HOLD"}, []string{"VM0007", "VM0015", "ACM0002", "AMS-I.D", "VM0042"}
	for at := 0; at < n; {
		var rows [][]change.Value
		for ; len(rows) < 5000 && at < n; at++ {
			rows = append(rows, row(fmt.Sprintf("VCS-%07d", at), fmt.Sprintf("Rimba Lestari Forest Conservation No. %d", at), statuses[at%3], fmt.Sprint("Country ", at%80),
				fmt.Sprint(2005+at%20), fmt.Sprint(at%9999)+".5", methods[at%5]+fmt.Sprint(at%40)))
		}
		w.put(b, change.Verra, "project_id project_name registry_status country vintage supply methodology", rows...)
	}
}

// fetch reads a body into nothing, as fast as that goes.
func fetch(b *testing.B, c *http.Client, url, etag string) (status int, bytes int64) {
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", "identity")
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	resp, err := c.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	return resp.StatusCode, n
}

// BenchmarkBesideNetHTTP is a list of 5,000 projects beside net/http that serves the same
// bytes, in turns, by the processor time of both ends; ratio is theirs by ours. The last
// case is an answer of no bytes, for a client that has them.
func BenchmarkBesideNetHTTP(b *testing.B) {
	w := newWorld(b, setup{})
	w.manyProjects(b, 5000)
	for name, path := range map[string]string{"json": "/v1/projects", "csv": "/v1/projects?format=csv", "304": "/v1/projects"} {
		b.Run(name, func(b *testing.B) {
			a := w.get(b, path, "Accept-Encoding: identity")
			etag := ""
			if name == "304" {
				etag = a.header.Get("ETag")
			}
			bare := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
				out.Header().Set("Content-Type", a.header.Get("Content-Type"))
				if etag != "" && r.Header.Get("If-None-Match") == etag {
					out.WriteHeader(http.StatusNotModified)
					return
				}
				http.ServeContent(out, r, "", time.Time{}, strings.NewReader(a.body))
			}))
			defer bare.Close()
			var own, other time.Duration
			for b.Loop() {
				for _, side := range []struct {
					url  string
					cost *time.Duration
				}{{w.http.URL + path, &own}, {bare.URL, &other}} {
					began := processor()
					for range 20 {
						if status, n := fetch(b, bare.Client(), side.url, etag); etag == "" && int(n) != len(a.body) || etag != "" && status != http.StatusNotModified {
							b.Fatalf("%s: %d, %d bytes of %d", side.url, status, n, len(a.body))
						}
					}
					*side.cost += processor() - began
				}
			}
			b.ReportMetric(float64(own.Microseconds())/float64(20*b.N), "cpu-us/answer")
			b.ReportMetric(float64(other)/float64(own), "ratio")
			b.ReportMetric(float64(len(a.body)), "bytes")
		})
	}
}

// BenchmarkLarge is what questions cost beside a million projects: those that no index
// answers read each row. Each question differs, so that no reply is kept of it.
func BenchmarkLarge(b *testing.B) {
	w := newWorld(b, setup{})
	w.manyProjects(b, 1_000_000)
	for name, path := range map[string]string{
		"country":           "/v1/projects?country=Country+7&page_size=100",
		"status":            "/v1/projects?status=ON_HOLD&page_size=100",
		"methodology":       "/v1/projects?methodology=VM00071&page_size=100",
		"methodology, none": "/v1/projects?methodology=none&page_size=100",
		"vintage":           "/v1/projects?vintage_min=2024&page_size=100",
		"words":             "/v1/projects?q=9999+forest&page_size=100",
		"words, none":       "/v1/projects?q=nowhere&page_size=100",
		"order":             "/v1/projects?order=-supply&page_size=100",
		"all of status":     "/v1/projects?status=ON_HOLD&format=csv",
		"totals":            "/v1/totals?by=country",
		"detail":            "/v1/projects/VCS-0500000",
	} {
		b.Run(name, func(b *testing.B) {
			var cost time.Duration
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			n := int64(0)
			for b.Loop() {
				began := processor()
				status, size := fetch(b, w.http.Client(), w.http.URL+path+"#", "")
				if status != http.StatusOK {
					b.Fatalf("%s: %d", path, status)
				}
				cost += processor() - began
				n = size
				b.StopTimer()
				w.put(b, change.Verra, "project_id supply", row("VCS-0000000", fmt.Sprint(time.Now().UnixNano()%1e9)))
				b.StartTimer()
			}
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(cost.Microseconds())/1000/float64(b.N), "cpu-ms/answer")
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N)/1e6, "MB/answer")
			b.ReportMetric(float64(n), "bytes")
		})
	}
}

// BenchmarkEventSources is a thousand clients of one stream of events: memory of both
// ends for each, and how long after a commit the last of them has it.
func BenchmarkEventSources(b *testing.B) {
	const clients = 1000
	w := newWorld(b, setup{})
	w.put(b, change.Verra, "project_id supply", row("P", "0"))
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapInuse + m.StackInuse)
	}
	before := heap()
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	var wg sync.WaitGroup
	arrived := make(chan time.Time, clients)
	bodies := make([]io.Closer, clients)
	for i := range clients {
		r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, w.http.URL+"/v1/projects/watch", nil)
		if err != nil {
			b.Fatal(err)
		}
		resp, err := (&http.Client{Transport: transport}).Do(r)
		if err != nil || resp.StatusCode != http.StatusOK {
			b.Fatalf("client %d: %v %v", i, resp, err)
		}
		bodies[i] = resp.Body
		wg.Go(func() {
			buf := make([]byte, 4096)
			for {
				n, err := resp.Body.Read(buf)
				if bytes.Contains(buf[:n], []byte("MARK")) {
					arrived <- time.Now()
				}
				if err != nil {
					return
				}
			}
		})
	}
	held := (heap() - before) / clients / 1000
	var late []time.Duration
	for b.Loop() {
		w.put(b, change.Verra, "project_id project_name supply", row("P", fmt.Sprint("MARK ", len(late)), "1"))
		began := time.Now()
		for range clients {
			late = append(late, (<-arrived).Sub(began))
		}
	}
	for _, c := range bodies {
		c.Close()
	}
	wg.Wait()
	slices.Sort(late)
	b.ReportMetric(held, "kB/client") // the loop forgets what was reported before it
	b.ReportMetric(float64(late[len(late)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}

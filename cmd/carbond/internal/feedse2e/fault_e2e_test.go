package feedse2e_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/programtest"
	"carbond/feeds/sample"
	"carbond/replicate/pgtest"
)

// reply answers every request the same way.
func reply(t testing.TB, status int, contentType, file string, headers ...string) http.Handler {
	body := ""
	if file != "" {
		body = string(fixture(t, file))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// switched answers every request with a fault of the sample upstreams.
func switched(f sample.Fault) http.Handler {
	w := sample.New(sample.Options{})
	w.Misbehave("", f)
	return w.Handler()
}

// same is one handler for all upstreams.
func same(h http.Handler) [4]http.Handler { return [4]http.Handler{h, h, h, h} }

// cutFeed sends a news feed that ends inside its first item; the items before a
// cut are read.
func cutFeed() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		_, _ = io.WriteString(w, `<?xml version="1.0"?><rss version="2.0"><channel><title>News</title><item><title>Carbon mark`)
	})
}

// broken breaks the connection in the middle of an answer.
func broken() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "100000")
		_, _ = io.WriteString(w, `{"entities":[{"id":`)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
}

// bomb sends gzip that unpacks to 2 GiB of white space: one member over and
// over, so that making it costs less than reading it.
func bomb(t testing.TB) http.Handler {
	const size = 16 << 20
	var member bytes.Buffer
	z := gzip.NewWriter(&member)
	if _, err := z.Write(bytes.Repeat([]byte(" "), size)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		for n := 0; n < 2<<30; n += size {
			if _, err := w.Write(member.Bytes()); err != nil {
				return // the client has enough
			}
		}
	})
}

// fault is one way in which all upstreams misbehave at once.
type fault struct {
	name string
	bad  [4]http.Handler // verra, carbonmark, finance, news
	want [4]string       // results in the metrics
	text string          // in what `carbond feeds` prints, one of them at least
}

func faults(t testing.TB) []fault {
	limited := func(file string) http.Handler {
		body := string(fixture(t, file))
		if _, after, ok := strings.Cut(body, "\n\n"); ok {
			body = after
		}
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, body)
		})
	}
	return []fault{
		{"truncated", [4]http.Handler{
			reply(t, 200, "application/json", "verra/testdata/truncated.json"), reply(t, 200, "application/json", "carbonmark/testdata/truncated.json"),
			reply(t, 200, "application/json", "finance/testdata/yahoo/truncated.json"), cutFeed(),
		}, [4]string{"truncated", "truncated", "truncated", "truncated"}, "ends in the middle|cut off|truncated"},
		{"connection breaks", same(broken()), [4]string{"truncated", "truncated", "truncated", "truncated"}, "unexpected EOF"},
		{"429 with Retry-After", [4]http.Handler{
			limited("verra/testdata/error_429.http"), limited("carbonmark/testdata/error_429.http"),
			limited("finance/testdata/yahoo/error_429.http"), limited("news/testdata/news/http_429_seconds.http"),
		}, [4]string{"rate_limited", "rate_limited", "rate_limited", "rate_limited"}, "HTTP 429|the host is paused"},
		{"web page", [4]http.Handler{
			reply(t, 200, "text/html", "verra/testdata/html_200_shell.html"), reply(t, 200, "text/html", "carbonmark/testdata/html_200_instead_of_json.html"),
			reply(t, 200, "text/html", "verra/testdata/html_200_shell.html"), reply(t, 200, "text/html", "news/testdata/news/html_instead.html"),
		}, [4]string{"html", "html", "html", "html"}, "web page|HTML"},
		{"no entities at all", [4]http.Handler{
			reply(t, 200, "application/json", "verra/testdata/wrong_standardid_200.json"), reply(t, 200, "application/json", "carbonmark/testdata/v20_carbonProjects_empty.json"),
			reply(t, 200, "application/json", "finance/testdata/yahoo/spark_result_null.json"), reply(t, 200, "application/xml", "news/testdata/news/empty_channel.xml"),
		}, [4]string{"empty", "shrunk", "empty", "shrunk"}, "empty|no ent|fewer"},
		{"server error that names somebody", same(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "ask "+planted, http.StatusInternalServerError)
		})), [4]string{"http_status", "http_status", "http_status", "http_status"}, "HTTP 500"},
		{"gzip bomb of 2 GiB", same(bomb(t)), [4]string{"too_large", "too_large", "too_large", "too_large"}, "larger than the limit"},
		{"stalled socket", same(switched(sample.Fault{Kind: sample.FaultStall})), [4]string{"timeout", "timeout", "timeout", "timeout"}, "deadline exceeded"},
		{
			"redirect into the private network", same(switched(sample.Fault{Kind: sample.FaultRedirect, Location: "http://169.254.169.254/latest/meta-data"})),
			[4]string{"blocked", "blocked", "blocked", "blocked"},
			"not https|not public",
		},
	}
}

// Whatever upstreams send, the rows stay, the error is told, the others go on
// and the daemon stays small.
func TestFaultsLeaveTheDataInPlace(t *testing.T) {
	t.Parallel()
	db, s := pgtest.Shared(t).Database(t), newStand(t)
	d := start(t, []string{
		"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "CARBOND_POSTGRES_URL=" + db,
		"CARBOND_CONFIG=" + configFile(t, s.config("  stale_after: 15m\n  timeout: "+requestTimeout()+"\n")),
	}, "serve")
	d.settled()
	served, offset, memory := d.read().text(), d.offset(), d.peak()
	names := [4]string{"verra", "carbonmark", "finance", "news/the-guardian"}
	for _, f := range faults(t) {
		t.Run(f.name, func(t *testing.T) {
			d := d.with(t)
			lists := d.failEach(names, s.all(), f)
			if !regexp.MustCompile(f.text).MatchString(lists) {
				t.Errorf("no %q in:\n%s", f.text, lists)
			}
			if now := d.read().text(); now != served {
				t.Errorf("the rows changed:\n%s", now)
			}
			if now := d.offset(); now != offset {
				t.Errorf("records %d to %d were written", offset, now)
			}
			if code, body := d.get("/readyz"); code != 200 {
				t.Errorf("not ready: %d %s", code, body)
			}
			for _, n := range names {
				programtest.Until(t, 2*time.Minute, n+" is well again", func() bool {
					f := d.feed(n)
					return f.Failures == 0 && f.LastError == ""
				})
			}
		})
	}
	if now := d.read().text(); now != served || d.offset() != offset {
		t.Errorf("after all faults: records %d to %d", offset, d.offset())
	}
	if grown := d.peak() - memory; grown > peakGrowth() {
		t.Errorf("the faults cost %d MiB at the peak", grown>>20)
	} else {
		t.Logf("resident at most %d MiB, %d MiB more than before the faults", d.peak()>>20, grown>>20)
	}
	d.Stop(t)
	if strings.Contains(d.Log.String(), planted) {
		t.Error("an address out of an error page was logged")
	}
}

// failEach lets every upstream misbehave until its feed has noticed, and returns
// what `carbond feeds` printed then.
func (d *daemon) failEach(names [4]string, upstreams []*upstream, f fault) (lists string) {
	d.t.Helper()
	before := [4]float64{}
	for i, n := range names {
		before[i] = d.polls(n, f.want[i])
	}
	for i, u := range upstreams {
		u.misbehave(f.bad[i])
	}
	noticed := [4]bool{}
	programtest.Until(d.t, patience, fmt.Sprintf("polls of %v with results %v", names, f.want), func() bool {
		for i, n := range names {
			if noticed[i] || d.polls(n, f.want[i]) == before[i] {
				continue
			}
			noticed[i] = true
			list := d.feedsCommand()
			if !regexp.MustCompile(`(?m)^` + n + ` +(failing|paused|polling) .*\d +[A-Za-z].*$`).MatchString(list) {
				d.t.Errorf("carbond feeds does not say that %s fails:\n%s", n, list)
			}
			if d.metric(`carbond_feed_consecutive_failures{feed="`+n+`"}`) < 1 || d.metric(`carbond_feed_backoff_seconds{feed="`+n+`"}`) <= 0 {
				d.t.Errorf("the metrics do not show the failure of %s", n)
			}
			lists += list
			upstreams[i].misbehave(nil)
			upstreams[i].CloseClientConnections()
		}
		return noticed == [4]bool{true, true, true, true}
	})
	return lists
}

// requestTimeout is short, for the stalled socket, but leaves time to unpack as
// much of a bomb as is allowed.
func requestTimeout() string {
	if underRace {
		return "12s"
	}
	return "3s"
}

// peakGrowth is what the faults may cost: the bodies of a dozen feeds at their
// limits of 4 to 8 MiB, the buffers that grew with them, the collector's slack.
func peakGrowth() int64 {
	if underRace {
		return 600 << 20
	}
	return 120 << 20
}

// peak is the most memory that the daemon had resident so far, in bytes.
func (d *daemon) peak() int64 {
	d.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.Cmd.Process.Pid))
	if err != nil {
		return 0 // not Linux
	}
	for l := range strings.SplitSeq(string(b), "\n") {
		if v, ok := strings.CutPrefix(l, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			if err != nil {
				d.t.Fatal(err)
			}
			return kib << 10
		}
	}
	return 0
}

// with is the daemon in the eyes of a part of its test.
func (d *daemon) with(t testing.TB) *daemon {
	return &daemon{Daemon: d.Daemon, t: t, api: d.api}
}

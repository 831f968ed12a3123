package feedse2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/programtest"
	"carbond/replicate/pgtest"
)

// many is a registry of numbered projects, made of the first one of a fixture.
type many struct {
	mu   sync.Mutex // guards list
	list []int
}

func (m *many) drop(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, p := range m.list {
		if p == n {
			m.list = append(m.list[:i:i], m.list[i+1:]...)
			return
		}
	}
}

func (m *many) cut(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = m.list[:n]
}

func (m *many) handler(t testing.TB) http.Handler {
	rest := registry(t)
	var page struct{ Entities []json.RawMessage }
	golden(t, "verra/testdata/projects_page_first.json", &page)
	var one map[string]any
	if err := json.Unmarshal(page.Entities[0], &one); err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path.Base(path.Dir(r.URL.Path)) != "project" {
			rest.ServeHTTP(w, r)
			return
		}
		start := readSearch(r).start
		m.mu.Lock()
		defer m.mu.Unlock()
		var b bytes.Buffer
		for _, n := range m.list[min(start, len(m.list)):] {
			one["id"], one["entityId"], one["projectId"], one["vcsProjectId"] = strconv.Itoa(n), n, n, strconv.Itoa(n)
			e, err := json.Marshal(one)
			if err != nil {
				t.Error(err)
			}
			b.Write(append(e, ','))
		}
		sendJSON(w, fmt.Appendf(nil, `{"entities":[%s],"totalEntities":%d,"start":%d,"limit":400,"first":false,"last":false}`,
			strings.TrimSuffix(b.String(), ","), len(m.list), start))
	})
}

// What must outlive the process does: the count of sweeps without a project, and
// the pause that an upstream asked for, even when the daemon is killed.
func TestRestartsKeepSweepsAndPauses(t *testing.T) {
	t.Parallel()
	m := &many{}
	for n := range 60 {
		m.list = append(m.list, 70001+n)
	}
	verra := newUpstream(t, m.handler(t))
	limit := newUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		http.Error(w, "slow down", http.StatusTooManyRequests)
	}))
	db := pgtest.Shared(t).Database(t)
	env := []string{
		"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "CARBOND_POSTGRES_URL=" + db,
		"CARBOND_CONFIG=" + configFile(t, fmt.Sprintf("feeds:\n  enabled: [verra, carbonmark]\n  interval: 1s\n  verra_url: %s\n  carbonmark_url: %s\n"+
			"  verra_link_prefix: https://registry.example.com/p?id=\n  verra_statuses: {LATE_TO_VERIFY: ON_HOLD}\n  verra_headers: {X-Test: configured}\n", verra.URL, limit.URL)),
	}
	d := start(t, env, "serve")
	programtest.Until(t, patience, "sixty projects", func() bool { return len(d.read().projects) == 60 })
	programtest.Until(t, patience, "the pause is told", func() bool { return strings.Contains(d.feed("carbonmark").LastError, "429") })
	if got := pgtest.Text(t, db, "SELECT registry_status, project_link FROM verra WHERE project_id = 'VCS-70007'"); fmt.Sprint(got[0]) != "[ON_HOLD https://registry.example.com/p?id=70007]" {
		t.Errorf("the configuration did not reach the row: %v", got)
	}
	if r := verra.requests("/publicReportPageSearch"); r[0].Header.Get("X-Test") != "configured" || r[0].Header.Get("Origin") != "" {
		t.Errorf("headers: %v", r[0].Header)
	}
	programtest.Until(t, patience, "the state is saved", func() bool { // at most every ten seconds
		s := readState(t, d.status().Data.Dir)
		return strings.Contains(fmt.Sprint(s["hosts"]), "until") && strings.Contains(fmt.Sprint(s["memory"]), "known:[70001 ")
	})
	d.Kill() // what was saved must do

	m.drop(70033)
	for sweep := 1; sweep <= 3; sweep++ {
		d = start(t, env, "serve")
		d.morePolls(1, "verra") // the first of a run is a sweep
		want := 60
		if sweep == 3 {
			want = 59
		}
		programtest.Until(t, patience, fmt.Sprintf("%d projects after sweep %d", want, sweep), func() bool { return len(d.read().projects) == want })
		d.morePolls(1, "verra")
		if n := len(d.read().projects); n != want {
			t.Fatalf("%d projects after %d sweeps without one, want %d", n, sweep, want)
		}
		f := d.feed("carbonmark")
		if n := len(limit.requests("")); n != 1 || f.NextDue == nil || time.Until(*f.NextDue) < 50*time.Minute || f.State == "ok" {
			t.Errorf("the pause was forgotten: %d requests, %+v", n, f)
		}
		d.Stop(t)
	}
	m.cut(40) // a third is gone at once: nobody believes that
	d = start(t, env, "serve")
	programtest.Until(t, patience, "the shrunk registry is refused", func() bool { return d.polls("verra", "shrunk") > 0 })
	if n := len(d.read().projects); n != 59 {
		t.Errorf("%d projects are left", n)
	}
	d.Stop(t)
}

// readState decodes the feeds' state file; empty while there is none.
func readState(t testing.TB, dir string) (state map[string]any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "feeds.json"))
	if err != nil {
		return nil
	}
	if err := json.Unmarshal(b, &state); err != nil {
		t.Fatalf("state file: %v", err)
	}
	return state
}

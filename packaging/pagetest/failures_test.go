package pagetest_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"
)

// postgres is a throw-away server.
type postgres struct {
	t    *testing.T
	dir  string
	port int
}

func newPostgres(t *testing.T) *postgres {
	t.Helper()
	dir, err := os.MkdirTemp("", "carbond-page-") // where another user can enter
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	p := &postgres{t, filepath.Join(dir, "pg"), freePort(t)}
	t.Cleanup(func() {
		p.stop()
		must(t, os.RemoveAll(dir))
	})
	if exec.Command("sh", "-c", `. ../postgres.sh; [ -n "$pg_bin" ]`).Run() != nil {
		absent(t, "Postgres is not installed")
	}
	p.start()
	return p
}

// freePort is a port that nobody has at this moment.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (p *postgres) sh(script string) {
	p.t.Helper()
	if out, err := exec.Command("sh", "-c", "set -eu\n. ../postgres.sh\n"+script).CombinedOutput(); err != nil {
		p.t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

func (p *postgres) start() {
	p.t.Helper()
	p.sh(fmt.Sprintf("pg_start '%s' postgres %d -c fsync=off", p.dir, p.port))
}

func (p *postgres) stop() {
	p.t.Helper()
	p.sh(fmt.Sprintf("pg_dir='%s'; pg_stop", p.dir))
}

func (p *postgres) url() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres", p.port)
}

func (p *postgres) exec(sql string) {
	p.t.Helper()
	p.sh(fmt.Sprintf("\"$pg_bin/psql\" -X -q -v ON_ERROR_STOP=1 '%s' <<'EOF'\n%s\nEOF", p.url(), sql))
}

// TestPostgresStopped: while Postgres is away the pages show what there is, say so, and turn
// red when that is too old. They go on by themselves.
func TestPostgresStopped(t *testing.T) {
	p := newPostgres(t)
	axe, ctx := axeCore(t), browser(t)
	d := start(t, []string{"serve"}, []string{"CARBOND_POSTGRES_URL=" + p.url(), "CARBOND_FEEDS_ENABLED=none", "CARBOND_LIMITS_LAG_SECONDS=4"})
	must(t, chromedp.Do(ctx, chromedp.Navigate(d.url), until(note("Live")), until("document.querySelector('#state .good') !== null")))
	p.exec("INSERT INTO verra(project_id, project_name, supply) VALUES ('VCS-1', 'The first of all', 1)")
	must(t, chromedp.Do(ctx, until("document.getElementById('figure-projects').textContent.startsWith('1 ')"), chromedp.Evaluate[chromedp.Void]("window.first = 1")))
	p.stop()
	must(t, chromedp.Do(ctx, until(shows("Ready, with warnings")), until(shows("Not connected to Postgres")), until(shows("carbond doctor")),
		until("document.querySelector('#state .bad') !== null && "+shows("Not ready")), until("document.title.includes('Not ready')"), until("first === 1")))
	look(t, ctx, axe)
	must(t, chromedp.Do(ctx, chromedp.Navigate(d.url+"projects"), until(shows("The first of all")), until(shows("Not ready")), until(note("Live")), chromedp.Evaluate[chromedp.Void]("window.first = 2")))
	look(t, ctx, axe)
	p.start()
	must(t, chromedp.Do(ctx, until("document.querySelector('#state .good') !== null"), until(shows("The first of all"))))
	p.exec("UPDATE verra SET project_name = 'Another name'; INSERT INTO verra(project_id, project_name) VALUES ('VCS-2', 'The second')")
	must(t, chromedp.Do(ctx, until(shows("Another name")), until(shows("Rows came or went")), press("Show"), until(shows("The second")), until("first === 2")))
}

// TestDiskFull: a full disk is told with what to do, rows stay, and it passes by itself.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=32m"); err != nil {
		absent(t, "a disk of our own cannot be mounted: "+err.Error())
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	axe, ctx := axeCore(t), browser(t)
	d := start(t, []string{"demo"}, []string{"TMPDIR=" + dir})
	filled(t, ctx, d.url)
	must(t, chromedp.Do(ctx, chromedp.Navigate(d.url+"pipeline"), until(note("Live")), chromedp.Evaluate[chromedp.Void]("window.first = 1")))
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	must(t, err)
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	must(t, chromedp.Do(ctx, until(shows("no space left")), until(shows("Free some space")), until("document.querySelector('#check .bad') !== null"), until("first === 1")))
	look(t, ctx, axe)
	must(t, chromedp.Do(ctx, chromedp.Navigate(d.url+"projects"), until(shows("ACR-90")), until(note("Live")), chromedp.Navigate(d.url), until(shows("Free some space")), until(note("Live"))))
	must(t, os.Remove(filler))
	must(t, f.Close())
	must(t, chromedp.Do(ctx, until("!"+shows("no space left"))))
	const offset = "Number(document.querySelector('#record th').textContent)"
	must(t, chromedp.Do(ctx, chromedp.Navigate(d.url+"changelog"), until(note("Live")), chromedp.Evaluate[chromedp.Void]("window.first = "+offset), until(offset+" > first")))
}

// TestKilled: a daemon that was killed is red in the place of its state, what stands there
// is grey but can be read, and one that comes back is live again at the same place.
func TestKilled(t *testing.T) {
	axe, ctx := axeCore(t), browser(t)
	dir, addr := t.TempDir(), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	run := func() *running {
		return start(t, []string{"demo", "--http-listen", addr}, []string{"TMPDIR=" + dir})
	}
	d := run()
	filled(t, ctx, d.url)
	must(t, chromedp.Do(ctx, chromedp.Navigate(d.url+"projects?country=Brazil"), until(note("Live")), until("document.querySelectorAll('#project tr').length > 0"), chromedp.Evaluate[chromedp.Void]("window.first = document.querySelectorAll('#project tr').length")))
	d.end(syscall.SIGKILL)
	for _, screen := range []string{"light", "dark"} {
		use(t, ctx, screen)
		must(t, chromedp.Do(ctx, until("/No answer from carbond for \\d+ s/.test(document.getElementById('state').textContent)"), until(note("old")),
			until("document.querySelector('#state .bad') !== null && document.title === 'carbond: no answer'"),
			until("document.querySelectorAll('#project tr').length === first"), until("getComputedStyle(document.body).borderTopColor === getComputedStyle(document.querySelector('#state .bad')).color")))
		look(t, ctx, axe)
	}
	run()
	arrive(t, ctx, note("Live")+" && window.first === undefined && location.search === '?country=Brazil' && document.querySelector('#state .bad') === null")
	arrive(t, ctx, "!document.documentElement.classList.contains('gone')")
}

// TestKeyboard: everything is reached and used without a pointer.
func TestKeyboard(t *testing.T) {
	ctx := browser(t)
	url := demo(t)
	focus := func() string {
		return get[string](t, ctx, "document.activeElement.textContent.trim() || document.activeElement.name || document.activeElement.localName")
	}
	tabTo := func(what string) {
		t.Helper()
		for range 60 {
			must(t, chromedp.Do(ctx, chromedp.KeyEvent("\t")))
			if focus() == what {
				if get[float64](t, ctx, "parseFloat(getComputedStyle(document.activeElement).outlineWidth)") < 1 {
					t.Errorf("nothing shows that %q has the focus", what)
				}
				return
			}
		}
		t.Fatalf("%q is not reached by the key Tab", what)
	}
	must(t, chromedp.Do(ctx, chromedp.Navigate(url+"projects"), until(note("Live"))))
	must(t, chromedp.Do(ctx, chromedp.KeyEvent("\t")))
	if got := focus(); got != "Skip to content" {
		t.Errorf("the first stop is %q", got)
	}
	tabTo("Prices")
	tabTo("q")
	must(t, chromedp.Do(ctx, chromedp.KeyEvent("forest\r")))
	arrive(t, ctx, "location.search.includes('q=forest') && document.querySelectorAll('#project tr').length > 0")
	tabTo("Supply")
	must(t, chromedp.Do(ctx, chromedp.KeyEvent("\r")))
	arrive(t, ctx, "location.search.includes('order=supply') && location.search.includes('q=forest')")
	tabTo(get[string](t, ctx, "document.querySelector('#project th').textContent"))
	must(t, chromedp.Do(ctx, chromedp.KeyEvent("\r")))
	arrive(t, ctx, "location.pathname.startsWith('/projects/') && "+shows("Registry status"))
	must(t, chromedp.Do(ctx, until(note("Live"))))
	tabTo("Pause")
	must(t, chromedp.Do(ctx, chromedp.KeyEvent(" "), until(note("Paused"))))
}

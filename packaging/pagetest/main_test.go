package pagetest_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// absent stops a test that cannot run here, which in CI is a failure.
func absent(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CARBOND_TEST_REQUIRE") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// The version of axe-core and what its file must be.
const (
	axeVersion = "4.14.1"
	axeSum     = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
)

// axeCore returns the script of axe-core, which npm brings.
func axeCore(t *testing.T) string {
	t.Helper()
	npm, err := exec.LookPath("npm")
	if err != nil {
		absent(t, "npm is not installed")
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), npm, "pack", "--silent", "axe-core@"+axeVersion)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm pack axe-core: %v\n%s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), "tar", "-C", dir, "-xzf", filepath.Join(dir, "axe-core-"+axeVersion+".tgz")).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "package", "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != axeSum {
		t.Fatalf("axe.min.js has the sum %x, not %s", sum, axeSum)
	}
	return string(b)
}

// shared is what tests use together: the browser, and a demo that they leave as it is.
var shared struct {
	browser context.Context
	demo    *running
	end     []func()
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, end := range slices.Backward(shared.end) {
		end()
	}
	os.Exit(code)
}

// browser opens a page with cookies of its own in the browser of all tests.
func browser(t *testing.T) context.Context {
	t.Helper()
	if shared.browser == nil {
		path := ""
		for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
			if p, err := exec.LookPath(name); err == nil {
				path = p
				break
			}
		}
		if path == "" {
			absent(t, "chromium is not installed")
		}
		dir, err := os.MkdirTemp("", "carbond-page-")
		must(t, err)
		ctx, cancel := chromedp.NewContext(context.Background(), chromedp.WithAllocatorOptions(chromedp.ExecPath(path), chromedp.UserDataDir(dir),
			chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
			chromedp.WSURLReadTimeout(2*time.Minute))) // a busy machine starts it slowly
		shared.end = append(shared.end, func() {
			_ = chromedp.Cancel(ctx) // waits for the browser, so that its folder can go
			cancel()
			_ = os.RemoveAll(dir)
		})
		must(t, chromedp.Do(ctx, chromedp.Navigate("about:blank")))
		shared.browser = ctx
	}
	ctx, cancel := context.WithTimeout(shared.browser, 5*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	t.Cleanup(func() {
		if t.Failed() {
			keep(ctx, strings.ReplaceAll(t.Name(), "/", " "))
		}
	})
	return ctx
}

// keep takes a picture of the page into the folder that CARBOND_ARTIFACTS names.
func keep(ctx context.Context, name string) {
	if dir := os.Getenv("CARBOND_ARTIFACTS"); dir != "" {
		if shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot()); err == nil {
			_ = os.WriteFile(filepath.Join(dir, name+".png"), shot, 0o644) // a failure is told already
		}
	}
}

// demo returns the address of the demo of all tests.
func demo(t *testing.T) string {
	t.Helper()
	if shared.demo == nil {
		d, err := launch(t, []string{"demo"}, nil)
		must(t, err)
		shared.demo = d
		shared.end = append(shared.end, func() { d.end(syscall.SIGTERM) })
	}
	return shared.demo.url
}

// running is a daemon and the address of its page.
type running struct {
	url  string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// start runs the program until its page has an address. What env and args say goes
// before what a test wants by default.
func start(t *testing.T, args, env []string) *running {
	t.Helper()
	d, err := launch(t, args, append([]string{"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data")}, env...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.end(syscall.SIGTERM) })
	return d
}

func launch(t *testing.T, args, env []string) (*running, error) {
	t.Helper()
	binary := os.Getenv("CARBOND_BINARY")
	if binary == "" {
		absent(t, "CARBOND_BINARY names no program")
	}
	d := &running{done: make(chan struct{})}
	d.cmd = exec.Command(binary, append([]string{args[0], "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--log-level", "info"}, args[1:]...)...)
	d.cmd.Env = append(append(os.Environ(), "CARBOND_LOG_FORMAT=text", "CARBOND_KAFKA_LISTEN=127.0.0.1:0"), env...)
	errs, err := d.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	up := make(chan string, 1)
	go func() {
		defer close(d.done)
		lines := bufio.NewScanner(errs)
		lines.Buffer(nil, 1<<20)
		address := regexp.MustCompile(`carbond is up.* http=(\S+)`)
		for lines.Scan() {
			if m := address.FindStringSubmatch(lines.Text()); m != nil {
				up <- m[1]
			}
		}
	}()
	select {
	case addr := <-up:
		d.url = fmt.Sprintf("http://%s/", addr)
		return d, nil
	case <-d.done:
		err = errors.New("the daemon ended early")
	case <-time.After(time.Minute):
		err = errors.New("the daemon does not come up")
	}
	d.end(syscall.SIGKILL)
	return nil, err
}

// end ends the daemon by a signal, once.
func (d *running) end(by syscall.Signal) {
	if d.cmd.ProcessState != nil {
		return
	}
	_ = d.cmd.Process.Signal(by)
	<-d.done
	_ = d.cmd.Wait()
}

package pagetest_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// browser opens a page in a browser of its own.
func browser(t *testing.T) context.Context {
	t.Helper()
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
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithAllocatorOptions(chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.WSURLReadTimeout(2*time.Minute))) // a busy machine starts it slowly
	t.Cleanup(cancel)
	t.Cleanup(func() { _ = chromedp.Cancel(ctx) }) // waits for the browser, so that its folder can go
	return ctx
}

// running is a daemon and the address of its page.
type running struct {
	url  string
	stop func()
}

func daemon(t *testing.T, args, env []string) string {
	t.Helper()
	return start(t, args, env).url
}

// start runs the program until its page has an address.
func start(t *testing.T, args, env []string) running {
	t.Helper()
	binary := os.Getenv("CARBOND_BINARY")
	if binary == "" {
		absent(t, "CARBOND_BINARY names no program")
	}
	cmd := exec.Command(binary, append(args, "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--log-level", "info")...)
	cmd.Env = append(os.Environ(), append(env, "CARBOND_DATA_DIR="+filepath.Join(t.TempDir(), "data"), "CARBOND_LOG_FORMAT=text")...)
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	up, done := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(errs)
		lines.Buffer(nil, 1<<20)
		address := regexp.MustCompile(`carbond is up.* http=(\S+)`)
		for lines.Scan() {
			if m := address.FindStringSubmatch(lines.Text()); m != nil {
				up <- m[1]
			}
		}
	}()
	stopped := false
	d := running{stop: func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-done
		_ = cmd.Wait()
	}}
	t.Cleanup(d.stop)
	select {
	case addr := <-up:
		d.url = fmt.Sprintf("http://%s/", addr)
	case <-done:
		t.Fatal("the daemon ended early")
	case <-time.After(time.Minute):
		t.Fatal("the daemon does not come up")
	}
	return d
}

package systemd_test

import (
	"net"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/systemd"
)

func TestMessages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	env := map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}
	n := systemd.New(func(k string) string { return env[k] }, 42)
	if n.Watchdog() != 30*time.Second {
		t.Error(n.Watchdog())
	}
	for name, tc := range map[string]struct {
		send func() error
		want string
	}{
		"ready":     {func() error { return n.Ready("serving\nall") }, "^READY=1\nSTATUS=serving all$"},
		"status":    {func() error { return n.Status("x") }, "^STATUS=x$"},
		"reloading": {n.Reloading, `^RELOADING=1\nMONOTONIC_USEC=\d+$`},
		"stopping":  {func() error { return n.Stopping("signal") }, "^STOPPING=1\nSTATUS=signal$"},
		"extend":    {func() error { return n.Extend(time.Minute, "replay") }, "^EXTEND_TIMEOUT_USEC=60000000\nSTATUS=replay$"},
		"alive":     {n.Alive, "^WATCHDOG=1$"},
	} {
		if err := tc.send(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		buf := make([]byte, 1024)
		k, err := l.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(buf[:k]); !regexp.MustCompile(tc.want).MatchString(got) {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestSilentWithoutManager(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"none":          {},
		"watchdog only": {"WATCHDOG_USEC": "1000000"},
		"other process": {"NOTIFY_SOCKET": "/nonexistent", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
	} {
		n := systemd.New(func(k string) string { return env[k] }, 42)
		if n.Watchdog() != 0 {
			t.Errorf("%s: watchdog %v", name, n.Watchdog())
		}
	}
	n := systemd.New(func(string) string { return "" }, 42)
	if err := n.Ready("x"); err != nil {
		t.Error(err)
	}
	var none *systemd.Notifier
	if err := none.Alive(); err != nil || none.Watchdog() != 0 {
		t.Error(err)
	}
	gone := systemd.New(func(k string) string { return map[string]string{"NOTIFY_SOCKET": "/nonexistent/s"}[k] }, 42)
	if err := gone.Ready("x"); err == nil {
		t.Error("a manager that is gone gives no error")
	}
}

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/programtest"
	"carbond/store/change"
)

// daemon is one run of `carbond serve`.
type daemon struct{ *programtest.Daemon }

// launch starts the daemon and does not wait for anything. It is killed with
// the test.
func launch(t testing.TB, env []string) *daemon {
	t.Helper()
	return &daemon{program.Daemon(t, env, "serve")}
}

// serve starts the daemon and waits until it answers.
func serve(t testing.TB, env []string) *daemon {
	t.Helper()
	d := launch(t, env)
	d.Await(t, "carbond is up")
	return d
}

// stop ends it as a service manager would, which waits for about 10 s.
func (d *daemon) stop(t testing.TB) {
	t.Helper()
	if took := d.Stop(t); took > 11*time.Second {
		t.Errorf("the daemon ended after %v:\n%s", took, d.Log.String())
	}
}

// get reads a path of the HTTP listener, which must answer 200.
func (d *daemon) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	code, b, err := d.Get(ctx, path)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", path, code, http.StatusText(code))
	}
	return b, err
}

// position is the durable position that the daemon reports, 0 when none.
func (d *daemon) position(ctx context.Context) (change.LSN, error) {
	b, err := d.get(ctx, "/status.json")
	if err != nil {
		return 0, err
	}
	var s struct {
		Position struct {
			LSN string `json:"lsn"`
		} `json:"position"`
	}
	if err := json.Unmarshal(b, &s); err != nil || s.Position.LSN == "" {
		return 0, err
	}
	return change.ParseLSN(s.Position.LSN)
}

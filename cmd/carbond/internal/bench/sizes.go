package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"carbond/store"
)

// The goals by number of projects: MB of memory, seconds of a start.
var (
	rssGoal   = map[int]float64{5_000: 40, 100_000: 120}
	startGoal = map[int]float64{100_000: 0.5, 1_000_000: 4}
)

// sizes starts the program over data of different sizes and measures the time
// to SERVING and the resident memory.
func sizes(ctx context.Context, o Options) ([]Figure, error) {
	var out []Figure
	var smallest, largest float64 // MB
	for i, n := range o.Sizes {
		dir := filepath.Join(o.Dir, "size-"+strconv.Itoa(n))
		if err := prepare(ctx, dir, n); err != nil {
			return out, err
		}
		start, rss, err := startAndMeasure(ctx, o, dir, "")
		if rmErr := os.RemoveAll(dir); err == nil {
			err = rmErr
		}
		if err != nil {
			return out, err
		}
		f := Figure{Name: fmt.Sprintf("start to SERVING with %d projects", n), Value: start.Seconds(), Unit: "s"}
		if goal, ok := startGoal[n]; ok {
			f = atMost(f.Name, f.Value, f.Unit, goal)
		}
		m := Figure{Name: fmt.Sprintf("memory (RSS) with %d projects", n), Value: rss, Unit: "MB"}
		if goal, ok := rssGoal[n]; ok {
			m = atMost(m.Name, m.Value, m.Unit, goal)
		}
		out = append(out, f, m)
		if largest = rss; i == 0 {
			smallest = rss
		}
	}
	if more := o.Sizes[len(o.Sizes)-1] - o.Sizes[0]; more > 0 {
		out = append(out, Figure{Name: "memory of one more project", Value: (largest - smallest) * 1e6 / float64(more), Unit: "bytes", Note: "a row of about 200 bytes"})
	}
	return out, nil
}

func prepare(ctx context.Context, dir string, n int) error {
	s, err := store.Open(dir, store.Options{NoSync: true})
	if err != nil {
		return err
	}
	err = fill(ctx, s, n, 47)
	return errors.Join(err, s.Close())
}

func startAndMeasure(ctx context.Context, o Options, dir, postgres string) (time.Duration, float64, error) {
	d, err := startDaemon(ctx, o, dir, postgres)
	if err != nil {
		return 0, 0, err
	}
	defer d.stop()
	took := d.serving
	rss, err := d.settled(ctx)
	return took, rss, err
}

// daemon is a running child.
type daemon struct {
	cmd     *exec.Cmd
	addr    string
	serving time.Duration // from its start to SERVING
	logs    *os.File
}

func startDaemon(ctx context.Context, o Options, dir, postgres string, env ...string) (*daemon, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	logs, err := os.Create(dir + ".log")
	if err != nil {
		return nil, err
	}
	d := &daemon{addr: addr, logs: logs}
	d.cmd = exec.CommandContext(ctx, o.Self, "serve")
	d.cmd.Env = append(os.Environ(),
		"CARBOND_DATA_DIR="+dir, "CARBOND_FEEDS_ENABLED=none", "CARBOND_POSTGRES_URL="+postgres,
		"CARBOND_GRPC_LISTEN="+addr, "CARBOND_HTTP_LISTEN=127.0.0.1:0", "CARBOND_LOG_LEVEL=warn")
	d.cmd.Env = append(d.cmd.Env, env...)
	d.cmd.Stdout, d.cmd.Stderr = logs, logs
	d.cmd.Cancel = func() error { return d.cmd.Process.Signal(syscall.SIGTERM) }
	d.cmd.WaitDelay = 15 * time.Second
	began := time.Now()
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	if err := waitServing(ctx, addr, 2*time.Minute); err != nil {
		d.stop()
		text, _ := os.ReadFile(logs.Name())
		return nil, fmt.Errorf("the daemon did not serve: %w\n%s", err, text)
	}
	d.serving = time.Since(began)
	return d, nil
}

// stop ends the child. It may be called again.
func (d *daemon) stop() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	_ = d.cmd.Wait()
	_ = d.logs.Close()
}

func waitServing(ctx context.Context, addr string, limit time.Duration) error {
	conn, err := dial(addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	health := grpc_health_v1.NewHealthClient(conn)
	conn.Connect()
	t := time.NewTicker(2 * time.Millisecond)
	defer t.Stop()
	for {
		r, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "carbon.CarbonService"})
		if err == nil && r.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING {
			return nil
		}
		conn.ResetConnectBackoff()
		select {
		case <-t.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// memory returns a field of /proc/PID/status, VmRSS or VmHWM, in MB (10^6 bytes).
func memory(pid int, field string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(v)[0], 64)
			return kb * 1024 / 1e6, err
		}
	}
	return 0, fmt.Errorf("no %s in /proc/%d/status", field, pid)
}

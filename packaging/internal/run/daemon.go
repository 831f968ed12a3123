package run

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// Daemon is a running carbond.
type Daemon struct {
	*Process
	HTTP string // base URL
	GRPC string // host:port
}

// StartDaemon runs `binary command` with ports of its own and env on top, and
// returns when it says it is alive. scheme is how its HTTP listener speaks.
func StartDaemon(ctx context.Context, scheme, binary, command, dir string, env ...string) (*Daemon, error) {
	var ports [2]string
	for i := range ports {
		p, err := port()
		if err != nil {
			return nil, err
		}
		ports[i] = p
	}
	d := &Daemon{HTTP: scheme + "://127.0.0.1:" + ports[0], GRPC: "127.0.0.1:" + ports[1]}
	env = append([]string{
		"HOME=" + dir, "TMPDIR=" + dir,
		"CARBOND_DATA_DIR=" + dir + "/data",
		"CARBOND_HTTP_LISTEN=127.0.0.1:" + ports[0],
		"CARBOND_GRPC_LISTEN=127.0.0.1:" + ports[1],
	}, env...)
	p, err := start(ctx, env, binary, command)
	if err != nil {
		return nil, err
	}
	d.Process = p
	err = p.Until(ctx, 30*time.Second, func(ctx context.Context) error {
		_, err := Get(ctx, d.HTTP+"/healthz")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start carbond %s: %w", command, err)
	}
	return d, nil
}

// Metrics is what a scrape sees.
func (d *Daemon) Metrics(ctx context.Context) ([]byte, error) { return Get(ctx, d.HTTP+"/metrics") }

// Tell runs a command of the program against the daemon, which must not use TLS.
func (d *Daemon) Tell(ctx context.Context, binary string, args ...string) error {
	cmd := exec.CommandContext(ctx, binary, append(args, "--addr", d.GRPC)...)
	cmd.Env = []string{"CARBOND_CONFIG=" + os.DevNull}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run carbond %v: %w: %.300s", args, err, out)
	}
	return nil
}

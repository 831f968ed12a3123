// Command carbond is an edge appliance for carbon-market data: it tails
// Postgres (or polls the feeds itself), keeps a changelog and three views of
// it, and serves them over gRPC.
//
// This package is the only one that knows more than one stage: it reads the
// configuration, builds the stages in flow order and stops them in numbered
// steps. See `carbond help`.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"carbond/cmd/carbond/internal/client"
	"carbond/rpc"
)

// stdio is the process's surroundings, so that tests can replace them.
type stdio struct {
	in       io.Reader
	out, err io.Writer
	env      []string
	tty      bool // in is a terminal: questions may be asked
	signals  chan os.Signal
	gzip     *rpc.Gzip // nil = gRPC's own
	pid      int
}

func main() { os.Exit(realMain()) }

func realMain() int {
	sig := make(chan os.Signal, 4)
	signal.Notify(sig, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(sig)
	// A reader that has enough ends a command by EPIPE, see exit, not by a signal:
	// what was written before is committed, and the exit code is 0.
	signal.Ignore(syscall.SIGPIPE)
	gzip := rpc.RegisterGzip()
	return run(context.Background(), os.Args[1:], stdio{
		in: os.Stdin, out: client.Guard(os.Stdout), err: client.Guard(os.Stderr), env: os.Environ(),
		tty: client.Terminal(os.Stdin), signals: sig, pid: os.Getpid(), gzip: gzip,
	})
}

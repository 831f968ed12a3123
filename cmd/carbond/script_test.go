package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"carbond/replicate/pgtest"
)

// cmdExits runs a program and wants one exit code: exits 64 carbond bogus.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// cmdUntil runs a program again and again until it succeeds (or, with "!",
// fails), for at most two minutes.
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 {
		ts.Fatalf("usage: [!] until PROGRAM [ARG...]")
	}
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ts.Exec(args[0], args[1:]...)
		if (err == nil) != neg {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			ts.Fatalf("still %v after 2 minutes", err)
		}
	}
}

// cmdFreePort sets variables to free loopback addresses: freeport GRPC HTTP.
func cmdFreePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: freeport VAR...")
	}
	for _, name := range args {
		l, err := listenFree()
		for range 10 { // another test may have taken it meanwhile
			if err == nil {
				break
			}
			l, err = listenFree()
		}
		ts.Check(err)
		defer l.Close() // all are held until the last is found: no port comes twice
		ts.Setenv(name, l.Addr().String())
	}
}

func listenFree() (net.Listener, error) {
	port, err := pgtest.FreePort()
	if err != nil {
		return nil, err
	}
	return net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

// cmdDamage flips one byte in the middle of the newest file of a directory.
func cmdDamage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: damage DIRECTORY")
	}
	files, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "*"))
	ts.Check(err)
	if len(files) == 0 {
		ts.Fatalf("%s is empty", args[0])
	}
	path := files[len(files)-1]
	b, err := os.ReadFile(path)
	ts.Check(err)
	for i := range min(len(b), 256) {
		b[i] ^= 0xff // both the head of the file and what it points to
	}
	ts.Check(os.WriteFile(path, b, 0o600))
}

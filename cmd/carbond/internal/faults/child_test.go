//go:build linux

package faults_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/faults/faultfs"
	"carbond/cmd/carbond/internal/viewfile"
	"carbond/store"
	"carbond/store/change"
)

const childEnv = "CARBOND_FAULTS_CHILD"

// plan is what a child does.
type plan struct {
	Dir       string // the mount
	Seed      uint64 // of the history
	Life      uint64 // so many children came before
	Txns      int
	Copied    bool  // the history begins with a copy
	Compress  bool  // of sealed segments
	Retention int64 // bytes, 0 keeps all
	Tables    int64 // bytes of tables without a view, 0 keeps all
	Views     bool  // write view files
	Patience  int   // errors in a row until it gives up
}

func newPlan(rng *rand.Rand, dir string) plan {
	p := plan{Dir: dir, Seed: rng.Uint64N(1 << 32), Txns: 60 + rng.IntN(120), Copied: rng.IntN(2) == 0, Compress: rng.IntN(2) == 0}
	if rng.IntN(3) == 0 {
		p.Retention = 24 << 10
	} else {
		p.Views = rng.IntN(2) == 0
	}
	if rng.IntN(2) == 0 {
		p.Tables = 6 << 10
	}
	return p
}

func (p plan) history() *history { return newHistory(p.Seed, p.Txns, p.Copied) }

// segmentBytes makes rotation frequent.
const segmentBytes = 12 << 10

func (p plan) data() string          { return filepath.Join(p.Dir, "data") }
func (p plan) views() string         { return filepath.Join(p.Dir, "views") }
func (p plan) archive(n int) string  { return filepath.Join(p.Dir, fmt.Sprintf("backup-%d.tar", n)) }
func (p plan) restored(n int) string { return filepath.Join(p.Dir, fmt.Sprintf("restored-%d", n)) }
func (p plan) viewfiles() viewfile.Options {
	return viewfile.Options{RotateBytes: 4 << 10, Keep: 100_000, Sync: 2 * time.Millisecond, Retry: time.Millisecond}
}

// child is the process that works on the file system.
type child struct {
	plan
	h     *history
	rng   *rand.Rand
	mark  *os.File
	s     *store.Store
	stop  func()
	tries int
	saved int // backups
}

// childMain runs in the child and does not return.
func childMain(spec string) {
	var p plan
	if err := json.Unmarshal([]byte(spec), &p); err != nil {
		panic(err)
	}
	c := &child{plan: p, h: p.history(), rng: rand.New(rand.NewPCG(p.Seed, 1+p.Life)), stop: func() {}, saved: int(p.Life) * 100}
	if err := c.run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(4)
	}
	os.Exit(0)
}

// say marks what is durable from now on.
func (c *child) say(format string, args ...any) {
	if _, err := fmt.Fprintf(c.mark, format+"\n", args...); err != nil {
		panic(err)
	}
}

// pause waits a moment.
func pause(d time.Duration) {
	t := time.NewTimer(d)
	<-t.C
}

// failed counts an error that may pass; it returns it when there were too many.
func (c *child) failed(err error) error {
	if c.tries++; c.tries > c.Patience {
		return err
	}
	pause(time.Millisecond)
	return nil
}

func (c *child) run(ctx context.Context) (err error) {
	if c.mark, err = os.OpenFile(filepath.Join(c.Dir, faultfs.MarkFile), os.O_WRONLY|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if err := c.open(ctx); err != nil {
		return err
	}
	for i := c.h.at(c.s.Position().LSN); i < len(c.h.txns); i = c.h.at(c.s.Position().LSN) {
		if err := c.step(ctx, i); err != nil {
			if err := c.failed(err); err != nil {
				return err
			}
			continue
		}
		c.tries = 0
	}
	return c.close()
}

func (c *child) open(ctx context.Context) error {
	opt := store.Options{SegmentBytes: segmentBytes, Compress: c.Compress, CheckpointInterval: time.Millisecond, Retention: store.Retention{Bytes: c.Retention, TablesBytes: c.Tables}}
	for {
		var err error
		if c.s, err = store.Open(c.data(), opt); err == nil {
			break
		}
		if err := c.failed(err); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 2)
	go func() { done <- c.s.Run(ctx) }()
	if c.Views {
		go func() { done <- viewfile.New(c.views(), c.s, c.viewfiles()).Run(ctx) }()
	} else {
		done <- nil
	}
	c.stop = func() {
		cancel()
		<-done
		<-done
	}
	c.say("open")
	return nil
}

func (c *child) close() error {
	c.stop()
	return c.s.Close()
}

// step applies the next transactions and sometimes does something else.
func (c *child) step(ctx context.Context, i int) error {
	var batch []change.Txn
	for _, t := range c.h.txns[i:min(i+1+c.rng.IntN(3), len(c.h.txns))] {
		for _, p := range parts(c.rng, t) {
			if batch = append(batch, p); c.rng.IntN(3) == 0 {
				if err := c.apply(ctx, batch); err != nil {
					return err
				}
				batch = nil
			}
		}
	}
	if err := c.apply(ctx, batch); err != nil {
		return err
	}
	switch c.rng.IntN(40) {
	case 0, 1, 2, 3, 4, 5, 6, 7:
		return c.commitGroup(ctx)
	case 8, 9:
		lsn := c.s.Position().LSN + 1
		if err := c.s.Advance(ctx, lsn); err != nil {
			return err
		}
		c.say("lsn %d", lsn)
	case 10:
		return c.backup(ctx)
	case 11:
		if err := c.close(); err != nil {
			return err
		}
		return c.open(ctx)
	case 12, 13, 14, 15, 16, 17:
		pause(3 * time.Millisecond) // so that checkpoints and retention come up
	}
	return nil
}

func (c *child) apply(ctx context.Context, batch []change.Txn) error {
	if err := c.s.Apply(ctx, batch); err != nil {
		return err
	}
	for _, t := range batch {
		if t.Final {
			c.say("lsn %d", t.EndLSN)
		}
	}
	return nil
}

func (c *child) commitGroup(ctx context.Context) error {
	name := fmt.Sprintf("desk %d", c.rng.IntN(3))
	topic := change.TopicName(change.Tables()[c.rng.IntN(4)])
	m, err := c.s.Join(name, "m")
	if err != nil {
		return err
	}
	defer m.Leave()
	c.say("generation %q %d", name, m.Generation)
	off := c.s.Position().Offset
	if err := c.s.CommitOffset(ctx, change.GroupCommit{Group: name, Generation: m.Generation, Member: m.ID, Topic: topic, Offset: off}); err != nil {
		return err
	}
	c.say("group %q %q %d", name, topic, off)
	return nil
}

// backup writes an archive, and a directory restored from it.
func (c *child) backup(ctx context.Context) error {
	c.saved++
	n := c.saved
	lsn := c.s.Position().LSN
	f, err := os.OpenFile(c.archive(n), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := c.s.Backup(ctx, f, "test"); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), syncDir(c.Dir)); err != nil {
		return err
	}
	c.say("archive %d %d", n, lsn)
	if _, err := f.Seek(0, 0); err != nil {
		return err
	}
	if _, _, err := store.Restore(c.restored(n), f, store.Options{}); err != nil {
		return err
	}
	c.say("restored %d %d", n, lsn)
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// process is a started child.
type process struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	done chan struct{} // closed when it has ended
	err  error         // how; read after done
}

// start starts a child.
func start(tb testing.TB, p plan) *process {
	tb.Helper()
	spec, err := json.Marshal(p)
	if err != nil {
		tb.Fatal(err)
	}
	c := &process{cmd: exec.Command(os.Args[0]), done: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(spec))
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.out
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the kernel ties a child to the thread that started it
		defer runtime.UnlockOSThread()
		defer close(c.done)
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		tb.Fatal(err)
	}
	return c
}

var errHangs = errors.New("it hangs")

// patience is for a child that should be long done.
const patience = 2 * time.Minute

// wait waits until it has ended, or kills it after d.
func (c *process) wait(d time.Duration) {
	if c.ended(d) {
		return
	}
	_ = c.cmd.Process.Kill() // it may have ended just now
	<-c.done
}

// finish waits until it has ended. One that hangs says where.
func (c *process) finish() error {
	if c.ended(patience) {
		return c.err
	}
	_ = c.cmd.Process.Signal(syscall.SIGQUIT)
	c.ended(10 * time.Second)
	c.wait(0)
	return fmt.Errorf("%w: %w", errHangs, c.err)
}

func (c *process) ended(within time.Duration) bool {
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case <-c.done:
		return true
	case <-t.C:
		return false
	}
}

// trouble reports what no fault of a disk excuses: a child that hangs or panics.
func (c *process) trouble(err error) bool {
	out := c.out.String()
	return errors.Is(err, errHangs) || strings.Contains(out, "panic: ") || strings.Contains(out, "fatal error: ")
}

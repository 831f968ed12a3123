package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"carbond/cmd/carbond/internal/programtest"
	"carbond/replicate/pgtest"
	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// follow runs a command that waits, and returns what stops it with Ctrl-C.
func follow(t *testing.T, args ...string) (out *programtest.Log, interrupt func() (code int, stderr string)) {
	t.Helper()
	out, signals, end := background(t, args...)
	return out, func() (int, string) {
		signals <- os.Interrupt
		return end()
	}
}

// background runs a command and returns what waits for its end.
func background(t *testing.T, args ...string) (out *programtest.Log, signals chan os.Signal, end func() (code int, stderr string)) {
	t.Helper()
	var errs programtest.Log
	out = &programtest.Log{}
	signals = make(chan os.Signal, 1)
	done := make(chan int, 1)
	env := []string{"CARBOND_CONFIG=" + emptyConfig(t)}
	go func() {
		done <- run(context.Background(), args, stdio{in: strings.NewReader(""), out: out, err: &errs, env: env, signals: signals})
	}()
	return out, signals, func() (int, string) { return <-done, errs.String() }
}

// rowsOf counts the lines that were printed.
func rowsOf(b *programtest.Log) int { return strings.Count(b.String(), "\n") }

// fill puts source transactions into a data directory that no daemon has open,
// and returns the number of records that consumers see.
func fill(t *testing.T, dir string, src *storetest.Source, n int) int {
	t.Helper()
	s, err := store.Open(dir, store.Options{First: 1, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if err := s.Apply(t.Context(), []change.Txn{src.Next()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return len(src.Model.Log)
}

// TestConsumeThroughRestart follows as a group and as nobody while the daemon
// stops and comes back with more, and is ended by Ctrl-C: nothing is missing,
// nothing comes twice, and everything is committed.
func TestConsumeThroughRestart(t *testing.T) {
	dir, src := filepath.Join(t.TempDir(), "data"), storetest.NewSource(4)
	env := []string{"CARBOND_DATA_DIR=" + dir}
	want := fill(t, dir, src, 100)
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	env = append(env, "CARBOND_GRPC_LISTEN="+addr)
	p := start(t, env, "serve")
	topics := change.Tables()
	args := append([]string{"consume"}, topics...)
	args = append(args, "--addr", addr, "--follow", "--format", "row")
	plain, stopPlain := follow(t, args...)
	group, stopGroup := follow(t, append(args, "--group", "desk", "--member", "one")...)
	p.until("first lines", func() bool { return rowsOf(plain) == want && rowsOf(group) == want })
	if code, ok := p.stop(); !ok || code != 0 {
		t.Fatalf("daemon: exit code %d", code)
	}
	want = fill(t, dir, src, 100)
	p = start(t, env, "serve")
	p.until("lines after the restart", func() bool { return rowsOf(plain) == want && rowsOf(group) == want })
	for name, stop := range map[string]func() (int, string){"plain": stopPlain, "group": stopGroup} {
		if code, errs := stop(); code != 0 || !strings.Contains(errs, "trying again") {
			t.Errorf("%s: exit code %d\n%s", name, code, errs)
		}
	}
	if plain.String() != group.String() {
		t.Error("the two differ")
	}
	seen := map[string]bool{}
	for line := range strings.SplitSeq(plain.String(), "\n") {
		if _, at, ok := strings.Cut(line, `"offset":`); ok && seen[at] {
			t.Errorf("twice: %s", line)
		} else if ok {
			seen[at] = true
		}
	}
	groups := must(t, nil, "groups", "--addr", addr, "--format", "csv")
	for _, table := range topics {
		// Generations begin at the clock's time.
		if !regexp.MustCompile(`(?m)^desk,\d{10,},,carbon\.public\.` + table + `,`).MatchString(groups) {
			t.Errorf("%s is not committed:\n%s", table, groups)
		}
	}
	for line := range strings.Lines(groups) {
		if f := strings.Split(line, ","); f[0] == "desk" && f[5] != "0" {
			t.Errorf("lag: %s", line)
		}
	}
}

// failing is a standard output that takes so many bytes.
type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, os.ErrPermission
	}
	return len(p), nil
}

// TestCommitAfterWrite commits nothing that standard output did not take.
func TestCommitAfterWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	fill(t, dir, storetest.NewSource(5), 100)
	p := start(t, []string{"CARBOND_DATA_DIR=" + dir}, "serve")
	var errs bytes.Buffer
	code := run(t.Context(), []string{"consume", "news", "--group", "desk", "--addr", p.grpc}, stdio{
		in: strings.NewReader(""), out: &failing{}, err: &errs, env: []string{"CARBOND_CONFIG=" + emptyConfig(t)},
	})
	if code != 1 || !strings.Contains(errs.String(), "permission denied") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	if g := must(t, nil, "groups", "--addr", p.grpc, "--format", "csv"); strings.Contains(g, "carbon.public.news") {
		t.Errorf("committed:\n%s", g)
	}
}

// TestTombstones prints null behind a deletion.
func TestTombstones(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	fill(t, dir, storetest.NewSource(6), 200)
	p := start(t, []string{"CARBOND_DATA_DIR=" + dir}, "serve")
	without := must(t, nil, "consume", "finance", "--addr", p.grpc)
	with := must(t, nil, "consume", "finance", "--addr", p.grpc, "--tombstones")
	keyed := must(t, nil, "consume", "finance", "--addr", p.grpc, "--tombstones", "--keys")
	deletes := strings.Count(without, `"op":"d"`)
	if deletes == 0 || strings.Count(with, "\nnull\n") != deletes || strings.Count(with, "\n") != strings.Count(without, "\n")+deletes {
		t.Errorf("%d deletions, %d tombstones", deletes, strings.Count(with, "\nnull\n"))
	}
	if n := strings.Count(keyed, `},"value":null}`); n != deletes {
		t.Errorf("%d keyed tombstones", n)
	}
}

// TestBackupKeepsOld leaves an older archive alone when a backup fails.
func TestBackupKeepsOld(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "copy.tar")
	if err := os.WriteFile(path, []byte("older"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := command(t, nil, "backup", path, "--addr", "127.0.0.1:1")
	if code != 1 || !strings.Contains(errs, "is it running?") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "older" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Stat(path + ".part"); err == nil {
		t.Error("the part is left")
	}
}

// TestBackupWhileWriting copies the data of a demo that writes, restores it, and
// starts on the copy, several times over.
func TestBackupWhileWriting(t *testing.T) {
	p := start(t, nil, "demo")
	lines := func() int { return strings.Count(must(t, nil, "consume", "finance", "--addr", p.grpc), "\n") }
	for i := range 3 {
		was := lines()
		p.until("new changes", func() bool { return lines() > was })
		path := filepath.Join(t.TempDir(), "copy.tar")
		must(t, nil, "backup", path, "--addr", p.grpc)
		dir := filepath.Join(t.TempDir(), "data")
		if out := must(t, nil, "restore", path, "--data-dir", dir); !strings.Contains(out, "no problems") {
			t.Errorf("copy %d:\n%s", i, out)
		}
		copied := start(t, []string{"CARBOND_DATA_DIR=" + dir}, "serve")
		got := must(t, nil, "consume", "verra", "finance", "--addr", copied.grpc)
		n := fmt.Sprint(strings.Count(got, "\n"))
		if want := must(t, nil, "consume", "verra", "finance", "--addr", p.grpc, "--max", n); n == "0" || got != want {
			t.Errorf("copy %d: %s changes, not those of the original", i, n)
		}
		copied.stop()
	}
}

// TestFollowThroughRestore follows a daemon whose data directory is put back to a
// backup and goes on differently. Who has seen what came to nothing ends with an
// error; who has not goes on with all rows, and a group from where the backup has
// it.
func TestFollowThroughRestore(t *testing.T) {
	dir, src := filepath.Join(t.TempDir(), "data"), storetest.NewSource(11)
	fill(t, dir, src, 60)
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	env := []string{"CARBOND_DATA_DIR=" + dir, "CARBOND_GRPC_LISTEN=" + addr}
	p := start(t, env, "serve")
	topics := change.Tables()
	all := append(append([]string{"consume"}, topics...), "--addr", addr, "--format", "row")
	must(t, nil, append(all, "--group", "desk", "--member", "one")...)
	archive := filepath.Join(t.TempDir(), "backup.tar")
	must(t, nil, "backup", archive, "--addr", addr)
	shared := len(src.Model.Log)
	other := src.Branch(12)
	if code, ok := p.stop(); !ok || code != 0 {
		t.Fatalf("daemon: exit code %d", code)
	}

	want := fill(t, dir, src, 60) // comes to nothing
	p = start(t, env, "serve")
	plain, _, endPlain := background(t, append(all, "--follow")...)
	view, _, endView := background(t, "view", "projects", "--addr", addr, "--follow", "--format", "jsonl")
	p.until("what comes to nothing", func() bool { return rowsOf(plain) == want && rowsOf(view) > 0 })
	if code, ok := p.stop(); !ok || code != 0 {
		t.Fatalf("daemon: exit code %d", code)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	must(t, nil, "restore", archive, "--data-dir", dir)
	want = fill(t, dir, other, 200)
	p = start(t, env, "serve")
	for name, end := range map[string]func() (int, string){"consume": endPlain, "view": endView} {
		if code, errs := end(); code != 1 || !strings.Contains(errs, "of another history") {
			t.Errorf("%s --follow: exit code %d\n%s", name, code, errs)
		}
	}
	if got := strings.Count(must(t, nil, append(all, "--from", "earliest")...), "\n"); got != want {
		t.Errorf("%d rows, want %d", got, want)
	}
	if got := strings.Count(must(t, nil, append(all, "--group", "desk", "--member", "two")...), "\n"); got != want-shared {
		t.Errorf("the group reads %d rows, want %d", got, want-shared)
	}
	for _, args := range [][]string{{"topics"}, {"groups"}} {
		if out := must(t, nil, append(args, "--addr", addr, "--format", "jsonl")...); !strings.Contains(out, `"history":"`) {
			t.Errorf("%v: %s", args, out)
		}
	}
	if _, body := p.get("/status.json"); !strings.Contains(body, `"history": "`) && !strings.Contains(body, `"history":"`) {
		t.Errorf("status.json: %s", body)
	}
}

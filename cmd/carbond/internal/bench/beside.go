package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	pb "carbond/proto/carbon"
	"carbond/store/change"
)

// beside measures the daemon, with its own pacing of the collector, beside tables of
// different sizes: the first copy, updates, and an answer as of before them.
func beside(ctx context.Context, o Options) ([]Figure, error) {
	var out []Figure
	var first float64
	for i, n := range o.Sizes {
		f, cost, err := besideRows(ctx, o, n)
		out = append(out, f...)
		if err != nil {
			return out, err
		}
		if i == 0 {
			first = cost
		} else if i == len(o.Sizes)-1 {
			f := atMost(fmt.Sprintf("update beside %d projects, ratio to %d", n, o.Sizes[0]), cost/first, "x", 2)
			f.Goal = "flat"
			out = append(out, f)
		}
	}
	return out, nil
}

func besideRows(ctx context.Context, o Options, n int) (out []Figure, cost float64, err error) {
	s, err := newSource(ctx, o, "beside-"+strconv.Itoa(n))
	if err != nil {
		return nil, 0, err
	}
	defer s.close(context.WithoutCancel(ctx))
	if _, err := s.conn.Exec(ctx, insertProjects, 0, n-1); err != nil {
		return nil, 0, err
	}
	// The second reading is the yardstick: the first one marks rows as committed.
	var bare time.Duration
	for range 2 {
		began := time.Now()
		if _, err := s.conn.PgConn().CopyTo(ctx, io.Discard, "COPY verra TO STDOUT"); err != nil {
			return nil, 0, err
		}
		bare = time.Since(began)
	}
	d, err := startDaemon(ctx, o, s.dir, o.PostgresURL)
	if err != nil {
		return nil, 0, err
	}
	defer d.stop()
	copied := atLeast(fmt.Sprintf("first copy of %d projects, ratio to COPY TO STDOUT", n), bare.Seconds()/d.serving.Seconds(), "x", 0.4)
	copied.Note = fmt.Sprintf("%.0f rows/s, start of the process included, and %.0f", float64(n)/d.serving.Seconds(), float64(n)/bare.Seconds())
	if n < 1_000_000 {
		copied.Goal = ""
	}
	out = append(out, copied)
	behind, err := d.rest(ctx)
	if err != nil {
		return out, 0, err
	}
	out = append(out, Figure{
		Name: fmt.Sprintf("behind the first copy of %d projects", n), Value: behind.Seconds(), Unit: "s",
		Note: "processor time of the daemon from SERVING until it rests: the checkpoint of the copy",
	})
	before, err := newestOffset(ctx, d.addr)
	if err != nil {
		return out, 0, err
	}
	updates := int(o.Seconds * 5 * updateRate)
	cost, err = s.updates(ctx, d, n, updates)
	if err != nil {
		return out, 0, err
	}
	out = append(out, Figure{
		Name: fmt.Sprintf("update beside %d projects", n), Value: cost, Unit: "µs",
		Note: fmt.Sprintf("processor time of the daemon for a commit of one row at %d/s, fsync and collector included", updateRate),
	})
	past, err := s.past(ctx, d, n, before)
	return append(out, past...), cost, err
}

// pastChanges is how far back an answer is asked for, and pastStep what the next one
// is further on.
const pastChanges, pastStep = 130_000, 1000

// past measures an answer as of pastChanges ago, and the next one of a client that
// steps through time. Behind the offset before there are transactions of one row.
func (s *source) past(ctx context.Context, d *daemon, rows int, before change.Offset) ([]Figure, error) {
	now, err := newestOffset(ctx, d.addr)
	if err != nil {
		return nil, err
	}
	for left := pastChanges - int(now-before); left > 0; left -= rows {
		if _, err := s.conn.Exec(ctx, "UPDATE verra SET supply = supply + 1 WHERE project_id < $1", projectID(min(left, rows))); err != nil {
			return nil, err
		}
	}
	end, err := s.lsn(ctx)
	if err != nil {
		return nil, err
	}
	if err := waitLSN(ctx, d.addr, end, time.Minute); err != nil {
		return nil, err
	}
	if _, err := d.rest(ctx); err != nil {
		return nil, err
	}
	first, err := asOf(ctx, d.addr, before)
	if err != nil {
		return nil, err
	}
	step, err := asOf(ctx, d.addr, before+pastStep)
	if err != nil {
		return nil, err
	}
	return []Figure{
		atMost(fmt.Sprintf("answer as of %d changes ago beside %d projects", pastChanges, rows), ms(first), "ms", 200),
		atMost(fmt.Sprintf("the next answer, as of %d changes later", pastStep), ms(step), "ms", 20),
	}, nil
}

// updateRate is the updates in a second.
const updateRate = 1000

// updates commits single rows at a steady rate and returns the microseconds of
// processor time that each costs the daemon.
func (s *source) updates(ctx context.Context, d *daemon, rows, n int) (float64, error) {
	// Whether Postgres syncs is not the question here.
	if _, err := s.conn.Exec(ctx, "SET synchronous_commit = off"); err != nil {
		return 0, err
	}
	used, err := processorTime(d.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	const batch = updateRate / 100
	t := time.NewTicker(time.Second / 100)
	defer t.Stop()
	for i := 0; i < n; {
		for range batch {
			if _, err := s.conn.Exec(ctx, "UPDATE verra SET supply = $1, updated_at = now() WHERE project_id = $2", float64(i), projectID(i*7919%rows)); err != nil {
				return 0, err
			}
			i++
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	end, err := s.lsn(ctx)
	if err != nil {
		return 0, err
	}
	if err := waitLSN(ctx, d.addr, end, time.Minute); err != nil {
		return 0, err
	}
	now, err := processorTime(d.cmd.Process.Pid)
	return (now - used).Seconds() / float64(n) * 1e6, err
}

func newestOffset(ctx context.Context, addr string) (change.Offset, error) {
	conn, err := dial(addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	r, err := pb.NewChangelogServiceClient(conn).ListTopics(ctx, &pb.ListTopicsRequest{})
	var last uint64
	for _, t := range r.GetTopics() {
		last = max(last, t.GetNext())
	}
	return change.Offset(last) - 1, err
}

// asOf returns how long an answer about one country takes as of an offset.
func asOf(ctx context.Context, addr string, at change.Offset) (time.Duration, error) {
	conn, err := dial(addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	began := time.Now()
	r, err := pb.NewCarbonServiceClient(conn).GetProjects(ctx, &pb.ProjectQuery{Country: "Country 1", PageSize: 10, AsOfOffset: uint64(at)})
	if err == nil && len(r.GetItems()) == 0 {
		err = errors.New("the answer as of then is empty")
	}
	return time.Since(began), err
}

// restTime and restShare say when a daemon rests: it has used less than that share of a
// processor for so long.
const restTime, restShare = time.Second, 0.03

// rest waits until the daemon has done what is left behind a copy or many changes, and
// returns the processor time that this took. A checkpoint of a million rows costs more
// than the updates that are measured next, and would be counted to them.
func (d *daemon) rest(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Minute, errors.New("the daemon does not come to rest"))
	defer cancel()
	began, err := processorTime(d.cmd.Process.Pid)
	for now := began; err == nil; {
		select {
		case <-time.After(restTime):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		before := now
		if now, err = processorTime(d.cmd.Process.Pid); (now - before).Seconds() < restShare*restTime.Seconds() {
			return now - began, err
		}
	}
	return 0, err
}

// processorTime returns what a process has used.
func processorTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	// Behind the name, which may hold anything, in brackets: the 12th and 13th.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	return time.Duration(user+system) * time.Second / 100, errors.Join(err1, err2) // USER_HZ is 100 on Linux
}

package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/store/change"
)

// joined opens a stream of a group and returns it with its generation.
func joined(t *testing.T, c pb.ChangelogServiceClient, member string) (pb.ChangelogService_ConsumeClient, uint64) {
	t.Helper()
	ss, err := c.Consume(t.Context(), &pb.ConsumeRequest{Group: "desk", MemberId: member, Topics: []string{newsTopic}, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	m, err := ss.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return ss, m.Generation
}

func commit(t *testing.T, c pb.ChangelogServiceClient, generation, at uint64) error {
	t.Helper()
	_, err := c.CommitOffset(t.Context(), &pb.CommitOffsetRequest{Group: "desk", Topic: newsTopic, Offset: at, Generation: generation})
	return err
}

// TestFencing: one member at a time, the newest wins, the old one is told by its
// stream and by its commits.
func TestFencing(t *testing.T) {
	l := newFakeLog(10)
	l.add("news", "verra", "news")
	c := eventClient(t, l, rpc.Options{})
	one, g1 := joined(t, c, "one")
	if err := commit(t, c, g1, 1); err != nil {
		t.Fatal(err)
	}
	again, err := c.Consume(t.Context(), &pb.ConsumeRequest{Group: "desk", MemberId: "one"})
	if err := received(again, err); errorOf(err) != "AlreadyExists MEMBER_ACTIVE" {
		t.Errorf("the same member again: %v", err)
	}
	if err := commit(t, c, g1, 1); err != nil {
		t.Errorf("the refused one must not have fenced the first: %v", err)
	}
	two, g2 := joined(t, c, "two")
	if g2 <= g1 {
		t.Errorf("generation %d after %d", g2, g1)
	}
	if err := received(one, nil); errorOf(err) != "Aborted FENCED" {
		t.Errorf("stream of the first: %v", err)
	}
	if err := commit(t, c, g1, 3); errorOf(err) != "FailedPrecondition GENERATION_STALE" {
		t.Errorf("commit of the first: %v", err)
	}
	m, err := two.Recv() // goes on behind what was committed
	if err != nil || offsets(m.Records) != "3*" {
		t.Errorf("second reads %v, %v", m, err)
	}
	for name, tt := range map[string]struct {
		q    *pb.CommitOffsetRequest
		want string
	}{
		"backwards": {&pb.CommitOffsetRequest{Group: "desk", Topic: newsTopic, Offset: 0, Generation: g2}, "FailedPrecondition COMMIT_BACKWARDS"},
		"future":    {&pb.CommitOffsetRequest{Group: "desk", Topic: newsTopic, Offset: 4, Generation: g2}, "OutOfRange OFFSET_NOT_REACHED 1-3"},
		"another":   {&pb.CommitOffsetRequest{Group: "desk", Topic: newsTopic, Offset: 3, Generation: g2, MemberId: "somebody"}, "FailedPrecondition GENERATION_STALE"},
		"no group":  {&pb.CommitOffsetRequest{Group: "other", Topic: newsTopic, Offset: 1, Generation: g2}, "NotFound NO_SUCH_GROUP"},
		"no topic":  {&pb.CommitOffsetRequest{Group: "desk", Topic: "x", Offset: 1, Generation: g2}, "NotFound NO_SUCH_TOPIC"},
	} {
		if _, err := c.CommitOffset(t.Context(), tt.q); errorOf(err) != tt.want {
			t.Errorf("%s: got %v, want %s", name, err, tt.want)
		}
	}
	_, err = c.ResetGroup(t.Context(), &pb.ResetGroupRequest{Group: "desk", To: &pb.ResetGroupRequest_Latest{Latest: true}})
	if errorOf(err) != "FailedPrecondition GROUP_ACTIVE" {
		t.Errorf("reset of a group at work: %v", err)
	}
}

// eventually polls for what happens by itself, and gives up when it must be stuck.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("no %s within 2 minutes", what)
		}
	}
}

// TestLeave frees the member when its stream ends, however it ends.
func TestLeave(t *testing.T) {
	l := newFakeLog(10)
	c := eventClient(t, l, rpc.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	q := &pb.ConsumeRequest{Group: "desk", MemberId: "one", Follow: true}
	ss, err := c.Consume(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ss.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	eventually(t, "an end of the membership", func() bool { return l.Groups()[0].Active == "" })
}

func TestResetGroup(t *testing.T) {
	l := newFakeLog(10)
	l.add("news", "verra")
	l.add("news", "verra")
	l.drop(2)
	c := eventClient(t, l, rpc.Options{})
	for name, tt := range map[string]struct {
		q    *pb.ResetGroupRequest
		want string // of news and verra, or an error
	}{
		"earliest":        {&pb.ResetGroupRequest{To: &pb.ResetGroupRequest_Earliest{Earliest: true}}, "1 1 1 1 1"},
		"latest":          {&pb.ResetGroupRequest{To: &pb.ResetGroupRequest_Latest{Latest: true}}, "4 4 4 4 4"},
		"offset":          {&pb.ResetGroupRequest{To: &pb.ResetGroupRequest_Offset{Offset: 3}}, "3 3 3 3 3"},
		"time":            {&pb.ResetGroupRequest{To: &pb.ResetGroupRequest_Time{Time: l.time(2).Format(time.RFC3339Nano)}}, "2 2 2 2 2"},
		"one topic":       {&pb.ResetGroupRequest{Topic: newsTopic, To: &pb.ResetGroupRequest_Offset{Offset: 3}}, "3"},
		"before the log":  {&pb.ResetGroupRequest{To: &pb.ResetGroupRequest_Offset{Offset: 0}}, "OutOfRange OFFSET_COMPACTED 2-4"},
		"behind the log":  {&pb.ResetGroupRequest{To: &pb.ResetGroupRequest_Offset{Offset: 5}}, "OutOfRange OFFSET_NOT_REACHED 2-4"},
		"the last number": {&pb.ResetGroupRequest{To: &pb.ResetGroupRequest_Offset{Offset: math.MaxUint64}}, "OutOfRange OFFSET_NOT_REACHED 2-4"},
		"a mistyped name": {&pb.ResetGroupRequest{Group: "desc", To: &pb.ResetGroupRequest_Latest{Latest: true}}, "NotFound NO_SUCH_GROUP"},
		"nowhere":         {&pb.ResetGroupRequest{}, "InvalidArgument"},
		"no topic":        {&pb.ResetGroupRequest{Topic: "x", To: &pb.ResetGroupRequest_Latest{Latest: true}}, "NotFound NO_SUCH_TOPIC"},
		"delete":          {&pb.ResetGroupRequest{To: &pb.ResetGroupRequest_Delete{Delete: true}}, ""},
		"delete a part":   {&pb.ResetGroupRequest{Topic: newsTopic, To: &pb.ResetGroupRequest_Delete{Delete: true}}, "InvalidArgument"},
		"delete a nobody": {&pb.ResetGroupRequest{Group: "nobody", To: &pb.ResetGroupRequest_Delete{Delete: true}}, "NotFound NO_SUCH_GROUP"},
	} {
		t.Run(name, func(t *testing.T) {
			_ = l.DeleteGroup("desk")
			if tt.q.Group == "" {
				tt.q.Group = "desk"
				m, err := l.Join("desk", "x")
				if err != nil {
					t.Fatal(err)
				}
				m.Leave()
			}
			r, err := c.ResetGroup(t.Context(), tt.q)
			var got []string
			for _, p := range r.GetGroup().GetTopics() {
				got = append(got, fmt.Sprint(p.Committed))
			}
			text := strings.Join(got, " ")
			if err != nil {
				text = errorOf(err)
			}
			if text != tt.want {
				t.Errorf("got %s (%v), want %s", text, err, tt.want)
			}
		})
	}
}

// TestChangelogMetrics lints the metrics and bounds the series.
func TestChangelogMetrics(t *testing.T) {
	l := newFakeLog(10)
	l.add("news", "verra")
	for i := range 150 {
		l.committed(fmt.Sprintf("group-%03d", i), newsTopic, 1)
	}
	reg := prometheus.NewRegistry()
	newServer(t, newReader(&data{}), rpc.Options{Changelog: l, Registerer: reg})
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	if n, err := testutil.GatherAndCount(reg, "carbond_changelog_consumer_lag_records"); err != nil || n != 100 {
		t.Errorf("%d series, %v", n, err)
	}
	want := "# HELP carbond_changelog_consumer_groups_without_series Consumer groups beyond the number that have lag metrics.\n" +
		"# TYPE carbond_changelog_consumer_groups_without_series gauge\ncarbond_changelog_consumer_groups_without_series 50\n"
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "carbond_changelog_consumer_groups_without_series"); err != nil {
		t.Error(err)
	}
}

// TestBackupCall hands an archive on in bounded pieces, one at a time.
func TestBackupCall(t *testing.T) {
	var archive []byte
	for i := range 700_000 {
		archive = append(archive, byte(i*7), byte(i>>8))
	}
	l := newFakeLog(10)
	inside, release := make(chan struct{}), make(chan struct{})
	l.backup = func(_ context.Context, w io.Writer) error {
		close(inside)
		<-release
		for b := archive; len(b) > 0; b = b[min(len(b), 999):] {
			if _, err := w.Write(b[:min(len(b), 999)]); err != nil {
				return err
			}
		}
		return nil
	}
	c := eventClient(t, l, rpc.Options{})
	ss, err := c.Backup(t.Context(), &pb.BackupRequest{})
	if err != nil {
		t.Fatal(err)
	}
	<-inside
	second, err := c.Backup(t.Context(), &pb.BackupRequest{})
	if err := received(second, err); errorOf(err) != "ResourceExhausted BACKUP_RUNNING" {
		t.Errorf("second: %v", err)
	}
	close(release)
	var got []byte
	for {
		m, err := ss.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Data) > 256<<10 {
			t.Errorf("a piece of %d bytes", len(m.Data))
		}
		got = append(got, m.Data...)
	}
	if !bytes.Equal(got, archive) {
		t.Errorf("%d bytes, want %d", len(got), len(archive))
	}
	l.backup = func(context.Context, io.Writer) error { return errors.New("the disk is on fire in " + "/secret") }
	third, err := c.Backup(t.Context(), &pb.BackupRequest{})
	if err := received(third, err); errorOf(err) != "Internal" || strings.Contains(err.Error(), "secret") {
		t.Errorf("failed: %v", err)
	}
}

// TestBackupNotRead gives up a backup whose client does not read, so that
// retention goes on.
func TestBackupNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time passes only while nobody reads
		l := newFakeLog(10)
		ended := make(chan error, 1)
		l.backup = func(_ context.Context, w io.Writer) error {
			b := make([]byte, 1<<20)
			for {
				if _, err := w.Write(b); err != nil {
					ended <- err
					return err
				}
			}
		}
		c := eventClient(t, l, rpc.Options{BackupStall: 50 * time.Millisecond})
		ss, err := c.Backup(t.Context(), &pb.BackupRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ss.Recv(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err == nil {
			t.Error("no error")
		}
		if err := received(ss, nil); errorOf(err) != "Aborted BACKUP_NOT_READ" {
			t.Errorf("client sees %v", err)
		}
	})
}

// TestSlowConsumer leaves a stream unread: the log is not read further than the
// windows of flow control, and others go on.
func TestSlowConsumer(t *testing.T) {
	l := newFakeLog(50)
	for range 20_000 {
		l.add("verra", "verra")
	}
	c := eventClient(t, l, rpc.Options{})
	slow, err := c.Consume(t.Context(), earliest())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Recv(); err != nil {
		t.Fatal(err)
	}
	recs, _, err := consume(t, c, earliest())
	if err != nil || len(recs) != 40_000 {
		t.Errorf("the other reads %d records, %v", len(recs), err)
	}
	var reading change.Offset
	l.mu.Lock()
	reading = l.furthest[0]
	l.mu.Unlock()
	if reading > 5_000 {
		t.Errorf("the log was read to offset %d for a client that reads nothing", reading)
	}
	n := 0
	for {
		m, err := slow.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n += len(m.Records)
	}
	if n != 40_000 {
		t.Errorf("the slow one reads %d records", n)
	}
}

package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/store/change"
)

// eventClient serves a fake log and returns a client of it.
func eventClient(t testing.TB, l *fakeLog, opt rpc.Options) pb.ChangelogServiceClient {
	t.Helper()
	opt.Changelog = l
	_, conn := serve(t, newReader(&data{}), opt)
	return pb.NewChangelogServiceClient(conn)
}

// consume reads a whole stream without follow.
func consume(t testing.TB, c pb.ChangelogServiceClient, q *pb.ConsumeRequest) (recs []*pb.ChangeRecord, next uint64, err error) {
	t.Helper()
	ss, err := c.Consume(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := ss.Recv()
		if errors.Is(err, io.EOF) {
			return recs, next, nil
		}
		if err != nil {
			return recs, next, err
		}
		if m.NextOffset < next {
			t.Errorf("next_offset goes back from %d to %d", next, m.NextOffset)
		}
		for _, r := range m.Records {
			if r.Offset >= m.NextOffset {
				t.Errorf("record %d beside next_offset %d", r.Offset, m.NextOffset)
			}
		}
		recs, next = append(recs, m.Records...), m.NextOffset
	}
}

// offsets shows records as "1 2* 4": a star ends a transaction.
func offsets(recs []*pb.ChangeRecord) string {
	var out []string
	for _, r := range recs {
		s := fmt.Sprint(r.Offset)
		if r.LastInTransaction {
			s += "*"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func earliest() *pb.ConsumeRequest {
	return &pb.ConsumeRequest{Start: &pb.ConsumeRequest_Earliest{Earliest: true}}
}

func at(o uint64) *pb.ConsumeRequest {
	return &pb.ConsumeRequest{Start: &pb.ConsumeRequest_Offset{Offset: o}}
}

const (
	verraTopic   = "carbon.public.verra"
	newsTopic    = "carbon.public.news"
	financeTopic = "carbon.public.finance"
)

// TestConsume reads parts of a log of four transactions: 1 verra, 2 news, 3
// verra | 4 TRUNCATE news, 5-6 its rows | 7 finance, 8 verra | 9 news.
func TestConsume(t *testing.T) {
	for _, piece := range []int{1, 2, 3, 100} {
		l := newFakeLog(piece)
		l.add("verra", "news", "verra")
		l.addOps("news:t", "news:x", "news:x")
		l.add("finance", "verra")
		l.add("news")
		c := eventClient(t, l, rpc.Options{})
		tests := map[string]struct {
			q    *pb.ConsumeRequest
			want string
			next uint64
		}{
			"everything":          {earliest(), "1 2 3* 4* 7 8* 9*", 10},
			"one topic":           {with(earliest(), newsTopic), "2* 4* 9*", 10},
			"two topics":          {with(earliest(), newsTopic, financeTopic), "2* 4* 7* 9*", 10},
			"a quiet topic":       {with(earliest(), "carbon.public.carbonmark"), "", 10},
			"latest":              {&pb.ConsumeRequest{Start: &pb.ConsumeRequest_Latest{Latest: true}}, "", 10},
			"offset":              {at(8), "8* 9*", 10},
			"inside a TRUNCATE":   {at(5), "7 8* 9*", 10},
			"offset 0":            {at(0), "1 2 3* 4* 7 8* 9*", 10},
			"behind the end":      {at(10), "", 10},
			"time of the second":  {since(l.time(2)), "4* 7 8* 9*", 10},
			"just after it":       {since(l.time(2).Add(time.Microsecond)), "7 8* 9*", 10},
			"time before all":     {since(l.time(0)), "1 2 3* 4* 7 8* 9*", 10},
			"time after all":      {since(l.time(99)), "", 10},
			"no start, no group":  {&pb.ConsumeRequest{}, "1 2 3* 4* 7 8* 9*", 10},
			"a topic named twice": {with(earliest(), newsTopic, newsTopic), "2* 4* 9*", 10},
		}
		for name, tt := range tests {
			t.Run(fmt.Sprintf("%s/piece %d", name, piece), func(t *testing.T) {
				recs, next, err := consume(t, c, tt.q)
				if err != nil || offsets(recs) != tt.want || next != tt.next {
					t.Errorf("got %q next %d, %v; want %q next %d", offsets(recs), next, err, tt.want, tt.next)
				}
			})
		}
	}
}

func with(q *pb.ConsumeRequest, topics ...string) *pb.ConsumeRequest {
	q.Topics = topics
	return q
}

func since(t time.Time) *pb.ConsumeRequest {
	return &pb.ConsumeRequest{Start: &pb.ConsumeRequest_Time{Time: t.Format(time.RFC3339Nano)}}
}

// TestSameBytes reads every record from every offset: how a record looks does
// not depend on where a stream began.
func TestSameBytes(t *testing.T) {
	l := newFakeLog(2)
	l.add("verra", "news", "verra", "verra", "news", "finance", "verra")
	l.add("news", "news")
	c := eventClient(t, l, rpc.Options{})
	all, _, err := consume(t, c, earliest())
	if err != nil {
		t.Fatal(err)
	}
	for from := uint64(1); from <= 9; from++ {
		recs, _, err := consume(t, c, at(from))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(recs, all[from-1:], func(a, b *pb.ChangeRecord) bool { return a.String() == b.String() }) {
			t.Errorf("from %d:\n%v\nwant\n%v", from, recs, all[from-1:])
		}
	}
	var e struct {
		Transaction map[string]any
	}
	if err := json.Unmarshal(all[6].ValueJson, &e); err != nil || fmt.Sprint(e.Transaction) != "map[data_collection_order:4 id:1:1000 total_order:7]" {
		t.Errorf("transaction of offset 7 is %v, %v", e.Transaction, err)
	}
}

// errorOf is the code, reason and offsets of an error.
func errorOf(err error) string {
	s := status.Convert(err)
	out := s.Code().String()
	for _, d := range s.Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			out += " " + i.Reason
			if o := i.Metadata["oldest_offset"]; o != "" {
				out += fmt.Sprintf(" %s-%s", o, i.Metadata["newest_offset"])
			}
		}
	}
	return out
}

func TestConsumeRefuses(t *testing.T) {
	l := newFakeLog(3)
	l.add("verra", "news")
	l.add("verra", "news")
	l.add("verra", "news")
	l.drop(3)
	c := eventClient(t, l, rpc.Options{})
	for name, tt := range map[string]struct {
		q    *pb.ConsumeRequest
		want string
	}{
		"format":        {&pb.ConsumeRequest{Format: "avro"}, "InvalidArgument"},
		"topic":         {with(earliest(), "carbon.public.bogus"), "NotFound NO_SUCH_TOPIC"},
		"topic bytes":   {with(earliest(), "a\x00"), "InvalidArgument"},
		"compacted":     {at(1), "OutOfRange OFFSET_COMPACTED 3-6"},
		"future":        {at(8), "OutOfRange OFFSET_NOT_REACHED 3-6"},
		"time text":     {&pb.ConsumeRequest{Start: &pb.ConsumeRequest_Time{Time: "noon"}}, "InvalidArgument"},
		"time too old":  {since(l.time(0)), "OutOfRange OFFSET_COMPACTED 3-6"},
		"no member":     {&pb.ConsumeRequest{Group: "g"}, "InvalidArgument GROUP_NAME"},
		"lagging group": {&pb.ConsumeRequest{Group: "late", MemberId: "m", Topics: []string{"carbon.public.news"}}, "OutOfRange OFFSET_COMPACTED 3-6"},
	} {
		t.Run(name, func(t *testing.T) {
			l.committed("late", "carbon.public.news", 1) // offset 2 is gone
			_, _, err := consume(t, c, tt.q)
			if got := errorOf(err); got != tt.want {
				t.Errorf("got %s (%v), want %s", got, err, tt.want)
			}
		})
	}
	// A group that has seen all of a topic that is gone has lost nothing, though
	// there is more of it.
	l.committed("near", verraTopic, 1)
	if recs, _, err := consume(t, c, &pb.ConsumeRequest{Group: "near", MemberId: "m", Topics: []string{verraTopic}}); err != nil || len(recs) != 2 || recs[0].Offset != 3 {
		t.Errorf("group at the edge: %v, %v", recs, err)
	}
	// A group that has seen the last record of a topic has lost nothing.
	l.committed("quiet", "carbon.public.carbonmark", 1)
	if recs, next, err := consume(t, c, &pb.ConsumeRequest{Group: "quiet", MemberId: "m", Topics: []string{"carbon.public.carbonmark"}}); err != nil || len(recs) > 0 || next != 7 {
		t.Errorf("quiet group: %v, next %d, %v", recs, next, err)
	}
}

// TestCompactedInFlight lets retention pass a reader that waits for its client.
func TestCompactedInFlight(t *testing.T) {
	l := newFakeLog(1)
	l.add("verra", "verra")
	c := eventClient(t, l, rpc.Options{})
	q := earliest()
	q.Follow = true
	ss, err := c.Consume(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < 2; {
		m, err := ss.Recv()
		if err != nil {
			t.Fatal(err)
		}
		n += len(m.Records)
	}
	l.hold() // nothing wakes the reader until both are done
	l.add("verra", "verra")
	l.add("verra")
	l.drop(5)
	l.release()
	_, err = ss.Recv()
	if got := errorOf(err); got != "OutOfRange OFFSET_COMPACTED 5-5" {
		t.Errorf("got %s (%v)", got, err)
	}
}

// TestStripped: what retention has taken of tables without a view is an error to who
// wants it, also while it is read, and nothing to others.
func TestStripped(t *testing.T) {
	l := newFakeLog(10)
	for range 3 {
		l.add("verra", "news")
	}
	l.strip("news", 5) // 2 and 4 are gone
	l.committed("late", newsTopic, 2)
	l.committed("near", newsTopic, 4)
	c := eventClient(t, l, rpc.Options{})
	group := func(name string) *pb.ConsumeRequest {
		return &pb.ConsumeRequest{Group: name, MemberId: "m", Topics: []string{newsTopic}}
	}
	for name, tt := range map[string]struct {
		q    *pb.ConsumeRequest
		want string
	}{
		"all from the earliest":         {earliest(), "1* 3* 5 6*"},
		"it from the earliest":          {with(earliest(), newsTopic), "6*"},
		"others from then":              {with(at(3), verraTopic), "3* 5*"},
		"it from then":                  {with(at(3), newsTopic), "OutOfRange OFFSET_COMPACTED 5-6"},
		"all from then":                 {at(3), "OutOfRange OFFSET_COMPACTED 5-6"},
		"it from the floor":             {with(at(5), newsTopic), "6*"},
		"a group that has lost some":    {group("late"), "OutOfRange OFFSET_COMPACTED 5-6"},
		"a group that has lost nothing": {group("near"), "6*"},
	} {
		t.Run(name, func(t *testing.T) {
			recs, _, err := consume(t, c, tt.q)
			got := offsets(recs)
			if err != nil {
				got = errorOf(err)
			}
			if got != tt.want {
				t.Errorf("got %s (%v), want %s", got, err, tt.want)
			}
		})
	}
	_, err := c.ResetGroup(t.Context(), &pb.ResetGroupRequest{Group: "late", Topic: newsTopic, To: &pb.ResetGroupRequest_Offset{Offset: 3}})
	if got := errorOf(err); got != "OutOfRange OFFSET_COMPACTED 5-6" {
		t.Errorf("a group set back: %s (%v)", got, err)
	}
	q := earliest()
	q.Follow = true
	ss, err := c.Consume(t.Context(), q)
	for n := 0; err == nil && n < 4; {
		var m *pb.ConsumeResponse
		if m, err = ss.Recv(); err == nil {
			n += len(m.Records)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	l.hold() // nothing wakes the reader until both are done
	l.add("verra", "news")
	l.strip("news", 9)
	l.release()
	for err == nil {
		_, err = ss.Recv()
	}
	if got := errorOf(err); got != "OutOfRange OFFSET_COMPACTED 9-8" {
		t.Errorf("in flight: %s (%v)", got, err)
	}
}

// TestProgress tells a reader of a quiet topic how far it is.
func TestProgress(t *testing.T) {
	l := newFakeLog(10)
	c := eventClient(t, l, rpc.Options{})
	q := with(earliest(), newsTopic)
	q.Follow = true
	ss, err := c.Consume(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := ss.Recv(); err != nil || m.NextOffset != 1 || len(m.Records) != 0 {
		t.Fatalf("first message %v, %v", m, err)
	}
	l.add("verra", "verra")
	if m, err := ss.Recv(); err != nil || m.NextOffset != 3 || len(m.Records) != 0 {
		t.Fatalf("progress %v, %v", m, err)
	}
	l.add("verra", "news", "verra")
	m, err := ss.Recv()
	if err != nil || offsets(m.Records) != "4*" || m.NextOffset != 6 {
		t.Fatalf("record %v, %v", m, err)
	}
}

// TestQuiet: a follower of a log in which nothing happens hears now and then that the
// server is there, or a proxy between them would end the stream.
func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog(10)
		l.add("news")
		c := eventClient(t, l, rpc.Options{})
		q := earliest()
		q.Follow = true
		ss, err := c.Consume(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		began, marks := time.Now(), 0
		for time.Since(began) < time.Minute {
			m, err := ss.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if len(m.Records) == 0 && m.NextOffset == 2 {
				marks++
			}
		}
		if marks < 10 || marks > 20 {
			t.Errorf("%d marks in a minute", marks)
		}
	})
}

// TestLongRecord: a client that cannot take a long record learns where it is, and
// goes on without its value.
func TestLongRecord(t *testing.T) {
	l := newFakeLog(10)
	l.add("news")
	l.add("news")
	l.add("news")
	var b change.RowBuilder
	b.Reset(len(l.recs[1].Relation.Columns))
	for range l.recs[1].Relation.Columns {
		b.Text(strings.Repeat("x", 1<<20))
	}
	l.recs[1].After = b.Row()
	c := eventClient(t, l, rpc.Options{MaxSendBytes: 8 << 20})
	ss, err := c.Consume(t.Context(), earliest(), grpc.MaxCallRecvMsgSize(4<<20))
	var next uint64
	var got []string
	for err == nil {
		var m *pb.ConsumeResponse
		if m, err = ss.Recv(); err == nil {
			next = m.NextOffset
			got = append(got, offsets(m.Records))
		}
	}
	if status.Code(err) != codes.ResourceExhausted || next != 2 || strings.Join(got, " ") != " 1*" {
		t.Fatalf("with 4 MiB: records %q, next offset %d, %v", got, next, err)
	}
	q := earliest()
	q.Start, q.MaxValueBytes = &pb.ConsumeRequest_Offset{Offset: next}, 1<<20
	recs, _, err := consume(t, c, q)
	if err != nil || offsets(recs) != "2* 3*" || recs[0].ValueJson != nil || recs[0].ValueBytes < 6<<20 || len(recs[0].KeyJson) == 0 || recs[1].ValueBytes != 0 || recs[1].ValueJson == nil {
		t.Fatalf("with max_value_bytes: %v, %v", recs, err)
	}
	small := eventClient(t, l, rpc.Options{MaxSendBytes: 2 << 20})
	_, next, err = consume(t, small, earliest())
	if errorOf(err) != "ResourceExhausted RECORD_TOO_LARGE" || next != 2 || !strings.Contains(err.Error(), "offset 2 has") {
		t.Errorf("more than the server sends: next offset %d, %v", next, err)
	}
}

// TestDraining ends followers when the server stops.
func TestDraining(t *testing.T) {
	l := newFakeLog(10)
	s := newServer(t, newReader(&data{}), rpc.Options{Changelog: l})
	_, conn := serveServer(t, s)
	q := earliest()
	q.Follow = true
	ss, err := pb.NewChangelogServiceClient(conn).Consume(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ss.Recv(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	if _, err := ss.Recv(); errorOf(err) != "Unavailable DRAINING" {
		t.Errorf("got %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestConsumers bounds the streams.
func TestConsumers(t *testing.T) {
	l := newFakeLog(10)
	c := eventClient(t, l, rpc.Options{MaxConsumers: 1})
	q := earliest()
	q.Follow = true
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ss, err := c.Consume(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ss.Recv(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := consume(t, c, earliest()); errorOf(err) != "ResourceExhausted TOO_MANY_CONSUMERS" {
		t.Errorf("got %v", err)
	}
}

// TestChangelogScopes tries every call with every token.
func TestChangelogScopes(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	writeFile(t, tokens, "r read reading-reading-reading\na admin ruling-ruling-ruling\n")
	l := newFakeLog(10)
	c := eventClient(t, l, rpc.Options{TokensFile: tokens})
	calls := map[string]func(ctx context.Context) error{
		"ListTopics": func(ctx context.Context) error { _, err := c.ListTopics(ctx, &pb.ListTopicsRequest{}); return err },
		"ListGroups": func(ctx context.Context) error { _, err := c.ListGroups(ctx, &pb.ListGroupsRequest{}); return err },
		"CommitOffset": func(ctx context.Context) error {
			_, err := c.CommitOffset(ctx, &pb.CommitOffsetRequest{Group: "g", Topic: newsTopic})
			return err
		},
		"Consume": func(ctx context.Context) error { ss, err := c.Consume(ctx, earliest()); return received(ss, err) },
		"ResetGroup": func(ctx context.Context) error {
			_, err := c.ResetGroup(ctx, &pb.ResetGroupRequest{Group: "g", To: &pb.ResetGroupRequest_Delete{Delete: true}})
			return err
		},
		"Backup": func(ctx context.Context) error {
			ss, err := c.Backup(ctx, &pb.BackupRequest{})
			return received(ss, err)
		},
	}
	for name, call := range calls {
		for token, allowed := range map[string]bool{"": false, "reading-reading-reading": name != "ResetGroup" && name != "Backup", "ruling-ruling-ruling": true} {
			err := call(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token))
			code := status.Code(err)
			if refused := code == codes.PermissionDenied || code == codes.Unauthenticated; refused == allowed {
				t.Errorf("%s with token %q: %v", name, token, err)
			}
		}
	}
}

// received is the first error of a stream.
func received[M any](ss grpc.ServerStreamingClient[M], err error) error {
	for err == nil {
		_, err = ss.Recv()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func TestListTopics(t *testing.T) {
	l := newFakeLog(10)
	l.add("verra", "news", "verra")
	c := eventClient(t, l, rpc.Options{})
	r, err := c.ListTopics(t.Context(), &pb.ListTopicsRequest{})
	if err != nil || len(r.Topics) != len(change.Tables()) {
		t.Fatal(r, err)
	}
	if v := r.Topics[0]; v.Name != verraTopic || v.First != 1 || v.Next != 4 || v.Records != 2 || v.LastChangeMs != l.time(1).UnixMilli() {
		t.Errorf("verra: %v", v)
	}
}

// TestHistories: the log is of history "new", which begins at 3 behind a backup
// that ended at 2. Whoever names a history hears when its offset means something
// else here, and so does whoever comes with an offset that was never given out.
func TestHistories(t *testing.T) {
	l := newFakeLog(10)
	l.add("news", "verra")
	l.add("news", "verra")
	l.history = change.History{ID: "new", First: 3, Parents: []change.Ancestor{{ID: "old", First: 1, Last: 2}}}
	c := eventClient(t, l, rpc.Options{})
	const other = "OutOfRange OTHER_HISTORY 1-4"
	for name, tt := range map[string]struct {
		history string
		offset  uint64
		want    string
	}{
		"no name":              {"", 4, "4*"},
		"the same":             {"new", 4, "4*"},
		"shared":               {"old", 2, "2* 3 4*"},
		"behind the backup":    {"old", 3, "3 4*"},
		"what came to nothing": {"old", 4, other},
		"unknown":              {"gone", 1, other},
	} {
		t.Run(name, func(t *testing.T) {
			recs, _, err := consume(t, c, &pb.ConsumeRequest{Start: &pb.ConsumeRequest_Offset{Offset: tt.offset}, History: tt.history})
			got := offsets(recs)
			if err != nil {
				got = errorOf(err)
			}
			if got != tt.want {
				t.Errorf("got %s (%v), want %s", got, err, tt.want)
			}
		})
	}
	r, err := c.ListTopics(t.Context(), &pb.ListTopicsRequest{})
	if h := r.GetHistory(); err != nil || h.GetId() != "new" || h.GetFirst() != 3 || len(h.GetParents()) != 1 || h.GetParents()[0].GetLast() != 2 {
		t.Errorf("topics: %v, %v", h, err)
	}
	ss, err := c.Consume(t.Context(), &pb.ConsumeRequest{Group: "desk", MemberId: "one", Follow: true, History: "old"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := ss.Recv()
	if err != nil || m.History != "new" {
		t.Fatalf("first message: %v, %v", m, err)
	}
	for history, want := range map[string]string{"": "", "new": "", "gone": other, "old": other} {
		_, err := c.CommitOffset(t.Context(), &pb.CommitOffsetRequest{Group: "desk", Topic: newsTopic, Offset: 3, Generation: m.Generation, History: history})
		if got := errorOf(err); err != nil && got != want || err == nil && want != "" {
			t.Errorf("commit of an offset of %q: %v", history, err)
		}
	}
	if g, err := c.ListGroups(t.Context(), &pb.ListGroupsRequest{}); err != nil || g.History != "new" {
		t.Errorf("groups: %v, %v", g, err)
	}
	l.history = change.History{ID: "newer", First: 100, Parents: []change.Ancestor{{ID: "new", First: 1, Last: 4}}}
	_, _, err = consume(t, c, &pb.ConsumeRequest{Start: &pb.ConsumeRequest_Offset{Offset: 50}})
	if errorOf(err) != other {
		t.Errorf("an offset inside the hole: %v", err)
	}
}

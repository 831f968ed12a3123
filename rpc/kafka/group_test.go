package kafka_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"carbond/rpc/kafka"
	"carbond/store/change"
)

// consumer is one member of a group, step by step.
type consumer struct {
	*client
	group, id  string
	instance   *string
	generation int32
	leader     bool
	members    []string
}

// join joins, with the id that it is given in a first call, and returns the error.
func (c *consumer) join(session time.Duration) int16 {
	c.t.Helper()
	for {
		q := kmsg.NewPtrJoinGroupRequest()
		q.Group, q.MemberID, q.InstanceID = c.group, c.id, c.instance
		q.SessionTimeoutMillis, q.RebalanceTimeoutMillis, q.ProtocolType = int32(session.Milliseconds()), 60_000, "consumer"
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = "range", []byte("topics")
		q.Protocols = []kmsg.JoinGroupRequestProtocol{p}
		r := ask[*kmsg.JoinGroupResponse](c.client, q, 9)
		if r.ErrorCode == 79 && c.id == "" { // MEMBER_ID_REQUIRED
			c.id = r.MemberID
			continue
		}
		if r.ErrorCode == 0 {
			c.id, c.generation, c.leader, c.members = r.MemberID, r.Generation, r.LeaderID == r.MemberID, nil
			for _, m := range r.Members {
				c.members = append(c.members, m.MemberID)
			}
		}
		return r.ErrorCode
	}
}

// sync gets the assignment; the leader gives everything to the first member.
func (c *consumer) sync() (string, int16) {
	c.t.Helper()
	q := kmsg.NewPtrSyncGroupRequest()
	q.Group, q.MemberID, q.Generation, q.InstanceID = c.group, c.id, c.generation, c.instance
	slices.Sort(c.members)
	for i, id := range c.members {
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = id, fmt.Appendf(nil, "part %d", i)
		q.GroupAssignment = append(q.GroupAssignment, a)
	}
	r := ask[*kmsg.SyncGroupResponse](c.client, q, 5)
	return string(r.MemberAssignment), r.ErrorCode
}

func (c *consumer) heartbeat() int16 {
	c.t.Helper()
	q := kmsg.NewPtrHeartbeatRequest()
	q.Group, q.MemberID, q.Generation, q.InstanceID = c.group, c.id, c.generation, c.instance
	return ask[*kmsg.HeartbeatResponse](c.client, q, 4).ErrorCode
}

func (c *consumer) leave() int16 {
	c.t.Helper()
	q := kmsg.NewPtrLeaveGroupRequest()
	q.Group = c.group
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID, m.InstanceID = c.id, c.instance
	q.Members = []kmsg.LeaveGroupRequestMember{m}
	return ask[*kmsg.LeaveGroupResponse](c.client, q, 5).Members[0].ErrorCode
}

func (c *consumer) commit(topic string, next int64, generation int32, id string) int16 {
	c.t.Helper()
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Group, q.Generation, q.MemberID = c.group, generation, id
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset, p.LeaderEpoch, p.Metadata = next, 7, kmsg.StringPtr("note")
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic, t.Partitions = topic, []kmsg.OffsetCommitRequestTopicPartition{p}
	q.Topics = []kmsg.OffsetCommitRequestTopic{t}
	return ask[*kmsg.OffsetCommitResponse](c.client, q, 8).Topics[0].Partitions[0].ErrorCode
}

// committed asks for what a group has committed, of all topics when none is named.
func committed(c *client, group string, topics ...string) map[string]kmsg.OffsetFetchResponseTopicPartition {
	c.t.Helper()
	q := kmsg.NewPtrOffsetFetchRequest()
	q.Group = group
	for _, name := range topics {
		t := kmsg.NewOffsetFetchRequestTopic()
		t.Topic, t.Partitions = name, []int32{0}
		q.Topics = append(q.Topics, t)
	}
	out := map[string]kmsg.OffsetFetchResponseTopicPartition{}
	for _, t := range ask[*kmsg.OffsetFetchResponse](c, q, 7).Topics {
		out[t.Topic] = t.Partitions[0]
	}
	return out
}

func groupState(c *client, name string) string {
	c.t.Helper()
	q := kmsg.NewPtrDescribeGroupsRequest()
	q.Groups = []string{name}
	g := ask[*kmsg.DescribeGroupsResponse](c, q, 5).Groups[0]
	return fmt.Sprintf("%s %d", g.State, len(g.Members))
}

// TestGroup follows a group through its life: one member, a second that comes, the
// division of the partitions, one that leaves, and one that is not heard of again.
func TestGroup(t *testing.T) {
	w := newWorld(t, kafka.Options{})
	w.write(t, 50)
	admin := dial(t, w.addr)
	member := func() *consumer { return &consumer{client: dial(t, w.addr), group: "desk"} }
	a := member()
	if code := a.join(time.Minute); code != 0 || !a.leader || len(a.members) != 1 {
		t.Fatalf("the first joins: error %d, %+v", code, a)
	}
	if got := groupState(admin, "desk"); got != "CompletingRebalance 1" {
		t.Error(got)
	}
	if part, code := a.sync(); code != 0 || part != "part 0" {
		t.Fatalf("the first syncs: %q, error %d", part, code)
	}
	if got := groupState(admin, "desk"); got != "Stable 1" || a.heartbeat() != 0 {
		t.Error(got)
	}

	b := member()
	joined := make(chan int16, 1)
	go func() { joined <- b.join(2 * time.Second) }()
	deadline := time.Now().Add(time.Minute)
	for a.heartbeat() != 27 { // REBALANCE_IN_PROGRESS
		if time.Now().After(deadline) {
			t.Fatal("the first never hears of the second")
		}
	}
	old := a.generation
	if code := a.join(time.Minute); code != 0 || a.generation != old+1 {
		t.Fatalf("the first joins again: error %d, generation %d", code, a.generation)
	}
	if code := <-joined; code != 0 || b.generation != a.generation || a.leader == b.leader {
		t.Fatalf("the second joins: error %d, %+v", code, b)
	}
	follower, leader := a, b
	if a.leader {
		follower, leader = b, a
	}
	parts := make(chan string, 1)
	go func() {
		part, code := follower.sync()
		parts <- fmt.Sprint(part, code)
	}()
	own, code := leader.sync()
	if other := <-parts; code != 0 || len(leader.members) != 2 || own+"0" == other {
		t.Fatalf("parts %q and %q, error %d", own, other, code)
	}

	// The second is not heard of for its session; the first goes on alone.
	for a.heartbeat() != 27 {
		if time.Now().After(deadline) {
			t.Fatal("a silent member stays")
		}
	}
	if code := a.join(time.Minute); code != 0 || len(a.members) != 1 {
		t.Fatalf("the first alone: error %d, members %v", code, a.members)
	}
	if part, code := a.sync(); code != 0 || part != "part 0" {
		t.Fatalf("%q, error %d", part, code)
	}
	if code := b.heartbeat(); code != 25 { // UNKNOWN_MEMBER_ID
		t.Errorf("who was silent: error %d", code)
	}
	if code := a.leave(); code != 0 || groupState(admin, "desk") != "Empty 0" {
		t.Errorf("leaving: error %d, %s", code, groupState(admin, "desk"))
	}
}

// TestStaticMember: one that was started again goes on in its place, and who had its
// name before is fenced.
func TestStaticMember(t *testing.T) {
	w := newWorld(t, kafka.Options{})
	name := "host-1"
	first := &consumer{client: dial(t, w.addr), group: "desk", instance: &name}
	if code := first.join(time.Minute); code != 0 {
		t.Fatalf("error %d", code)
	}
	if part, code := first.sync(); part != "part 0" || code != 0 {
		t.Fatalf("%q, error %d", part, code)
	}
	again := &consumer{client: dial(t, w.addr), group: "desk", instance: &name}
	if code := again.join(time.Minute); code != 0 || again.id == first.id || again.generation != first.generation {
		t.Fatalf("again: error %d, generation %d after %d", code, again.generation, first.generation)
	}
	if part, code := again.sync(); part != "part 0" || code != 0 {
		t.Errorf("again: %q, error %d", part, code)
	}
	for what, do := range map[string]func() int16{"heartbeat": first.heartbeat, "leave": first.leave, "join": func() int16 { return first.join(time.Minute) }} {
		if code := do(); code != 82 { // FENCED_INSTANCE_ID
			t.Errorf("who had the name, %s: error %d", what, code)
		}
	}
	// The leader hears who else is there, as it may have to divide again.
	if len(again.members) != 1 || !again.leader {
		t.Errorf("again: %+v", again)
	}
}

// TestAnswerMissed: a member that asks again, since it has not heard the answer, hears
// the same, and no rebalance begins.
func TestAnswerMissed(t *testing.T) {
	w := newWorld(t, kafka.Options{})
	c := &consumer{client: dial(t, w.addr), group: "desk"}
	if code := c.join(time.Minute); code != 0 {
		t.Fatalf("error %d", code)
	}
	generation := c.generation
	if code := c.join(time.Minute); code != 0 || c.generation != generation || len(c.members) != 1 {
		t.Errorf("again: error %d, generation %d after %d, members %v", code, c.generation, generation, c.members)
	}
	if part, code := c.sync(); code != 0 || part != "part 0" {
		t.Errorf("%q, error %d", part, code)
	}
}

// TestCommits: what is committed is there after a restart, and who may not commit
// is told so.
func TestCommits(t *testing.T) {
	w := newWorld(t, kafka.Options{})
	w.write(t, 200)
	verra, news := w.Topics()[0], w.Topics()[3]
	c := &consumer{client: dial(t, w.addr), group: "desk"}
	// Without members anybody may commit, as tools do.
	if code := c.commit(verra.Name, 5, -1, ""); code != 0 {
		t.Fatalf("error %d", code)
	}
	if code := c.join(time.Minute); code != 0 {
		t.Fatalf("error %d", code)
	}
	for what, tt := range map[string]struct {
		topic      string
		next       int64
		generation int32
		id         string
		want       int16
	}{
		"before the assignment":    {verra.Name, 6, c.generation, c.id, 27},
		"nobody":                   {verra.Name, 6, -1, "", 25},
		"another":                  {verra.Name, 6, c.generation, "other", 25},
		"an old generation":        {verra.Name, 6, c.generation - 1, c.id, 22},
		"a topic that is not":      {"carbon.public.x", 6, c.generation, c.id, 3},
		"what is not there yet":    {verra.Name, int64(verra.Messages) + 1, -1, "", 25},
		"a number below the first": {verra.Name, -2, c.generation, c.id, 1},
	} {
		if code := c.commit(tt.topic, tt.next, tt.generation, tt.id); code != tt.want {
			t.Errorf("%s: error %d, want %d", what, code, tt.want)
		}
	}
	if _, code := c.sync(); code != 0 {
		t.Fatalf("error %d", code)
	}
	for _, next := range []int64{int64(verra.Messages), 17, 40} { // also backwards
		if code := c.commit(verra.Name, next, c.generation, c.id); code != 0 {
			t.Fatalf("commit %d: error %d", next, code)
		}
	}
	if code := c.commit(verra.Name, int64(verra.Messages)+1, c.generation, c.id); code != 1 {
		t.Errorf("what is not there yet: error %d", code)
	}
	if _, err := w.Join("desk", "grpc"); !errors.Is(err, change.ErrGroupBusy) {
		t.Errorf("a consumer of the changelog service: %v", err)
	}
	w.stop()
	w.start(t)
	after := dial(t, w.addr)
	for _, got := range []map[string]kmsg.OffsetFetchResponseTopicPartition{committed(after, "desk"), committed(after, "desk", verra.Name)} {
		if p := got[verra.Name]; len(got) != 1 || p.Offset != 40 || p.LeaderEpoch != 7 || *p.Metadata != "note" {
			t.Errorf("after a restart: %+v", got)
		}
	}
	all := kmsg.NewPtrOffsetFetchRequest()
	all.Group = "desk"
	q := kmsg.NewOffsetFetchRequestTopic()
	q.Topic, q.Partitions = verra.Name, []int32{1, 0}
	all.Topics = []kmsg.OffsetFetchRequestTopic{q}
	if ps := ask[*kmsg.OffsetFetchResponse](after, all, 5).Topics[0].Partitions; len(ps) != 2 || ps[0].Partition != 1 || ps[0].Offset != -1 || ps[1].Offset != 40 {
		t.Errorf("of two partitions: %+v", ps)
	}
	if p := committed(after, "desk", news.Name)[news.Name]; p.Offset != -1 {
		t.Errorf("of a topic without a commit: %+v", p)
	}

	// A consumer of the changelog service takes over, and back.
	m, err := w.Join("desk", "grpc")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.CommitOffset(t.Context(), change.GroupCommit{Group: "desk", Generation: m.Generation, Member: m.ID, Topic: verra.Name, Offset: w.Position().Offset}); err != nil {
		t.Fatal(err)
	}
	late := &consumer{client: dial(t, w.addr), group: "desk"}
	if code := late.join(time.Minute); code != 23 {
		t.Errorf("joining beside a consumer of the changelog service: error %d", code)
	}
	m.Leave()
	if p := committed(after, "desk", verra.Name)[verra.Name]; p.Offset != int64(verra.Messages) {
		t.Errorf("what the changelog service committed: %+v, want %d", p, verra.Messages)
	}
}

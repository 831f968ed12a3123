package kafkatest_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// broker is a connection over which requests go in a version of choice.
type broker struct {
	net.Conn
	n    int32
	most map[int16][2]int16 // versions by kind of request
}

func dial(t *testing.T, addr string) *broker {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	b := &broker{Conn: conn, most: map[int16][2]int16{}}
	r, err := b.ask(kmsg.NewPtrApiVersionsRequest(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range r.(*kmsg.ApiVersionsResponse).ApiKeys {
		b.most[k.ApiKey] = [2]int16{k.MinVersion, k.MaxVersion}
	}
	return b
}

func (b *broker) ask(q kmsg.Request, version int16) (kmsg.Response, error) {
	q.SetVersion(version)
	b.n++
	if _, err := b.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("x")).AppendRequest(nil, q, b.n)); err != nil {
		return nil, err
	}
	_ = b.SetReadDeadline(time.Now().Add(time.Minute))
	head := make([]byte, 8)
	if _, err := io.ReadFull(b, head); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head)-4)
	if _, err := io.ReadFull(b, body); err != nil {
		return nil, err
	}
	r := q.ResponseKind()
	r.SetVersion(version)
	if r.IsFlexible() && q.Key() != kmsg.ApiVersions.Int16() {
		if len(body) == 0 || body[0] != 0 {
			return nil, errors.New("no tags in the header")
		}
		body = body[1:]
	}
	return r, r.ReadFrom(body)
}

// compared are the fields of answers that have to be the same: the others speak of
// times, places and what was written meanwhile.
var compared = []string{"ErrorCode", "Partition", "Topic", "Group", "State", "ProtocolType", "Protocol", "LogStartOffset", "Offset", "EndOffset", "Metadata", "PreferredReadReplica", "IsInternal"}

// shape appends the compared fields of an answer, with where they are.
func shape(out []string, at string, v reflect.Value) []string {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return shape(out, at, v.Elem())
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct {
			for i := range v.Len() {
				out = shape(out, fmt.Sprintf("%s[%d]", at, i), v.Index(i))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f, name := v.Field(i), v.Type().Field(i).Name
			for f.Kind() == reflect.Pointer && !f.IsNil() {
				f = f.Elem()
			}
			if slices.Contains(compared, name) && f.Kind() != reflect.Slice {
				out = append(out, fmt.Sprintf("%s.%s=%v", at, name, f))
			} else if name != "ThrottleMillis" {
				out = shape(out, at+"."+name, f)
			}
		}
	}
	return out
}

// fake runs franz-go's imitation of a broker, with n messages in the topic.
func fake(t *testing.T, n int) string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	p, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range n {
		if err := p.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	return c.ListenAddrs()[0]
}

// TestLikeKfake asks carbond and another implementation of the protocol the same, in
// every version that both serve, and compares what clients decide by. Not asked is what
// kfake answers otherwise than Apache Kafka does: strangers in groups that do not exist,
// and what a stranger commits.
func TestLikeKfake(t *testing.T) {
	ours, theirs := dial(t, demo(t)), dial(t, fake(t, 5))
	all := requests()
	for _, name := range slices.Sorted(maps.Keys(all)) { // a commit makes the group that the others name
		q := all[name]
		a, b := ours.most[q().Key()], theirs.most[q().Key()]
		least, most := max(a[0], b[0]), min(a[1], b[1])
		if most < least {
			t.Errorf("%s: versions %v here, %v there", name, a, b)
		}
		for v := least; v <= most; v++ {
			got, err := ours.ask(q(), v)
			want, werr := theirs.ask(q(), v)
			if err = errors.Join(err, werr); err != nil {
				t.Fatalf("%s in version %d: %v", name, v, err)
			}
			g, w := shape(nil, "", reflect.ValueOf(got)), shape(nil, "", reflect.ValueOf(want))
			if !slices.Equal(g, w) {
				t.Errorf("%s in version %d:\n%s\nkfake:\n%s", name, v, strings.Join(g, " "), strings.Join(w, " "))
			}
		}
	}
}

// requests are what consumers and their tools ask, well and badly.
func requests() map[string]func() kmsg.Request {
	out := map[string]func() kmsg.Request{}
	list := func(name, topic string, partition int32, at int64, epoch int32) {
		out["ListOffsets "+name] = func() kmsg.Request {
			q, qt, p := kmsg.NewPtrListOffsetsRequest(), kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.Timestamp, p.CurrentLeaderEpoch = partition, at, epoch
			qt.Topic, qt.Partitions = topic, append(qt.Partitions, p)
			q.ReplicaID, q.Topics = -1, append(q.Topics, qt)
			return q
		}
	}
	list("earliest", topic, 0, -2, -1)
	list("another topic", "other", 0, -2, -1)
	list("another partition", topic, 1, -2, -1)
	list("another epoch", topic, 0, -2, 9)
	list("a time to come", topic, 0, 1<<45, -1)
	fetch := func(name, topic string, partition int32, at int64, epoch int32, session int32) {
		out["Fetch "+name] = func() kmsg.Request {
			q, qt, p := kmsg.NewPtrFetchRequest(), kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
			p.Partition, p.FetchOffset, p.CurrentLeaderEpoch, p.PartitionMaxBytes = partition, at, epoch, 1
			qt.Topic, qt.Partitions = topic, append(qt.Partitions, p)
			q.ReplicaID, q.MaxBytes, q.MaxWaitMillis, q.SessionID, q.SessionEpoch, q.Topics = -1, 1<<20, 10, session, -1, append(q.Topics, qt)
			return q
		}
	}
	fetch("behind the end", topic, 0, 1<<40, -1, 0)
	fetch("another topic", "other", 0, 0, -1, 0)
	fetch("another partition", topic, 7, 0, -1, 0)
	fetch("another epoch", topic, 0, 0, 9, 0)
	metadata := func(name string, topics ...string) {
		out["Metadata "+name] = func() kmsg.Request {
			q := kmsg.NewPtrMetadataRequest()
			for _, name := range topics {
				qt := kmsg.NewMetadataRequestTopic()
				qt.Topic = kmsg.StringPtr(name)
				q.Topics = append(q.Topics, qt)
			}
			return q
		}
	}
	metadata("one", topic)
	metadata("another topic", "other")
	out["FindCoordinator"] = func() kmsg.Request {
		q := kmsg.NewPtrFindCoordinatorRequest()
		q.CoordinatorKey, q.CoordinatorKeys = "g", []string{"g"}
		return q
	}
	epoch := func(name, topic string, current, of int32) {
		out["OffsetForLeaderEpoch "+name] = func() kmsg.Request {
			q, qt, p := kmsg.NewPtrOffsetForLeaderEpochRequest(), kmsg.NewOffsetForLeaderEpochRequestTopic(), kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
			p.CurrentLeaderEpoch, p.LeaderEpoch = current, of
			qt.Topic, qt.Partitions = topic, append(qt.Partitions, p)
			q.ReplicaID, q.Topics = -1, append(q.Topics, qt)
			return q
		}
	}
	epoch("another topic", "other", -1, 0)
	epoch("another epoch", topic, 9, 0)
	epoch("of later", topic, -1, 9)
	return groupRequests(out)
}

// groupRequests adds those of groups.
func groupRequests(out map[string]func() kmsg.Request) map[string]func() kmsg.Request {
	commit := func(name, topic, member string, generation int32) {
		out["Commit "+name] = func() kmsg.Request {
			q, qt, p := kmsg.NewPtrOffsetCommitRequest(), kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
			p.Offset, p.Metadata = 3, kmsg.StringPtr("m")
			qt.Topic, qt.Partitions = topic, append(qt.Partitions, p)
			q.Group, q.MemberID, q.Generation, q.Topics = "committed", member, generation, append(q.Topics, qt)
			return q
		}
	}
	commit("first, without members", topic, "", -1)
	commit("of another topic", "other", "", -1)
	out["OffsetFetch"] = func() kmsg.Request {
		q, g := kmsg.NewPtrOffsetFetchRequest(), kmsg.NewOffsetFetchRequestGroup()
		qt, gt := kmsg.NewOffsetFetchRequestTopic(), kmsg.NewOffsetFetchRequestGroupTopic()
		qt.Topic, qt.Partitions, gt.Topic, gt.Partitions = topic, []int32{0}, topic, []int32{0}
		g.Group, g.Topics = "committed", append(g.Topics, gt)
		q.Group, q.Topics, q.Groups = "committed", append(q.Topics, qt), append(q.Groups, g)
		return q
	}
	join := func(name, group, kind string, session int32, protocols ...string) {
		out["JoinGroup "+name] = func() kmsg.Request {
			q := kmsg.NewPtrJoinGroupRequest()
			q.Group, q.MemberID, q.ProtocolType, q.SessionTimeoutMillis, q.RebalanceTimeoutMillis = group, "nobody", kind, session, 1000
			for _, name := range protocols {
				p := kmsg.NewJoinGroupRequestProtocol()
				p.Name = name
				q.Protocols = append(q.Protocols, p)
			}
			return q
		}
	}
	join("as a stranger", "committed", "consumer", 10_000, "range")
	join("no group", "", "consumer", 10_000, "range")
	join("for no time", "g", "consumer", 1, "range")
	out["SyncGroup of a stranger"] = func() kmsg.Request {
		q := kmsg.NewPtrSyncGroupRequest()
		q.Group, q.MemberID, q.Generation = "committed", "nobody", 1
		return q
	}
	out["Heartbeat of a stranger"] = func() kmsg.Request {
		q := kmsg.NewPtrHeartbeatRequest()
		q.Group, q.MemberID, q.Generation = "committed", "nobody", 1
		return q
	}
	out["LeaveGroup of a stranger"] = func() kmsg.Request {
		q, m := kmsg.NewPtrLeaveGroupRequest(), kmsg.NewLeaveGroupRequestMember()
		m.MemberID = "nobody"
		q.Group, q.MemberID, q.Members = "committed", "nobody", append(q.Members, m)
		return q
	}
	out["DescribeGroups of nothing"] = func() kmsg.Request {
		q := kmsg.NewPtrDescribeGroupsRequest()
		q.Groups = []string{"unheard of"}
		return q
	}
	out["DeleteGroups of nothing"] = func() kmsg.Request {
		q := kmsg.NewPtrDeleteGroupsRequest()
		q.Groups = []string{"unheard of"}
		return q
	}
	return out
}

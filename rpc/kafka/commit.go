package kafka

import (
	"context"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"carbond/store/change"
)

// maxMetadata bounds what a client may keep beside an offset.
const maxMetadata = 4096

func (c *conn) offsetCommit(ctx context.Context, q *kmsg.OffsetCommitRequest) kmsg.Response {
	r := kmsg.NewPtrOffsetCommitResponse()
	places := map[string]change.MessagePlace{}
	wrong := map[[2]any]int16{}
	for _, t := range q.Topics {
		_, known := c.topic(t.Topic)
		for _, p := range t.Partitions {
			metadata := ""
			if p.Metadata != nil {
				metadata = *p.Metadata
			}
			switch key := [2]any{t.Topic, p.Partition}; {
			case !known || p.Partition != 0:
				wrong[key] = errUnknownTopicOrPartition
			case len(metadata) > maxMetadata:
				wrong[key] = errMetadataTooLarge
			case p.Offset < 0:
				wrong[key] = errOffsetOutOfRange
			default:
				places[t.Topic] = change.MessagePlace{Next: uint64(p.Offset), Epoch: p.LeaderEpoch, Metadata: metadata}
			}
		}
	}
	all := int16(errGroupAuthorization)
	if _, _, may := c.allows(q.Group); may {
		all = c.groups.commit(ctx, q, places)
	}
	for _, t := range q.Topics {
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition = p.Partition
			if rp.ErrorCode = all; wrong[[2]any{t.Topic, p.Partition}] != 0 {
				rp.ErrorCode = wrong[[2]any{t.Topic, p.Partition}]
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		r.Topics = append(r.Topics, rt)
	}
	return r
}

// commit stores places for a member, or for a group without members.
func (g *coordinator) commit(ctx context.Context, q *kmsg.OffsetCommitRequest, places map[string]change.MessagePlace) int16 {
	generation, why := g.committer(q)
	if why != 0 || len(places) == 0 {
		return why
	}
	return code(g.log.CommitMessages(ctx, q.Group, generation, places))
}

// committer makes sure that who commits may, and returns the generation that the
// store knows, 0 for a group without members.
func (g *coordinator) committer(q *kmsg.OffsetCommitRequest) (uint64, int16) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if q.Group == "" {
		return 0, errInvalidGroup
	}
	if q.Generation < 0 && q.MemberID == "" {
		if gr := g.groups[q.Group]; gr != nil && len(gr.members) > 0 {
			return 0, errUnknownMember
		}
		return 0, 0
	}
	gr, _, why := g.find(q.Group, q.MemberID, q.InstanceID, q.Generation)
	switch {
	case why != 0:
		return 0, why
	case gr.state == stateCompleting:
		return 0, errRebalanceInProgress
	}
	return gr.hold.Generation, 0
}

func (c *conn) offsetFetch(ctx context.Context, q *kmsg.OffsetFetchRequest) kmsg.Response {
	r := kmsg.NewPtrOffsetFetchResponse()
	if q.Version < 8 {
		var want []string
		for _, t := range q.Topics {
			want = append(want, t.Topic)
		}
		for _, f := range c.fetched(ctx, q.Group, q.Topics == nil, want) {
			t := kmsg.NewOffsetFetchResponseTopic()
			p := kmsg.NewOffsetFetchResponseTopicPartition()
			t.Topic, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode = f.topic, f.offset, f.epoch, &f.metadata, f.code
			t.Partitions = []kmsg.OffsetFetchResponseTopicPartition{p}
			r.Topics = append(r.Topics, t)
		}
		return r
	}
	for _, g := range q.Groups {
		var want []string
		for _, t := range g.Topics {
			want = append(want, t.Topic)
		}
		rg := kmsg.NewOffsetFetchResponseGroup()
		rg.Group = g.Group
		for _, f := range c.fetched(ctx, g.Group, g.Topics == nil, want) {
			t := kmsg.NewOffsetFetchResponseGroupTopic()
			p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			t.Topic, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode = f.topic, f.offset, f.epoch, &f.metadata, f.code
			t.Partitions = []kmsg.OffsetFetchResponseGroupTopicPartition{p}
			rg.Topics = append(rg.Topics, t)
		}
		r.Groups = append(r.Groups, rg)
	}
	return r
}

// fetched is where a group goes on in a topic.
type fetched struct {
	topic    string
	offset   int64
	epoch    int32
	metadata string
	code     int16
}

// fetched returns the places of a group in the wanted topics, or in all that it has
// committed to. What was committed by the changelog service is told in messages.
func (c *conn) fetched(ctx context.Context, group string, all bool, want []string) (out []fetched) {
	have := c.log.Places(group)
	if all {
		want = slices.Sorted(maps.Keys(have))
	}
	for _, name := range want {
		f := fetched{topic: name, offset: -1, epoch: -1}
		t, committed := have[name]
		switch {
		case committed && t.Place != nil:
			f.offset, f.epoch, f.metadata = int64(t.Place.Next), t.Place.Epoch, t.Place.Metadata
		case committed:
			n, err := c.log.MessagesUpTo(ctx, name, t.Committed)
			if f.code = code(err); f.code == errOffsetOutOfRange {
				n, _, err = c.log.Messages(ctx, name) // retention has passed it
				f.code = code(err)
			}
			f.offset, f.epoch = int64(n), c.epoch()
		}
		out = append(out, f)
	}
	return out
}

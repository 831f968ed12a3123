package kafka

import (
	"context"
	"errors"
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
		_, known := c.log.Topic(t.Topic)
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
	if q.Version >= 8 {
		for _, g := range q.Groups {
			rg := kmsg.NewOffsetFetchResponseGroup()
			rg.Group, rg.Topics = g.Group, c.fetched(ctx, g.Group, g.Topics)
			r.Groups = append(r.Groups, rg)
		}
		return r
	}
	// Earlier versions ask for one group, with types of their own for the same.
	var want []kmsg.OffsetFetchRequestGroupTopic
	if q.Topics != nil {
		want = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	for _, t := range q.Topics {
		want = append(want, kmsg.OffsetFetchRequestGroupTopic{Topic: t.Topic, Partitions: t.Partitions})
	}
	for _, t := range c.fetched(ctx, q.Group, want) {
		rt := kmsg.NewOffsetFetchResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rt.Partitions = append(rt.Partitions, kmsg.OffsetFetchResponseTopicPartition(p))
		}
		r.Topics = append(r.Topics, rt)
	}
	return r
}

// fetched returns the places of a group in the wanted topics, or for nil in all that
// it has committed to.
func (c *conn) fetched(ctx context.Context, group string, want []kmsg.OffsetFetchRequestGroupTopic) (out []kmsg.OffsetFetchResponseGroupTopic) {
	have := c.log.Places(group)
	if want == nil {
		for _, name := range slices.Sorted(maps.Keys(have)) {
			want = append(want, kmsg.OffsetFetchRequestGroupTopic{Topic: name, Partitions: []int32{0}})
		}
	}
	for _, t := range want {
		rt := kmsg.NewOffsetFetchResponseGroupTopic()
		rt.Topic = t.Topic
		for _, partition := range t.Partitions {
			p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = partition, -1, -1, kmsg.StringPtr("")
			if at, ok := have[t.Topic]; ok && partition == 0 {
				c.committed(ctx, at, &p)
			}
			rt.Partitions = append(rt.Partitions, p)
		}
		out = append(out, rt)
	}
	return out
}

// committed says where a group goes on in a topic. What it has committed by the
// changelog service is told in messages.
func (c *conn) committed(ctx context.Context, t change.GroupTopic, p *kmsg.OffsetFetchResponseGroupTopicPartition) {
	if t.Place != nil {
		p.Offset, p.LeaderEpoch, p.Metadata = int64(t.Place.Next), t.Place.Epoch, &t.Place.Metadata
		return
	}
	done, err := c.scan(ctx)
	if err != nil {
		p.ErrorCode = code(err)
		return
	}
	defer done()
	n, err := c.log.MessagesUpTo(ctx, t.Topic, t.Committed)
	if errors.As(err, new(*change.CompactedError)) {
		n, err = c.low(ctx, t.Topic) // retention has passed it
	}
	if p.ErrorCode = code(err); err == nil {
		p.Offset, p.LeaderEpoch = int64(n), c.epoch()
	}
}

package changelog

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"

	pb "carbond/proto/carbon"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// CommitOffset implements carbon.ChangelogService.
func (s *Service) CommitOffset(ctx context.Context, q *pb.CommitOffsetRequest) (*pb.CommitOffsetResponse, error) {
	if err := known(s.log.Topics(), q.Topic); err != nil {
		return nil, err
	}
	if err := s.opt.MayUse(ctx, q.Group); err != nil {
		return nil, err
	}
	if err := s.log.History().Check(q.History, change.Offset(q.Offset)); q.History != "" && err != nil {
		return nil, s.status(ctx, err)
	}
	c := change.GroupCommit{Group: q.Group, Generation: q.Generation, Member: q.MemberId, Topic: q.Topic, Offset: change.Offset(q.Offset)}
	if err := s.log.CommitOffset(ctx, c); err != nil {
		return nil, s.status(ctx, err)
	}
	return &pb.CommitOffsetResponse{}, nil
}

// ListGroups implements carbon.ChangelogService.
func (s *Service) ListGroups(context.Context, *pb.ListGroupsRequest) (*pb.ListGroupsResponse, error) {
	out := &pb.ListGroupsResponse{History: s.log.History().ID}
	for _, g := range s.log.Groups() {
		out.Groups = append(out.Groups, groupProto(g))
	}
	return out, nil
}

// ResetGroup implements carbon.ChangelogService.
func (s *Service) ResetGroup(ctx context.Context, q *pb.ResetGroupRequest) (*pb.ResetGroupResponse, error) {
	if q.GetDelete() {
		if q.Topic != "" {
			return nil, rpcerr.BadField("topic", "is set, but a group is deleted as a whole")
		}
		if err := s.log.DeleteGroup(q.Group); err != nil {
			return nil, s.status(ctx, err)
		}
		return &pb.ResetGroupResponse{Group: &pb.Group{Name: q.Group}}, nil
	}
	var wanted []string
	if q.Topic != "" {
		wanted = []string{q.Topic}
	}
	topics, err := s.topics(wanted)
	if err != nil {
		return nil, err
	}
	at, err := s.resetTo(ctx, q, topics)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(topics))
	for i := range topics {
		names[i] = topics[i].Name
	}
	// A mistyped name would make a group that holds back retention.
	if !slices.ContainsFunc(s.log.Groups(), func(g change.Group) bool { return g.Name == q.Group }) {
		return nil, refuse(codes.NotFound, rpcerr.ReasonNoGroup, fmt.Errorf("there is no group %q; a group begins with its first consumer", q.Group))
	}
	if err := s.log.ResetGroup(ctx, q.Group, names, at); err != nil {
		return nil, s.status(ctx, err)
	}
	for _, g := range s.log.Groups() {
		if g.Name == q.Group {
			return &pb.ResetGroupResponse{Group: groupProto(g)}, nil
		}
	}
	return nil, refuse(codes.NotFound, rpcerr.ReasonNoGroup, fmt.Errorf("group %q was deleted meanwhile", q.Group))
}

// resetTo returns the last offset that counts as dealt with. Of several topics each
// goes on where it begins, if that is later.
func (s *Service) resetTo(ctx context.Context, q *pb.ResetGroupRequest, topics []change.Topic) (change.Offset, error) {
	oldest, newest := s.bounds()
	if len(topics) == 1 && topics[0].Plain {
		oldest = s.log.Floor()
	}
	switch to := q.To.(type) {
	case *pb.ResetGroupRequest_Earliest:
		return oldest - 1, nil
	case *pb.ResetGroupRequest_Latest:
		return newest, nil
	case *pb.ResetGroupRequest_Time:
		return s.before(ctx, to.Time)
	case *pb.ResetGroupRequest_Offset:
		at := change.Offset(to.Offset)
		h := s.log.History()
		if err := h.Check("", min(at, newest)); err != nil {
			return 0, s.status(ctx, err)
		}
		switch {
		case at > newest:
			return 0, outOfRange(rpcerr.ReasonFuture, oldest, newest, fmt.Errorf("offset %d is not reached: the newest is %d", at, newest))
		case h.After(at) < oldest:
			return 0, outOfRange(rpcerr.ReasonCompacted, oldest, newest, fmt.Errorf("what follows offset %d is gone: retention keeps offset %d and later", at, oldest))
		}
		return at, nil
	}
	return 0, rpcerr.BadField("to", "is missing: say earliest, latest, an offset, a time or delete")
}

func groupProto(g change.Group) *pb.Group {
	out := &pb.Group{Name: g.Name, Generation: g.Generation, ActiveMember: g.Active}
	for _, t := range g.Topics {
		p := &pb.GroupTopic{Topic: t.Topic, Committed: uint64(t.Committed), LagRecords: t.Lag, LagSeconds: t.LagTime.Seconds()}
		if !t.At.IsZero() {
			p.CommittedMs = t.At.UnixMilli()
		}
		out.Topics = append(out.Topics, p)
	}
	return out
}

var errSlowBackup = errors.New("the client stopped reading the backup, which holds back retention")

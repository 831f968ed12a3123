package changelog

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"

	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// statuses says what the errors of a Log mean for the caller, who sees their text.
var statuses = []struct {
	err    error
	code   codes.Code
	reason string
}{
	{change.ErrMemberActive, codes.AlreadyExists, rpcerr.ReasonActive},
	{change.ErrStaleGeneration, codes.FailedPrecondition, rpcerr.ReasonStale},
	{change.ErrCommitBackwards, codes.FailedPrecondition, rpcerr.ReasonBackwards},
	{change.ErrGroupBusy, codes.FailedPrecondition, rpcerr.ReasonBusy},
	{change.ErrGroupUnknown, codes.NotFound, rpcerr.ReasonNoGroup},
	{change.ErrTopicUnknown, codes.NotFound, rpcerr.ReasonNoTopic},
	{change.ErrGroupName, codes.InvalidArgument, rpcerr.ReasonGroupName},
	{change.ErrTooManyGroups, codes.ResourceExhausted, rpcerr.ReasonGroups},
	{change.ErrGroupsAway, codes.Unavailable, rpcerr.ReasonAway},
	{change.ErrClosed, codes.Unavailable, rpcerr.ReasonDraining},
}

// status turns an error of the Log into a status.
func (s *Service) status(ctx context.Context, err error) error {
	if err == nil || rpcerr.Is(err) {
		return err
	}
	oldest, newest := s.bounds()
	if other, ok := errors.AsType[*change.HistoryError](err); ok {
		kv := []string{"history", other.Here}
		if other.Last > 0 {
			kv = append(kv, "last_shared_offset", rpcerr.Offset(other.Last))
		}
		return outOfRange(rpcerr.ReasonOtherHistory, oldest, newest, other, kv...)
	}
	if gone, ok := errors.AsType[*change.CompactedError](err); ok {
		return outOfRange(rpcerr.ReasonCompacted, max(gone.Oldest, oldest), newest, err)
	}
	if errors.Is(err, change.ErrFuture) {
		return outOfRange(rpcerr.ReasonFuture, oldest, newest, err)
	}
	for _, st := range statuses {
		if errors.Is(err, st.err) {
			return refuse(st.code, st.reason, err)
		}
	}
	return s.opt.Failed(ctx, err)
}

// bounds returns the oldest offset that is kept and the newest that is visible.
func (s *Service) bounds() (oldest, newest change.Offset) {
	return s.log.Oldest(), s.log.Position().Offset
}

func refuse(code codes.Code, reason string, err error) error {
	return rpcerr.New(code, err.Error(), rpcerr.Info(reason))
}

// outOfRange is the status of an offset that is not in the log. It says what is.
func outOfRange(reason string, oldest, newest change.Offset, err error, kv ...string) error {
	kv = append([]string{"oldest_offset", rpcerr.Offset(oldest), "newest_offset", rpcerr.Offset(newest)}, kv...)
	return rpcerr.New(codes.OutOfRange, err.Error(), rpcerr.Info(reason, kv...))
}

func draining() error {
	return refuse(codes.Unavailable, rpcerr.ReasonDraining, errors.New("the daemon is stopping; come back with the next offset, or with the group"))
}

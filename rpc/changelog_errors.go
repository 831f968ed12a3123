package rpc

import (
	"context"
	"errors"
	"strconv"

	"google.golang.org/grpc/codes"

	"carbond/store/change"
)

// Fault is what an error of a Changelog means for the caller.
type Fault int

// The faults, with the status that a caller sees.
const (
	FaultCompacted  Fault = iota + 1 // OUT_OF_RANGE: retention has passed the offset
	FaultFuture                      // OUT_OF_RANGE: the offset is not reached yet
	FaultHistory                     // OUT_OF_RANGE: the offset is of another history
	FaultActive                      // ALREADY_EXISTS: the member consumes now
	FaultStale                       // FAILED_PRECONDITION: another consumer has taken over
	FaultBackwards                   // FAILED_PRECONDITION: the commit is before the committed offset
	FaultBusy                        // FAILED_PRECONDITION: the group has a consumer
	FaultGroup                       // NOT_FOUND: no such group
	FaultTopic                       // NOT_FOUND: no such topic
	FaultName                        // INVALID_ARGUMENT: a group or member name
	FaultTooMany                     // RESOURCE_EXHAUSTED: groups
	FaultClosed                      // UNAVAILABLE: the daemon stops
	faultConsumers                   // RESOURCE_EXHAUSTED: Consume streams
	faultBackup                      // RESOURCE_EXHAUSTED: a backup is running
	faultFenced                      // ABORTED: this stream's member was replaced
	faultSlowBackup                  // ABORTED: the client of a backup does not read
)

// Reasons of the changelog in google.rpc.ErrorInfo details. Those of
// OUT_OF_RANGE come with oldest_offset and newest_offset.
const (
	ReasonCompacted = "OFFSET_COMPACTED"   // retention has passed the offset
	ReasonFuture    = "OFFSET_NOT_REACHED" // the log ends before the offset
	ReasonActive    = "MEMBER_ACTIVE"      // the member is consuming already
	ReasonStale     = "GENERATION_STALE"   // another consumer has taken over
	ReasonFenced    = "FENCED"             // the stream ended because of that
	ReasonBackwards = "COMMIT_BACKWARDS"   // before the committed offset
	ReasonBusy      = "GROUP_ACTIVE"       // the group has a consumer
	ReasonNoGroup   = "NO_SUCH_GROUP"      // no group of this name
	ReasonNoTopic   = "NO_SUCH_TOPIC"      // no topic of this name
	ReasonGroupName = "GROUP_NAME"         // not a name for a group or member
	ReasonGroups    = "TOO_MANY_GROUPS"    // forget some first
	ReasonConsumers = "TOO_MANY_CONSUMERS" // Consume streams at a time
	ReasonBackup    = "BACKUP_RUNNING"     // one at a time
	ReasonSlow      = "BACKUP_NOT_READ"    // the client stopped reading
	ReasonDraining  = "DRAINING"           // the daemon stops; come back
)

var faults = map[Fault]struct {
	code   codes.Code
	reason string
}{
	FaultCompacted:  {codes.OutOfRange, ReasonCompacted},
	FaultFuture:     {codes.OutOfRange, ReasonFuture},
	FaultHistory:    {codes.OutOfRange, ReasonOtherHistory},
	FaultActive:     {codes.AlreadyExists, ReasonActive},
	FaultStale:      {codes.FailedPrecondition, ReasonStale},
	FaultBackwards:  {codes.FailedPrecondition, ReasonBackwards},
	FaultBusy:       {codes.FailedPrecondition, ReasonBusy},
	FaultGroup:      {codes.NotFound, ReasonNoGroup},
	FaultTopic:      {codes.NotFound, ReasonNoTopic},
	FaultName:       {codes.InvalidArgument, ReasonGroupName},
	FaultTooMany:    {codes.ResourceExhausted, ReasonGroups},
	FaultClosed:     {codes.Unavailable, ReasonDraining},
	faultConsumers:  {codes.ResourceExhausted, ReasonConsumers},
	faultBackup:     {codes.ResourceExhausted, ReasonBackup},
	faultFenced:     {codes.Aborted, ReasonFenced},
	faultSlowBackup: {codes.Aborted, ReasonSlow},
}

// LogError is an error of a Changelog that means something to a caller, who
// sees the text of Err.
type LogError struct {
	Kind           Fault
	Oldest, Newest change.Offset // for FaultCompacted and FaultFuture
	Err            error
}

// Error implements error.
func (e *LogError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *LogError) Unwrap() error { return e.Err }

// fault is the status of a LogError.
func fault(e *LogError) error {
	f := faults[e.Kind]
	var kv []string
	if f.code == codes.OutOfRange {
		kv = []string{"oldest_offset", decimal(e.Oldest), "newest_offset", decimal(e.Newest)}
	}
	var other *change.HistoryError
	if errors.As(e.Err, &other) {
		kv = append(kv, "history", other.Here)
		if other.Last > 0 {
			kv = append(kv, "last_shared_offset", decimal(other.Last))
		}
	}
	return statusError(f.code, e.Err.Error(), info(f.reason, kv...))
}

func decimal(o change.Offset) string { return strconv.FormatUint(uint64(o), 10) }

// logError turns an error of the Changelog into a status.
func (s *changelog) logError(ctx context.Context, err error) error {
	var e *LogError
	var other *change.HistoryError
	switch {
	case err == nil:
		return nil
	case isStatus(err):
		return err
	case errors.As(err, &other):
		oldest, newest := s.log.Bounds()
		return fault(&LogError{Kind: FaultHistory, Oldest: oldest, Newest: newest, Err: other})
	case errors.As(err, &e):
		if e.Kind == FaultCompacted || e.Kind == FaultFuture {
			c := *e
			oldest, newest := s.log.Bounds()
			c.Oldest, c.Newest = max(c.Oldest, oldest), newest
			e = &c
		}
		return fault(e)
	}
	return s.core.callError(ctx, err)
}

func errDraining() error {
	return fault(&LogError{Kind: FaultClosed, Err: errors.New("the daemon is stopping; come back with the next offset, or with the group")})
}

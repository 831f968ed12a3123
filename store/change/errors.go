package change

import (
	"errors"
	"fmt"
	"time"
)

// Errors of reading and of consumer groups. Sinks and sources of a stage wrap
// them; the API turns each into a status of its own.
var (
	// ErrClosed is returned by calls after the end of a store.
	ErrClosed = errors.New("data directory is closed")
	// ErrFuture means that a wanted position is not reached yet.
	ErrFuture = errors.New("position is not reached yet")
	// ErrMemberActive means that the member is consuming already.
	ErrMemberActive = errors.New("member is consuming already")
	// ErrStaleGeneration means that another consumer has taken over.
	ErrStaleGeneration = errors.New("generation is stale: another consumer of the group has taken over")
	// ErrCommitBackwards means that a commit lies before the committed offset.
	ErrCommitBackwards = errors.New("offset lies before the committed one")
	// ErrGroupUnknown means that there is no such group.
	ErrGroupUnknown = errors.New("no such group")
	// ErrGroupBusy means that the group has an active consumer.
	ErrGroupBusy = errors.New("group has an active consumer")
	// ErrGroupName means that a name is none for a group or a member.
	ErrGroupName = errors.New("group and member names have 1 to 255 printable characters")
	// ErrTooManyGroups means that no further group is kept.
	ErrTooManyGroups = errors.New("there are 1000 consumer groups already; forget those that nobody uses with carbond groups reset GROUP --delete")
	// ErrGroupsAway means that what the nodes of a fleet keep groups in cannot be asked.
	ErrGroupsAway = errors.New("the groups of the fleet cannot be reached; reading goes on, and commits work again with Postgres")
	// ErrTopicUnknown means that there is no such topic.
	ErrTopicUnknown = errors.New("no such topic")
)

// CompactedError says that retention has passed a wanted offset.
type CompactedError struct {
	Wanted     Offset
	Oldest     Offset    // the oldest one that can be asked for
	OldestTime time.Time // where a version of the views was wanted: its commit time, or that of the first transaction behind it
}

// Error implements error.
func (e *CompactedError) Error() string {
	return fmt.Sprintf("offset %d is no longer kept, the oldest is %d", e.Wanted, e.Oldest)
}

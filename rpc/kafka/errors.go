package kafka

import (
	"context"
	"errors"

	"carbond/store/change"
)

// Error codes of the protocol that are used here.
const (
	errUnknown                 = -1
	errOffsetOutOfRange        = 1
	errUnknownTopicOrPartition = 3
	errCoordinatorNotAvailable = 15
	errMetadataTooLarge        = 12
	errIllegalGeneration       = 22
	errInconsistentProtocol    = 23
	errInvalidGroup            = 24
	errUnknownMember           = 25
	errInvalidSessionTimeout   = 26
	errRebalanceInProgress     = 27
	errTopicAuthorization      = 29
	errGroupAuthorization      = 30
	errClusterAuthorization    = 31
	errUnsupportedSASL         = 33
	errIllegalSASLState        = 34
	errUnsupportedVersion      = 35
	errInvalidRequest          = 42
	errKafkaStorage            = 56
	errSASLFailed              = 58
	errNonEmptyGroup           = 68
	errGroupNotFound           = 69
	errFetchSessionNotFound    = 70
	errFencedLeaderEpoch       = 74
	errUnknownLeaderEpoch      = 75
	errMemberIDRequired        = 79
	errGroupMaxSize            = 81
	errFencedInstance          = 82
	errUnknownTopicID          = 100
)

// code says an error of the store in Kafka's words.
func code(err error) int16 {
	switch {
	case err == nil:
		return 0
	case errors.As(err, new(*change.CompactedError)), errors.As(err, new(*change.HistoryError)), errors.Is(err, change.ErrFuture):
		return errOffsetOutOfRange
	case errors.Is(err, change.ErrTopicUnknown):
		return errUnknownTopicOrPartition
	case errors.Is(err, change.ErrGroupBusy), errors.Is(err, change.ErrMemberActive):
		return errInconsistentProtocol
	case errors.Is(err, change.ErrStaleGeneration):
		return errIllegalGeneration
	case errors.Is(err, change.ErrGroupUnknown):
		return errGroupNotFound
	case errors.Is(err, change.ErrGroupName), errors.Is(err, change.ErrTooManyGroups):
		return errInvalidGroup
	case errors.Is(err, change.ErrClosed), errors.Is(err, change.ErrGroupsAway), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return errCoordinatorNotAvailable
	}
	return errKafkaStorage
}

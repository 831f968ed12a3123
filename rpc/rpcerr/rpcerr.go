// Package rpcerr makes the errors of the API: a gRPC status with details that a
// program can act upon. The reasons are part of the contract; clients in this
// program compare with them too.
package rpcerr

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"carbond/store/change"
)

// Domain is the domain of the google.rpc.ErrorInfo details.
const Domain = "carbond"

// Reasons in google.rpc.ErrorInfo details.
const (
	ReasonNotLoaded       = "NOT_LOADED"          // no data yet
	ReasonMinLSN          = "MIN_LSN_NOT_REACHED" // carbond-min-lsn was not reached in time
	ReasonEmbedded        = "EMBEDDED_MODE"       // carbond-min-lsn without a Postgres
	ReasonSQL             = "SQL_FAILED"          // a NonStreaming query failed
	ReasonTooLarge        = "REPLY_TOO_LARGE"     // use page_size
	ReasonRateLimit       = "RATE_LIMIT"          // the peer calls too often
	ReasonTokenMissing    = "TOKEN_MISSING"       // no bearer token
	ReasonTokenUnknown    = "TOKEN_UNKNOWN"       // a token that the server does not know
	ReasonScopeMissing    = "SCOPE_MISSING"       // a token without the needed scope
	ReasonRecordTooLarge  = "RECORD_TOO_LARGE"    // a change of the changelog that no message can hold
	ReasonMalformed       = "MALFORMED"           // a request that cannot be read
	ReasonNoSuchProject   = "NO_SUCH_PROJECT"
	ReasonOtherHistory    = "OTHER_HISTORY"     // a resume token of another history of the changelog
	ReasonSlowWatcher     = "SLOW_WATCHER"      // resume with the last token
	ReasonTooManyWatchers = "TOO_MANY_WATCHERS" // try again later
	ReasonSource          = "CHANGELOG_FAILED"  // the changelog could not be read
	ReasonAsOf            = "AS_OF_NOT_SERVED"  // as_of_offset or as_of_time was set
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
	ReasonAway      = "GROUPS_AWAY"        // Postgres, which keeps the groups of a fleet, cannot be reached
	ReasonConsumers = "TOO_MANY_CONSUMERS" // Consume streams at a time
	ReasonBackup    = "BACKUP_RUNNING"     // one at a time
	ReasonSlow      = "BACKUP_NOT_READ"    // the client stopped reading
	ReasonDraining  = "DRAINING"           // the daemon stops; come back
)

// New builds a status with details. Details that do not encode, which
// cannot happen for these types, are left out rather than hiding the status.
func New(c codes.Code, msg string, details ...protoadapt.MessageV1) error {
	st := status.New(c, msg)
	if d, err := st.WithDetails(details...); err == nil {
		st = d
	}
	return st.Err()
}

// Info is the detail that names a reason, with pairs of names and values.
func Info(reason string, kv ...string) *errdetails.ErrorInfo {
	i := &errdetails.ErrorInfo{Reason: reason, Domain: Domain}
	for j := 0; j+1 < len(kv); j += 2 {
		if i.Metadata == nil {
			i.Metadata = make(map[string]string)
		}
		i.Metadata[kv[j]] = kv[j+1]
	}
	return i
}

// RetryAfter is the detail that says when to call again.
func RetryAfter(d time.Duration) *errdetails.RetryInfo {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(d)}
}

// BadField is INVALID_ARGUMENT for one field or request header.
func BadField(field, what string) error {
	return New(codes.InvalidArgument, field+" "+what,
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: what}}})
}

// FromContext is the status of a call whose context has ended.
func FromContext(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return status.Error(codes.DeadlineExceeded, "the deadline of the call passed")
	}
	return status.Error(codes.Canceled, "the caller went away")
}

// maxFilter bounds a filter or a project_id, in bytes.
const maxFilter = 1 << 10

// CheckText refuses a text of a query that no row can have.
func CheckText(field, s string) error {
	switch {
	case len(s) > maxFilter:
		return BadField(field, "is longer than "+strconv.Itoa(maxFilter)+" bytes")
	case !utf8.ValidString(s):
		return BadField(field, "is not valid UTF-8")
	case strings.IndexByte(s, 0) >= 0:
		return BadField(field, "holds a zero byte, which no text of Postgres does")
	}
	return nil
}

// NotLoaded is the status of a call that comes before the views are loaded.
func NotLoaded() error {
	return New(codes.Unavailable, "the views are not loaded yet; try again in a moment",
		Info(ReasonNotLoaded), RetryAfter(time.Second))
}

// Compacted is OUT_OF_RANGE with the oldest place that can be asked for.
func Compacted(msg string, g *change.CompactedError) error {
	off := Offset(g.Oldest)
	kv := []string{"oldest_offset", off}
	msg += "; the oldest offset is " + off
	if !g.OldestTime.IsZero() {
		t := g.OldestTime.UTC().Format(time.RFC3339Nano)
		kv = append(kv, "oldest_time", t)
		msg += " of " + t
	}
	return New(codes.OutOfRange, msg, Info(ReasonCompacted, kv...))
}

// Offset prints an offset.
func Offset(o change.Offset) string { return strconv.FormatUint(uint64(o), 10) }

// Is reports whether err is a status made by this package.
func Is(err error) bool {
	_, ok := status.FromError(err)
	return ok
}

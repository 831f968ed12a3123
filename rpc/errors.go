package rpc

import (
	"context"
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// ErrorDomain is the domain of the google.rpc.ErrorInfo details.
const ErrorDomain = "carbond"

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
	ReasonNoSuchProject   = "NO_SUCH_PROJECT"
	ReasonOtherHistory    = "OTHER_HISTORY"     // a resume token of another history of the changelog
	ReasonSlowWatcher     = "SLOW_WATCHER"      // resume with the last token
	ReasonTooManyWatchers = "TOO_MANY_WATCHERS" // try again later
	ReasonSource          = "CHANGELOG_FAILED"  // the changelog could not be read
	ReasonAsOf            = "AS_OF_NOT_SERVED"  // as_of_offset or as_of_time was set
)

// statusError builds a status with details. Details that do not encode, which
// cannot happen for these types, are left out rather than hiding the status.
func statusError(c codes.Code, msg string, details ...protoadapt.MessageV1) error {
	st := status.New(c, msg)
	if d, err := st.WithDetails(details...); err == nil {
		st = d
	}
	return st.Err()
}

func info(reason string, kv ...string) *errdetails.ErrorInfo {
	i := &errdetails.ErrorInfo{Reason: reason, Domain: ErrorDomain}
	for j := 0; j+1 < len(kv); j += 2 {
		if i.Metadata == nil {
			i.Metadata = make(map[string]string)
		}
		i.Metadata[kv[j]] = kv[j+1]
	}
	return i
}

func retryAfter(d time.Duration) *errdetails.RetryInfo {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(d)}
}

// badField is INVALID_ARGUMENT for one field or request header.
func badField(field, what string) error {
	return statusError(codes.InvalidArgument, field+" "+what,
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: what}}})
}

// ctxError is the status of a call whose context has ended.
func ctxError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return status.Error(codes.DeadlineExceeded, "the deadline of the call passed")
	}
	return status.Error(codes.Canceled, "the caller went away")
}

// isStatus reports whether err is a status made by this package.
func isStatus(err error) bool {
	_, ok := status.FromError(err)
	return ok
}

package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"carbond/feeds/internal/payload"
)

// Kind says what went wrong, in one word that is also the metric label.
type Kind string

// The kinds of failure.
const (
	KindNetwork     Kind = "network"      // no connection, or it broke
	KindTimeout     Kind = "timeout"      // connected or not, too slow
	KindBlocked     Kind = "blocked"      // the address or scheme is not allowed
	KindRedirect    Kind = "redirect"     // too many redirects, or one that makes no sense
	KindHTTPStatus  Kind = "http_status"  // any status that has no kind of its own
	KindAuth        Kind = "auth"         // 401, 403 or an answer that means it
	KindNotFound    Kind = "not_found"    // 404
	KindGone        Kind = "gone"         // 410
	KindRateLimited Kind = "rate_limited" // 429 or an answer that means it
	KindPaused      Kind = "host_paused"  // not asked: the host is paused after a 429, or its circuit is open
	KindNotJSON     Kind = "not_json"
	KindHTML        Kind = "html"
	KindTruncated   Kind = "truncated"
	KindTooLarge    Kind = "too_large"
	KindShrunk      Kind = "shrunk" // far fewer items than last time
	KindEmpty       Kind = "empty"
	KindInvalid     Kind = "invalid" // well formed, but not what was asked for
	KindWrite       Kind = "write"   // upstream is fine, storing failed
	KindCanceled    Kind = "canceled"
)

// Error is a failed request or poll. It carries no secrets: URLs are redacted
// before they get here.
type Error struct {
	Kind       Kind
	Op         string        // what was tried: "GET https://host/path"
	Status     int           // HTTP status, 0 when there was no answer
	RetryAfter time.Duration // what upstream asked for, or how long the host is still paused; 0 when unknown
	Err        error         // cause, may be nil
	Advice     string        // what to do about this one in place of what its kind suggests
}

// Error names the attempt, the kind and the cause.
func (e *Error) Error() string {
	s := e.Op
	if e.Status != 0 {
		s += fmt.Sprintf(": HTTP %d", e.Status)
	}
	if e.Err != nil {
		return s + ": " + e.Err.Error()
	}
	return s + ": " + string(e.Kind)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf classifies any error of a poll.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.Canceled):
		return KindCanceled
	case errors.Is(err, payload.ErrHTML):
		return KindHTML
	case errors.Is(err, payload.ErrNotJSON):
		return KindNotJSON
	case errors.Is(err, payload.ErrTruncated):
		return KindTruncated
	case errors.Is(err, payload.ErrEmpty), errors.Is(err, payload.ErrNull):
		return KindEmpty
	case errors.Is(err, payload.ErrTooMany):
		return KindTooLarge
	case errors.Is(err, payload.ErrShrunk):
		return KindShrunk
	case errors.Is(err, payload.ErrIncomplete):
		return KindTruncated
	}
	return KindInvalid
}

// TransportKind classifies an error of a round trip or of reading a body.
func TransportKind(err error) Kind {
	var e *Error
	var n net.Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.Canceled):
		return KindCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return KindTimeout
	case errors.Is(err, errBlocked):
		return KindBlocked
	case errors.Is(err, errTooLarge):
		return KindTooLarge
	case errors.Is(err, io.ErrUnexpectedEOF):
		return KindTruncated
	case errors.As(err, &n) && n.Timeout():
		return KindTimeout
	}
	return KindNetwork
}

// Fail builds an Error for an answer that arrived but is not acceptable.
func Fail(kind Kind, op string, format string, args ...any) *Error {
	return &Error{Kind: kind, Op: op, Err: fmt.Errorf(format, args...)}
}

// AskedWait is how long upstream, or the record of its host, asked to wait.
func AskedWait(err error) time.Duration {
	for err != nil {
		if e, ok := err.(*Error); ok && e.RetryAfter > 0 {
			return e.RetryAfter
		}
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return 0
		}
		err = u.Unwrap()
	}
	return 0
}

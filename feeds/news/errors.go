package news

import (
	"errors"
	"fmt"

	"carbond/feeds/internal/payload"
)

// Named errors of a feed. All of them mean "keep the old items".
var (
	// ErrEmpty is a body without anything but white space.
	ErrEmpty = payload.Named("feed body is empty", payload.ErrEmpty)
	// ErrHTML is a web page, such as a bot wall, in place of a feed.
	ErrHTML = payload.Named("web page in place of a feed", payload.ErrHTML)
	// ErrTruncated is a feed that ends too early.
	ErrTruncated = payload.Named("feed is cut off", payload.ErrTruncated)
	// ErrTooComplex is a feed nested deeper or with more parts than any real
	// one.
	ErrTooComplex = payload.Named("feed is nested too deep or has too many parts", payload.ErrTooMany)
	// ErrMalformed is XML that cannot be read as the feed it claims to be.
	ErrMalformed = errors.New("feed is malformed")
	// ErrNotFeed is a text or document that is no feed at all.
	ErrNotFeed = errors.New("not a feed")
	// ErrShrunk is a feed without items where the last good fetch had several.
	ErrShrunk = errors.New("feed has no items any more")
	// ErrRateLimited is GDELT's text that asks for fewer requests, sent with
	// status 200.
	ErrRateLimited = errors.New("gdelt says: too many requests")
	// ErrBadQuery is any other text of GDELT in place of an answer.
	ErrBadQuery = errors.New("gdelt does not accept the query")
)

// fewItems is how many items a feed must have had for an empty one to be
// suspicious.
const fewItems = 5

// CheckEmpty guards against feeds that parse without error but hold nothing: an
// error object, or XML with an unclosed tag. total is Feed.Total, lastGood the
// Total of the last fetch that was accepted. The error wraps ErrShrunk.
func CheckEmpty(total, lastGood int) error {
	if total == 0 && lastGood >= fewItems {
		return fmt.Errorf("%w: the last good fetch had %d", ErrShrunk, lastGood)
	}
	return nil
}

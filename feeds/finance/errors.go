package finance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/text"
)

// Named errors of an answer. Bodies that are empty, cut off, HTML without a
// known meaning or not JSON give the errors of package payload instead.
var (
	// ErrTooManySymbols is a request for more than MaxSymbols symbols, refused
	// here or by Yahoo.
	ErrTooManySymbols = errors.New("too many symbols in one request")
	// ErrNoSymbols is a request that names no symbol.
	ErrNoSymbols = errors.New("no symbols to ask for")
	// ErrSymbol is a symbol that cannot be one.
	ErrSymbol = errors.New("not a ticker symbol")
	// ErrRateLimited is a 429, or its text in place of an answer. It pauses all
	// Yahoo requests.
	ErrRateLimited = errors.New("yahoo says: too many requests")
	// ErrDenied is status 403 or 999: the network is refused for a while.
	ErrDenied = errors.New("yahoo denies the request")
	// ErrUnauthorized is a quote without a valid cookie and crumb.
	ErrUnauthorized = errors.New("yahoo wants a cookie and a crumb")
	// ErrInvalidCrumb is an expired crumb, or a crumb answer that cannot be one.
	ErrInvalidCrumb = errors.New("crumb is not valid")
	// ErrConsent is the consent page that European networks get. No consent is
	// given on the user's behalf; market caps stay unset there.
	ErrConsent = errors.New("yahoo shows its consent page")
	// ErrUnavailable is Yahoo's maintenance page or an internal error.
	ErrUnavailable = errors.New("yahoo is not available")
	// ErrNotFound is an unknown or delisted symbol.
	ErrNotFound = errors.New("symbol not found, it may be delisted")
	// ErrUnprocessable is a range or interval that Yahoo does not serve.
	ErrUnprocessable = errors.New("yahoo cannot process the request")
	// ErrBadRequest is any other refusal of the request's form.
	ErrBadRequest = errors.New("yahoo refuses the form of the request")
	// ErrUpstream is an error object with a code that has no name here.
	ErrUpstream = errors.New("yahoo reports an error")
	// ErrNoResult is an answer without a single entry.
	ErrNoResult = errors.New("answer has no result")
	// ErrClock is an answer whose prices are all from the future.
	ErrClock = errors.New("prices are ahead of this machine's clock")
	// ErrNoRows is an answer with entries, none of which is usable.
	ErrNoRows = errors.New("answer has no usable entry")
)

// maxElements bounds the entries and the bars that one answer may hold.
const maxElements = 10_000

// bodyError recognises the failures that Yahoo puts into a body, whatever the
// status: texts, pages and error objects. It is nil for anything else.
func bodyError(body []byte, contentType string) error {
	if err := pageError(body); err != nil {
		return err
	}
	var env envelope
	if payload.Decode(body, contentType, payload.Object, &env) != nil {
		return nil
	}
	return env.failure()
}

// pageError recognises Yahoo's texts and web pages.
func pageError(body []byte) error {
	b := bytes.TrimSpace(body)
	head := strings.ToLower(string(b[:min(len(b), 4096)]))
	switch {
	case strings.HasPrefix(head, "too many requests"), strings.HasPrefix(head, "edge: too many requests"):
		return ErrRateLimited
	case !strings.HasPrefix(head, "<"):
		return nil
	case strings.Contains(head, "consent"):
		return ErrConsent
	case strings.Contains(head, "will be right back"):
		return ErrUnavailable
	}
	return payload.ErrHTML
}

// answer is the part that every kind of answer shares.
type answer struct {
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// envelope is the outermost object. Yahoo answers under the key of the service,
// or under "finance" when the request never reached it.
type envelope struct {
	Spark   *answer `json:"spark"`
	Chart   *answer `json:"chart"`
	Quote   *answer `json:"quoteResponse"`
	Finance *answer `json:"finance"`
}

// failure returns the error that the envelope carries, nil for none.
func (e envelope) failure() error {
	for _, a := range []*answer{e.Finance, e.Spark, e.Chart, e.Quote} {
		if a != nil && !payload.IsNull(a.Error) {
			return codeError(a.Error)
		}
	}
	return nil
}

// codeError names an error object by its code and, where codes are shared, by
// its description.
func codeError(raw json.RawMessage) error {
	var e struct {
		Code        payload.Text `json:"code"`
		Description payload.Text `json:"description"`
	}
	if payload.Unmarshal(raw, &e) != nil {
		return ErrUpstream
	}
	code, about := strings.ToLower(e.Code.String()), strings.ToLower(e.Description.String())
	switch {
	case strings.Contains(about, "invalid crumb"):
		return ErrInvalidCrumb
	case code == "unauthorized":
		return ErrUnauthorized
	case code == "too many requests":
		return ErrRateLimited
	case code == "not found":
		return ErrNotFound
	case code == "unprocessable entity":
		return ErrUnprocessable
	case strings.Contains(about, "too many symbols"):
		return ErrTooManySymbols
	case code == "bad request", code == "argument-error":
		return ErrBadRequest
	case code == "internal-error", code == "internal server error", code == "service unavailable":
		return ErrUnavailable
	}
	return fmt.Errorf("%w: code %q", ErrUpstream, text.Clean(e.Code.String(), 40))
}

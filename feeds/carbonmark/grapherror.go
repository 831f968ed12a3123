package carbonmark

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"carbond/feeds/internal/payload"
)

// Named errors of the subgraph, which answers them with status 200.
var (
	ErrAuth     = errors.New("subgraph key is missing or not accepted")
	ErrPayment  = errors.New("subgraph plan is used up: payment required")
	ErrRemoved  = errors.New("subgraph endpoint has been removed")
	ErrNoGraph  = errors.New("subgraph is not known or has no indexer")
	ErrIndexers = errors.New("subgraph indexers failed")
	ErrRate     = errors.New("subgraph rate limit is reached")
	ErrQuery    = errors.New("subgraph refuses the query")
	// ErrPartial accompanies one of the others when the answer has data beside
	// its errors; the data are not used.
	ErrPartial = errors.New("subgraph answers in part")
)

// Transient reports whether err deserves the one early retry.
func Transient(err error) bool { return errors.Is(err, ErrIndexers) }

// graphErrors names the first error of an answer, nil when there is none.
func graphErrors(raw json.RawMessage, partial bool) error {
	var first error
	err := payload.Each(raw, maxNested, func(elem json.RawMessage) error {
		var in struct {
			Message payload.Text `json:"message"`
		}
		if payload.IsObject(elem) {
			_ = payload.Unmarshal(elem, &in)
		}
		if first == nil {
			first = graphError(clean(in.Message, maxMessage))
		}
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("%w: unreadable errors", payload.ErrShape)
	case first != nil && partial:
		return fmt.Errorf("%w: %w", ErrPartial, first)
	}
	return first
}

// graphKinds recognise messages. The order matters: a payment error is worded
// as an authorisation error.
var graphKinds = []struct {
	part  string
	kind  error
	quiet bool // the message may repeat the key
}{
	{"payment required", ErrPayment, true},
	{"auth error", ErrAuth, true},
	{"api key", ErrAuth, true},
	{"endpoint has been removed", ErrRemoved, false},
	{"subgraph not found", ErrNoGraph, false},
	{"no allocations", ErrNoGraph, false},
	{"deployment not found", ErrNoGraph, false},
	{"bad indexers", ErrIndexers, false},
	{"indexing_error", ErrIndexers, false},
	{"no suitable indexer", ErrIndexers, false},
	{"timeout", ErrIndexers, false},
	{"timed out", ErrIndexers, false},
	{"internal error", ErrIndexers, false},
	{"too many requests", ErrRate, false},
	{"rate limit", ErrRate, false},
}

func graphError(message string) error {
	lower := strings.ToLower(message)
	for _, k := range graphKinds {
		if !strings.Contains(lower, k.part) {
			continue
		}
		if k.quiet {
			return k.kind
		}
		return fmt.Errorf("%w: %s", k.kind, message)
	}
	return fmt.Errorf("%w: %s", ErrQuery, message)
}

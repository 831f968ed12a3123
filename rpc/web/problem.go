package web

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbond/rpc/rpcerr"
)

// Problem is an error as RFC 9457 has it, with the words of the gRPC status.
type Problem struct {
	Type      string            `json:"type"`
	Title     string            `json:"title"`
	Status    int               `json:"status"`
	Detail    string            `json:"detail"`
	Code      string            `json:"code"`             // of gRPC
	Reason    string            `json:"reason,omitempty"` // that a program can act upon
	Remedy    string            `json:"remedy,omitempty"`
	Field     string            `json:"field,omitempty"` // that is wrong
	Metadata  map[string]string `json:"metadata,omitempty"`
	RequestID string            `json:"requestId"`

	retry int // seconds, 0 = none
}

// httpStatus are the statuses that gRPC's codes have in HTTP.
var httpStatus = map[codes.Code]int{
	codes.Canceled: 499, codes.InvalidArgument: 400, codes.DeadlineExceeded: 504, codes.NotFound: 404, codes.AlreadyExists: 409,
	codes.PermissionDenied: 403, codes.ResourceExhausted: 429, codes.FailedPrecondition: 400, codes.Aborted: 409,
	codes.OutOfRange: 400, codes.Unimplemented: 501, codes.Internal: 500, codes.Unavailable: 503, codes.Unauthenticated: 401,
}

// remedies say what helps, by reason. The detail says what is wrong.
var remedies = map[string]string{
	rpcerr.ReasonNotLoaded:       "try again in a moment; /readyz?verbose says what is waited for",
	rpcerr.ReasonMinLSN:          "ask again: the position is not reached yet",
	rpcerr.ReasonEmbedded:        "leave out min_lsn: an answer reflects every acknowledged write",
	rpcerr.ReasonTooLarge:        "ask for pages with page_size",
	rpcerr.ReasonRateLimit:       "wait as long as Retry-After says",
	rpcerr.ReasonTokenMissing:    "send the header Authorization: Bearer TOKEN",
	rpcerr.ReasonTokenUnknown:    "use a token of grpc.tokens_file",
	rpcerr.ReasonScopeMissing:    "use a token with the scope that metadata names",
	rpcerr.ReasonNoSuchProject:   "/v1/projects lists what there is",
	rpcerr.ReasonNoTopic:         "/v1/topics lists what there is",
	rpcerr.ReasonCompacted:       "begin at oldest_offset of metadata, or without a position",
	rpcerr.ReasonOtherHistory:    "begin again without a position, and without the rows that came with it",
	rpcerr.ReasonFuture:          "ask for a position that is reached",
	rpcerr.ReasonTooManyWatchers: "close a stream, or try again later",
	rpcerr.ReasonConsumers:       "close a stream, or try again later",
	rpcerr.ReasonDraining:        "try again in a moment: the daemon stops or restarts",
	reasonClosedDoor:             "come over loopback, or have the operator set grpc.tokens_file, http.client_ca or http.open",
	reasonCSRF:                   "send the form again from the page itself",
}

// problemOf tells an error of a call.
func problemOf(err error) *Problem {
	st, _ := status.FromError(err)
	p := &Problem{Type: "about:blank", Status: httpStatus[st.Code()], Detail: st.Message(), Code: codeName(st.Code())}
	if p.Status == 0 {
		p.Status = http.StatusInternalServerError
	}
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			p.Reason, p.Metadata = d.Reason, d.Metadata
		case *errdetails.RetryInfo:
			p.retry = max(1, int(math.Ceil(d.RetryDelay.AsDuration().Seconds())))
		case *errdetails.BadRequest:
			for _, v := range d.FieldViolations {
				p.Field = v.Field
			}
		}
	}
	switch p.Reason {
	case rpcerr.ReasonCompacted, rpcerr.ReasonOtherHistory:
		p.Status = http.StatusGone
	}
	p.Remedy = remedies[p.Reason]
	if p.Title = http.StatusText(p.Status); p.Title == "" {
		p.Title = "Client Closed Request"
	}
	return p
}

// codeName is a code in the words of the specification of gRPC.
func codeName(c codes.Code) string {
	names := [...]string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
		"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
	if int(c) >= len(names) {
		return "UNKNOWN"
	}
	return names[c]
}

// write answers a request with the problem.
func (p *Problem) write(w http.ResponseWriter) {
	h := w.Header()
	p.RequestID = h.Get(headerRequest)
	h.Del("ETag")
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if p.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retry))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="carbond"`)
	}
	b, _ := json.Marshal(p) // of strings and numbers
	b = append(b, '\n')
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(b) // who went away hears nothing
}

package carbonmark

import (
	"fmt"

	"carbond/feeds/internal/payload"
)

// APIError is the service's own error object. It is payload.ErrShape to parsers
// that wanted data.
type APIError struct {
	Status  int    `json:"status,omitempty"` // 0 when the body does not say
	Name    string `json:"name,omitempty"`
	Message string `json:"message,omitempty"`
}

// Error names status and message, cleaned and cut.
func (e *APIError) Error() string {
	out := "carbonmark answers an error"
	if e.Status != 0 {
		out += fmt.Sprintf(" with status %d", e.Status)
	}
	for _, s := range []string{e.Name, e.Message} {
		if s != "" {
			out += ": " + s
		}
	}
	return out
}

// Unwrap makes an APIError match payload.ErrShape.
func (e *APIError) Unwrap() error { return payload.ErrShape }

// apiError returns the error object in b, nil when it is none.
func apiError(b []byte) error {
	var raw struct {
		Status  payload.Number `json:"statusCode"`
		Name    payload.Text   `json:"error"`
		Message payload.Text   `json:"message"`
	}
	if err := payload.Unmarshal(b, &raw); err != nil {
		return err
	}
	e := &APIError{Name: clean(raw.Name, maxMessage), Message: clean(raw.Message, maxMessage)}
	if n, ok := raw.Status.Int(); ok && n >= 100 && n < 1000 {
		e.Status = int(n)
	}
	if e.Status == 0 && e.Message == "" {
		return nil
	}
	return e
}

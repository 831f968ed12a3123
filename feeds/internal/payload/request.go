package payload

import "log/slog"

// Request is one call, ready for an HTTP client: method, address, body (nil for
// GET) and headers. The headers carry keys and are not to be shown: no form of
// printing or encoding a Request shows them.
type Request struct {
	Method string
	URL    string
	Body   []byte
	Header map[string]string
}

// String prints method and address only.
func (r Request) String() string { return r.Method + " " + r.URL }

// GoString is String, so that %#v shows no header value.
func (r Request) GoString() string { return r.String() }

// LogValue keeps header values out of structured logs.
func (r Request) LogValue() slog.Value { return slog.StringValue(r.String()) }

// MarshalText keeps header values out of encoded state.
func (r Request) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

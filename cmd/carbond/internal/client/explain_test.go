package client_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbond/cmd/carbond/internal/client"
)

// TestExplain: what a server says reaches a terminal as plain text, and why it was not
// reached is said once.
func TestExplain(t *testing.T) {
	c := &client.Client{Addr: "127.0.0.1:7"}
	for name, tc := range map[string]struct {
		code codes.Code
		said string
		want string
	}{
		"hostile":      {codes.Internal, "\x1b]0;title\x07\x1b[2Jboo\u009b31m\u202e", "call the daemon at 127.0.0.1:7: Internal:  ]0;title  [2Jboo 31m "},
		"hostile, too": {codes.Unauthenticated, "a\nb", "call the daemon at 127.0.0.1:7: a b (give --token-file"},
		"not there":    {codes.Unavailable, `connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:7: connect: connection refused"`, "reach the daemon at 127.0.0.1:7: connect: connection refused (is it running?"},
		"its own word": {codes.Unavailable, "draining", "reach the daemon at 127.0.0.1:7: draining (is it running?"},
	} {
		got := c.Explain(status.Error(tc.code, tc.said)).Error()
		if !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	if err := c.Explain(client.Output(strings.NewReader("").UnreadByte())); err == nil || strings.Contains(err.Error(), "daemon") {
		t.Errorf("a failure of standard output: %v", err)
	}
}

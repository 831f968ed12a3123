package client

import (
	"bytes"
	"testing"
)

// TestGuardEscapes looks at a guard in front of a terminal, which gets a character
// in pieces.
func TestGuardEscapes(t *testing.T) {
	for in, want := range map[string]string{
		"plain\n\ttext é日":             "plain\n\ttext é日",
		"\x1b]0;t\x07\x7f\r":           `\u001b]0;t\u0007\u007f\u000d`,
		"\u009b31m \u202e\u2066\u200f": `\u009b31m \u202e\u2066\u200f`,
		"bad \xff\xc3 utf8":            "bad \ufffd\ufffd utf8",
	} {
		for size := 1; size <= len(in); size++ {
			var b bytes.Buffer
			g := &guard{w: &b}
			for i := 0; i < len(in); i += size {
				if n, err := g.Write([]byte(in[i:min(i+size, len(in))])); err != nil || n == 0 {
					t.Fatal(n, err)
				}
			}
			if b.String() != want {
				t.Errorf("%q in pieces of %d: %q", in, size, b.String())
			}
		}
	}
}

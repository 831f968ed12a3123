package kafka

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// saslState is how far a client has come with saying who it is.
type saslState uint8

const (
	saslNone saslState = iota
	saslShaken
	saslRaw // the token comes without a request around it
	saslDone
)

// saslPlain is the only mechanism: any user name, and a token as password.
const saslPlain = "PLAIN"

func (c *conn) saslHandshake(_ context.Context, q *kmsg.SASLHandshakeRequest) kmsg.Response {
	r := kmsg.NewPtrSASLHandshakeResponse()
	r.SupportedMechanisms = []string{saslPlain}
	switch {
	case q.Mechanism != saslPlain:
		r.ErrorCode = errUnsupportedSASL
	case c.exposed():
		// The token would cross a network that others can read.
		r.ErrorCode, r.SupportedMechanisms = errUnsupportedSASL, []string{}
		c.opt.Log.Warn("Kafka client refused: SASL/PLAIN sends its token in the clear; set kafka.tls_cert and kafka.tls_key",
			"peer", c.net.RemoteAddr().String())
	case q.Version == 0:
		c.sasl = saslRaw
	default:
		c.sasl = saslShaken
	}
	return r
}

// exposed reports whether what a client sends can be read on the way.
func (c *conn) exposed() bool {
	a, ok := c.net.RemoteAddr().(*net.TCPAddr)
	return c.opt.TLS == nil && c.opt.Allows != nil && ok && !a.IP.IsLoopback()
}

func (c *conn) saslAuthenticate(_ context.Context, q *kmsg.SASLAuthenticateRequest) kmsg.Response {
	if c.sasl != saslShaken {
		r := kmsg.NewPtrSASLAuthenticateResponse()
		r.ErrorCode, r.ErrorMessage = errIllegalSASLState, kmsg.StringPtr("a handshake comes first")
		return r
	}
	return c.authenticate(q.SASLAuthBytes)
}

// authenticate looks at a message of SASL/PLAIN.
func (c *conn) authenticate(message []byte) *kmsg.SASLAuthenticateResponse {
	r := kmsg.NewPtrSASLAuthenticateResponse()
	parts := bytes.Split(message, []byte{0}) // authorization id, user name, password
	c.sasl = saslNone
	if len(parts) != 3 {
		r.ErrorCode, r.ErrorMessage = errSASLFailed, kmsg.StringPtr("not a message of SASL/PLAIN")
		return r
	}
	c.sasl, c.token = saslDone, string(parts[2])
	if read, _, _ := c.allows(""); !read {
		r.ErrorCode, r.ErrorMessage = errSASLFailed, kmsg.StringPtr("the token, which is the password, is not known here")
		c.met.unauthorized.Inc()
		c.sasl, c.last = saslNone, true
	}
	return r
}

// maxToken bounds a message of SASL/PLAIN.
const maxToken = 4 << 10

// rawToken reads a message of SASL/PLAIN as clients of before Kafka 1.0 send it, and
// kafka-python still does: its length and itself. Success is an empty answer, and
// failure the end of the connection.
func (c *conn) rawToken(in *bufio.Reader, n uint32) (net.Buffers, error) {
	if n > maxToken {
		return nil, fmt.Errorf("a message of SASL/PLAIN with %d bytes", n)
	}
	message := make([]byte, 4+n)
	if _, err := io.ReadFull(in, message); err != nil {
		return nil, err
	}
	if r := c.authenticate(message[4:]); r.ErrorCode != 0 {
		return nil, errors.New(*r.ErrorMessage)
	}
	return net.Buffers{make([]byte, 4)}, nil
}

package kafka

import (
	"bytes"
	"context"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// saslState is how far a client has come with saying who it is.
type saslState uint8

const (
	saslNone saslState = iota
	saslShaken
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
		r.ErrorCode = errIllegalSASLState // bytes without a frame would follow
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
	r := kmsg.NewPtrSASLAuthenticateResponse()
	parts := bytes.Split(q.SASLAuthBytes, []byte{0}) // authorization id, user name, password
	switch {
	case c.sasl != saslShaken:
		r.ErrorCode, r.ErrorMessage = errIllegalSASLState, kmsg.StringPtr("a handshake comes first")
	case len(parts) != 3:
		r.ErrorCode, r.ErrorMessage = errSASLFailed, kmsg.StringPtr("not a message of SASL/PLAIN")
	default:
		c.sasl, c.token = saslDone, string(parts[2])
		if read, _, _ := c.allows(""); !read {
			r.ErrorCode, r.ErrorMessage = errSASLFailed, kmsg.StringPtr("the token, which is the password, is not known here")
			c.met.unauthorized.Inc()
			c.sasl, c.last = saslNone, true
		}
	}
	return r
}

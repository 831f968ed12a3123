package kafka

import (
	"bytes"
	"context"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Answer answers one request of a client who may do everything, for a fuzz test.
func (s *Server) Answer(ctx context.Context, client net.Conn, frame []byte) ([]byte, error) {
	c := &conn{Server: s, net: client, apis: map[kmsg.Key]api{}}
	for _, a := range apis() {
		c.apis[a.key] = a
	}
	r, err := c.decode(frame)
	if err != nil {
		return nil, err
	}
	return bytes.Join(c.answer(ctx, r), nil), nil
}

package kafka

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// maxRequest bounds a request. Consumers' requests are small; a producer's are
	// refused whatever is in them.
	maxRequest = 1 << 20
	// writePiece is how much of an answer must be taken within Options.MaxStall.
	writePiece = 256 << 10
)

// api is a kind of request: the versions that are served, and how.
type api struct {
	key      kmsg.Key
	min, max int16
	request  func() kmsg.Request
	handle   func(c *conn, ctx context.Context, q kmsg.Request) kmsg.Response
	open     bool // served before a client has said who it is
}

// serves describes a kind of request by what makes one and what answers it. The
// codec's own list of all kinds would link them all.
func serves[Q kmsg.Request](key kmsg.Key, least, most int16, request func() Q, f func(*conn, context.Context, Q) kmsg.Response) api {
	return api{
		key: key, min: least, max: most, request: func() kmsg.Request { return request() },
		handle: func(c *conn, ctx context.Context, q kmsg.Request) kmsg.Response { return f(c, ctx, q.(Q)) },
		open:   key == kmsg.ApiVersions || key == kmsg.SASLHandshake || key == kmsg.SASLAuthenticate,
	}
}

// apis lists what is served. Produce is there because librdkafka reads batches of
// today's format only from a broker that can write them.
func apis() []api {
	return []api{
		serves(kmsg.Produce, 3, 9, kmsg.NewPtrProduceRequest, (*conn).produce),
		serves(kmsg.Fetch, 4, 12, kmsg.NewPtrFetchRequest, (*conn).fetch),
		serves(kmsg.ListOffsets, 1, 7, kmsg.NewPtrListOffsetsRequest, (*conn).listOffsets),
		serves(kmsg.Metadata, 0, 12, kmsg.NewPtrMetadataRequest, (*conn).metadata),
		serves(kmsg.OffsetCommit, 2, 8, kmsg.NewPtrOffsetCommitRequest, (*conn).offsetCommit),
		serves(kmsg.OffsetFetch, 1, 8, kmsg.NewPtrOffsetFetchRequest, (*conn).offsetFetch),
		serves(kmsg.FindCoordinator, 0, 4, kmsg.NewPtrFindCoordinatorRequest, (*conn).findCoordinator),
		serves(kmsg.JoinGroup, 0, 9, kmsg.NewPtrJoinGroupRequest, (*conn).joinGroup),
		serves(kmsg.Heartbeat, 0, 4, kmsg.NewPtrHeartbeatRequest, (*conn).heartbeat),
		serves(kmsg.LeaveGroup, 0, 5, kmsg.NewPtrLeaveGroupRequest, (*conn).leaveGroup),
		serves(kmsg.SyncGroup, 0, 5, kmsg.NewPtrSyncGroupRequest, (*conn).syncGroup),
		serves(kmsg.DescribeGroups, 0, 5, kmsg.NewPtrDescribeGroupsRequest, (*conn).describeGroups),
		serves(kmsg.ListGroups, 0, 4, kmsg.NewPtrListGroupsRequest, (*conn).listGroups),
		serves(kmsg.SASLHandshake, 0, 1, kmsg.NewPtrSASLHandshakeRequest, (*conn).saslHandshake),
		serves(kmsg.ApiVersions, 0, 3, kmsg.NewPtrApiVersionsRequest, (*conn).apiVersions),
		serves(kmsg.OffsetForLeaderEpoch, 0, 4, kmsg.NewPtrOffsetForLeaderEpochRequest, (*conn).offsetForLeaderEpoch),
		serves(kmsg.DescribeConfigs, 0, 4, kmsg.NewPtrDescribeConfigsRequest, (*conn).describeConfigs),
		serves(kmsg.DescribeLogDirs, 0, 4, kmsg.NewPtrDescribeLogDirsRequest, (*conn).describeLogDirs),
		serves(kmsg.SASLAuthenticate, 0, 2, kmsg.NewPtrSASLAuthenticateRequest, (*conn).saslAuthenticate),
		serves(kmsg.DeleteGroups, 0, 2, kmsg.NewPtrDeleteGroupsRequest, (*conn).deleteGroups),
		serves(kmsg.DescribeCluster, 0, 0, kmsg.NewPtrDescribeClusterRequest, (*conn).describeCluster),
		serves(kmsg.DescribeTopicPartitions, 0, 0, kmsg.NewPtrDescribeTopicPartitionsRequest, (*conn).describeTopicPartitions),
	}
}

// conn is one client's connection. Requests are answered one after the other.
type conn struct {
	*Server
	net      net.Conn
	apis     map[kmsg.Key]api
	clientID string
	sasl     saslState
	token    string
	last     bool // nothing is read behind this request
}

func (s *Server) serve(ctx context.Context, raw net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &conn{Server: s, net: raw, apis: map[kmsg.Key]api{}}
	if s.opt.TLS != nil {
		c.net = tls.Server(raw, s.opt.TLS)
	}
	for _, a := range apis() {
		c.apis[a.key] = a
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() }) // a deadline would be moved by the next read
	defer stop()
	defer c.net.Close()
	if err := c.run(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		s.met.failed.Inc()
		s.opt.Log.Debug("Kafka connection ended", "peer", raw.RemoteAddr().String(), "client", c.clientID, "error", err)
	}
}

func (c *conn) run(ctx context.Context) error {
	in := bufio.NewReaderSize(c.net, 4<<10)
	for !c.last {
		if err := c.net.SetReadDeadline(time.Now().Add(c.opt.MaxIdle)); err != nil {
			return err
		}
		head, err := in.Peek(4)
		if err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(head)
		if n < 8 || n > maxRequest {
			return fmt.Errorf("a request of %d bytes; at most %d are read, and this may not be Kafka's protocol", n, maxRequest)
		}
		if err := c.net.SetReadDeadline(time.Now().Add(c.opt.MaxStall)); err != nil {
			return err
		}
		frame := make([]byte, 4+n)
		if _, err := io.ReadFull(in, frame); err != nil {
			return err
		}
		out, err := c.answer(ctx, frame[4:])
		if err != nil {
			return err
		}
		if err := c.write(out); err != nil {
			return err
		}
	}
	return nil
}

// write sends an answer. A client that takes nothing for MaxStall is given up.
func (c *conn) write(out []byte) error {
	for len(out) > 0 {
		n := min(len(out), writePiece)
		if err := c.net.SetWriteDeadline(time.Now().Add(c.opt.MaxStall)); err != nil {
			return err
		}
		if _, err := c.net.Write(out[:n]); err != nil {
			return err
		}
		out = out[n:]
	}
	return nil
}

// answer reads a request and returns the framed answer, nil for none.
func (c *conn) answer(ctx context.Context, frame []byte) ([]byte, error) {
	key, version := kmsg.Key(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
	correlation := frame[4:8]
	a, ok := c.apis[key]
	if key == kmsg.ApiVersions && (version < a.min || version > a.max) {
		// A client may ask in a version that it does not know to be served.
		r := kmsg.NewPtrApiVersionsResponse()
		r.ErrorCode, r.ApiKeys = errUnsupportedVersion, c.versions()
		return framed(correlation, r, false), nil
	}
	if !ok || version < a.min || version > a.max {
		return nil, fmt.Errorf("request %s in version %d is not served; what is, ApiVersions says", kmsg.NameForKey(int16(key)), version)
	}
	c.met.requests.WithLabelValues(kmsg.NameForKey(int16(key))).Inc()
	q := a.request()
	q.SetVersion(version)
	body, err := c.header(frame[8:], q.IsFlexible())
	if err == nil {
		err = q.ReadFrom(body)
	}
	if err != nil {
		return nil, fmt.Errorf("read a request %s in version %d: %w", kmsg.NameForKey(int16(key)), version, err)
	}
	if read, _, _ := c.allows(""); !read && !a.open {
		return nil, fmt.Errorf("request %s without a token: set sasl.mechanism=PLAIN, any user name, and a token of scope read as password", kmsg.NameForKey(int16(key)))
	}
	r := a.handle(c, ctx, q)
	if r == nil {
		return nil, nil
	}
	r.SetVersion(version)
	return framed(correlation, r, r.IsFlexible() && key != kmsg.ApiVersions), nil
}

// allows reports what the client may do now.
func (c *conn) allows(group string) (read, admin, consume bool) {
	if c.opt.Allows == nil {
		return true, true, true
	}
	if c.sasl != saslDone {
		return false, false, false
	}
	return c.opt.Allows(c.token, group)
}

// header reads the client id and skips the tags of a request's header.
func (c *conn) header(b []byte, flexible bool) ([]byte, error) {
	errShort := errors.New("the header is cut short")
	if len(b) < 2 {
		return nil, errShort
	}
	n := int(int16(binary.BigEndian.Uint16(b)))
	if b = b[2:]; n > len(b) {
		return nil, errShort
	}
	if n > 0 {
		c.clientID = string(b[:min(n, 255)])
		b = b[n:]
	}
	if !flexible {
		return b, nil
	}
	tags, k := binary.Uvarint(b)
	for b = b[max(k, 0):]; k > 0 && tags > 0; tags-- {
		_, k = binary.Uvarint(b)
		b = b[max(k, 0):]
		size, m := binary.Uvarint(b)
		if k <= 0 || m <= 0 || size > uint64(len(b)-m) {
			return nil, errShort
		}
		b = b[m+int(size):]
	}
	if k <= 0 {
		return nil, errShort
	}
	return b, nil
}

// framed writes an answer with its length in front.
func framed(correlation []byte, r kmsg.Response, flexible bool) []byte {
	out := append(make([]byte, 4, 512), correlation...)
	if flexible {
		out = append(out, 0) // no tags
	}
	out = r.AppendTo(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out
}

// address is what the client is told to connect to.
func (c *conn) address() (host string, port int32) {
	if c.host != "" {
		return c.host, c.port
	}
	a, ok := c.net.LocalAddr().(*net.TCPAddr)
	if !ok {
		return "127.0.0.1", 0
	}
	return a.IP.String(), int32(a.Port)
}

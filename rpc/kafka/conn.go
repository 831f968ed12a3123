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
	// least is the size of the shortest header.
	least = 8
	// maxProduce bounds a request of a producer, which is refused whatever is in it,
	// and maxRequest any other: those of consumers are small.
	maxProduce, maxRequest = 1 << 20, 256 << 10
	// smallRequest is up to where requests are read side by side, and maxLarge how
	// many beyond: one costs a multiple of its size while it is decoded.
	smallRequest, maxLarge = 16 << 10, 8
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
	last     bool  // nothing is read behind this request
	holding  int64 // bytes of batches in the answer at hand
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
	patience := c.opt.MaxStall // a client speaks at once, and then when it wants
	for !c.last {
		if err := c.net.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		head, err := in.Peek(4)
		if err != nil {
			return err
		}
		if err := c.net.SetReadDeadline(time.Now().Add(c.opt.MaxStall)); err != nil {
			return err
		}
		out, err := c.next(ctx, in, binary.BigEndian.Uint32(head))
		if err != nil {
			return err
		}
		err = c.write(out)
		c.hold(0)
		if err != nil {
			return err
		}
		patience = c.opt.MaxIdle
	}
	return nil
}

// next reads a request of n bytes and returns the answer to it, nil for none.
func (c *conn) next(ctx context.Context, in *bufio.Reader, n uint32) (net.Buffers, error) {
	if c.sasl == saslRaw {
		return c.rawToken(in, n)
	}
	most := uint32(maxRequest)
	if n >= least {
		kind, err := in.Peek(6)
		if err != nil {
			return nil, err
		}
		if kmsg.Key(binary.BigEndian.Uint16(kind[4:])) == kmsg.Produce {
			most = maxProduce
		}
	}
	if n < least || n > most {
		return nil, fmt.Errorf("a request of %d bytes; at most %d are read, and this may not be Kafka's protocol", n, most)
	}
	r, err := c.read(ctx, in, n)
	if err != nil {
		return nil, err
	}
	return c.answer(ctx, r), nil
}

// read reads and decodes a request of n bytes.
func (c *conn) read(ctx context.Context, in *bufio.Reader, n uint32) (*request, error) {
	if n > smallRequest {
		full := time.NewTimer(c.opt.MaxStall)
		defer full.Stop()
		select {
		case c.large <- struct{}{}:
			defer func() { <-c.large }()
		case <-full.C:
			return nil, fmt.Errorf("a request of %d bytes, while others of that size are read; at most %d are", n, maxLarge)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	frame := make([]byte, 4+n)
	if _, err := io.ReadFull(in, frame); err != nil {
		return nil, err
	}
	return c.decode(frame[4:])
}

// write sends an answer. A client that takes nothing for MaxStall is given up.
func (c *conn) write(out net.Buffers) error {
	for len(out) > 0 {
		n, size := 0, 0
		for n < len(out) && size < writePiece {
			size += len(out[n])
			n++
		}
		piece := out[:n:n]
		out = out[n:]
		if err := c.net.SetWriteDeadline(time.Now().Add(time.Duration(1+size/writePiece) * c.opt.MaxStall)); err != nil {
			return err
		}
		if _, err := piece.WriteTo(c.net); err != nil {
			return err
		}
	}
	return nil
}

// request is a request that was read.
type request struct {
	api
	kmsg.Request // nil when the version is not served, and ApiVersions answers that
	correlation  []byte
}

// decode reads a request out of its frame.
func (c *conn) decode(frame []byte) (*request, error) {
	key, version := kmsg.Key(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
	a, ok := c.apis[key]
	r := &request{api: a, correlation: frame[4:8]}
	if served := ok && version >= a.min && version <= a.max; !served && key == kmsg.ApiVersions {
		return r, nil
	} else if !served {
		return nil, fmt.Errorf("request %s in version %d is not served; what is, ApiVersions says", kmsg.NameForKey(int16(key)), version)
	}
	c.met.requests.WithLabelValues(kmsg.NameForKey(int16(key))).Inc()
	r.Request = a.request()
	r.SetVersion(version)
	body, err := c.header(frame[8:], r.IsFlexible())
	if err == nil {
		err = r.ReadFrom(body)
	}
	if err != nil {
		return nil, fmt.Errorf("read a request %s in version %d: %w", kmsg.NameForKey(int16(key)), version, err)
	}
	if read, _, _ := c.allows(""); !read && !a.open {
		return nil, fmt.Errorf("request %s without a token: set sasl.mechanism=PLAIN, any user name, and a token of scope read as password", kmsg.NameForKey(int16(key)))
	}
	return r, nil
}

// answer returns the framed answer to a request, nil for none.
func (c *conn) answer(ctx context.Context, q *request) net.Buffers {
	if q.Request == nil {
		// A client may ask in a version that it does not know to be served.
		r := kmsg.NewPtrApiVersionsResponse()
		r.ErrorCode, r.ApiKeys = errUnsupportedVersion, c.versions()
		return framed(q.correlation, r, false)
	}
	r := q.handle(c, ctx, q.Request)
	if r == nil {
		return nil
	}
	r.SetVersion(q.GetVersion())
	if f, ok := r.(*fetchAnswer); ok {
		return f.framed(q.correlation)
	}
	return framed(q.correlation, r, r.IsFlexible() && q.key != kmsg.ApiVersions)
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
func framed(correlation []byte, r kmsg.Response, flexible bool) net.Buffers {
	out := append(make([]byte, 4, 512), correlation...)
	if flexible {
		out = append(out, 0) // no tags
	}
	out = r.AppendTo(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return net.Buffers{out}
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

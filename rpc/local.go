package rpc

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/admission"
	"carbond/rpc/internal/watch"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// local calls the services of a server without a network. Calls pass the same
// interceptors as those of other clients.
type local struct{ s *Server }

// Local returns a connection to the services for callers in the process: the HTTP
// API and the pages. Each call is admitted, by the rate and token of the caller that
// AsCaller puts into its context, and counted. It has no streams; see Stream.
func (s *Server) Local() grpc.ClientConnInterface { return local{s} }

// AsCaller says for whom a local call is made. token is that of the caller, "" for
// none; trusted callers may read without one. AsCaller keeps what md has of
// request headers.
func AsCaller(ctx context.Context, p *peer.Peer, token string, trusted bool, md metadata.MD) context.Context {
	md = md.Copy()
	if token != "" {
		md.Set("authorization", "Bearer "+token)
	}
	ctx = metadata.NewIncomingContext(peer.NewContext(ctx, p), md)
	if trusted {
		ctx = admission.Trust(ctx)
	}
	return ctx
}

// NewHeaders returns the reply headers of a call to Local, which grpc.Header gave.
func NewHeaders(md metadata.MD) *Headers { return &Headers{md: md} }

// Headers are the reply headers of a local call.
type Headers struct {
	mu sync.Mutex // guards what follows
	md metadata.MD
}

// Get returns a header, "" for none.
func (h *Headers) Get(name string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if v := h.md.Get(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// transport is the place of a local call where its handler puts headers.
type transport struct {
	method string
	*Headers
}

// Method implements grpc.ServerTransportStream.
func (t transport) Method() string { return t.method }

// SetHeader implements grpc.ServerTransportStream.
func (t transport) SetHeader(md metadata.MD) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.md = metadata.Join(t.md, md)
	return nil
}

// SendHeader implements grpc.ServerTransportStream.
func (t transport) SendHeader(md metadata.MD) error { return t.SetHeader(md) }

// SetTrailer implements grpc.ServerTransportStream.
func (t transport) SetTrailer(metadata.MD) error { return nil }

// registry remembers the services of a server by the names of their methods.
type registry struct {
	unary  map[string]unaryMethod
	stream map[string]streamMethod
}

type unaryMethod struct {
	impl    any
	handler grpc.MethodHandler
}

type streamMethod struct {
	impl    any
	handler grpc.StreamHandler
}

// RegisterService implements grpc.ServiceRegistrar.
func (r registry) RegisterService(d *grpc.ServiceDesc, impl any) {
	for _, m := range d.Methods {
		r.unary["/"+d.ServiceName+"/"+m.MethodName] = unaryMethod{impl, m.Handler}
	}
	for _, m := range d.Streams {
		r.stream["/"+d.ServiceName+"/"+m.StreamName] = streamMethod{impl, m.Handler}
	}
}

// Invoke implements grpc.ClientConnInterface.
func (l local) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	leave, err := l.s.enter()
	if err != nil {
		return err
	}
	defer leave()
	m, ok := l.s.registry.unary[method]
	if !ok {
		return status.Error(codes.Unimplemented, "no service has "+method)
	}
	h := &Headers{}
	ctx = grpc.NewContextWithServerTransportStream(ctx, transport{method, h})
	decode := func(to any) error {
		proto.Merge(to.(proto.Message), args.(proto.Message))
		return nil
	}
	resp, err := m.handler(m.impl, ctx, decode, l.s.guard.unary)
	for _, o := range opts {
		if o, ok := o.(grpc.HeaderCallOption); ok {
			*o.HeaderAddr = h.md
		}
	}
	if err != nil {
		return err
	}
	// The bytes of a cached reply become fields.
	raw, err := proto.Marshal(resp.(proto.Message))
	if err == nil {
		err = proto.Unmarshal(raw, reply.(proto.Message))
	}
	return err
}

// NewStream implements grpc.ClientConnInterface.
func (l local) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "a local connection has no streams")
}

// enter begins a local call, which Shutdown waits for; leave ends it.
func (s *Server) enter() (leave func(), err error) {
	s.server() // is built here, if nobody has served yet
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, rpcerr.New(codes.Unavailable, "the daemon stops", rpcerr.Info(rpcerr.ReasonDraining), rpcerr.RetryAfter(time.Second))
	}
	s.locals.Add(1)
	return s.locals.Done, nil
}

// call runs f as a local call of a method.
func (s *Server) call(ctx context.Context, method string, h *Headers, f func(context.Context) error) error {
	leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	ctx = grpc.NewContextWithServerTransportStream(ctx, transport{method, h})
	_, err = s.guard.unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(ctx context.Context, _ any) (any, error) { return nil, f(ctx) })
	return err
}

// Stream makes a call that streams from the server. send gets each message, as the
// handler gave it, and must not change it.
func (s *Server) Stream(ctx context.Context, method string, req proto.Message, send func(m any) error) error {
	m, ok := s.registry.stream[method]
	if !ok {
		return status.Error(codes.Unimplemented, "no service has "+method)
	}
	return s.streaming(ctx, method, m, req, send)
}

// Watch is a Watch call whose messages are events of text/event-stream. view is one of
// the views, token a resume token or "".
func (s *Server) Watch(ctx context.Context, view change.View, filter, token string, send func(event []byte) error) error {
	method := map[change.View]string{
		change.ViewProjects: pb.CarbonService_WatchProjects_FullMethodName, change.ViewNews: pb.CarbonService_WatchNews_FullMethodName,
		change.ViewFinance: pb.CarbonService_WatchFinanceData_FullMethodName,
	}[view]
	m := streamMethod{handler: func(_ any, ss grpc.ServerStream) error {
		return s.core.watches.Text().Serve(ss, watch.Query{View: view, Filter: filter, Token: token})
	}}
	return s.streaming(ctx, method, m, nil, func(m any) error { return send(m.([]byte)) })
}

func (s *Server) streaming(ctx context.Context, method string, m streamMethod, req proto.Message, send func(m any) error) error {
	leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	ctx = grpc.NewContextWithServerTransportStream(ctx, transport{method, &Headers{}})
	ss := &localStream{ctx: ctx, req: req, send: send}
	return s.guard.stream(m.impl, ss, &grpc.StreamServerInfo{FullMethod: method, IsServerStream: true}, m.handler)
}

// localStream is the server's side of Stream.
type localStream struct {
	ctx  context.Context // is that of one call, as in grpc.ServerStream
	req  proto.Message
	send func(any) error
}

// Context implements grpc.ServerStream.
func (s *localStream) Context() context.Context { return s.ctx }

// SendMsg implements grpc.ServerStream.
func (s *localStream) SendMsg(m any) error { return s.send(m) }

// RecvMsg implements grpc.ServerStream.
func (s *localStream) RecvMsg(m any) error {
	proto.Merge(m.(proto.Message), s.req)
	return nil
}

// SetHeader implements grpc.ServerStream.
func (s *localStream) SetHeader(md metadata.MD) error { return grpc.SetHeader(s.ctx, md) }

// SendHeader implements grpc.ServerStream.
func (s *localStream) SendHeader(md metadata.MD) error { return s.SetHeader(md) }

// SetTrailer implements grpc.ServerStream.
func (s *localStream) SetTrailer(metadata.MD) {}

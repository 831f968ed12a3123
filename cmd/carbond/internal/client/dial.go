package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"carbond/cmd/carbond/internal/certs"
	"carbond/cmd/carbond/internal/config"
)

// Client is how a command reaches the daemon.
type Client struct {
	Addr       string // HOST:PORT of the gRPC listener; of several nodes with commas between
	TLS        bool
	CA         string // PEM files, as the next two
	Cert, Key  string
	ServerName string
	TokenFile  string
	Own        bool   // the daemon asks itself: its certificate need not have the listener's name
	Version    string // of this carbond, for the user agent
}

// Flags gives a command the flags that every talking command has.
func Flags(cmd *cobra.Command, version string) *Client {
	c := &Client{Version: version}
	f := cmd.Flags()
	f.StringVar(&c.Addr, "addr", "127.0.0.1:50051", "`HOST:PORT` of the daemon's gRPC listener; of a fleet those of several nodes, with commas between: the first that can be reached is asked")
	f.BoolVar(&c.TLS, "tls", false, "use TLS, trusting the system's authorities; implied by the other TLS flags")
	f.StringVar(&c.CA, "tls-ca", "", "trust the authorities in this PEM `FILE`")
	f.StringVar(&c.Cert, "tls-cert", "", "present the client certificate in this PEM `FILE`")
	f.StringVar(&c.Key, "tls-key", "", "private key `FILE` of --tls-cert")
	f.StringVar(&c.ServerName, "tls-server-name", "", "`NAME` that the server's certificate must have, when it is not the one in --addr")
	f.StringVar(&c.TokenFile, "token-file", "", "send the bearer token in this `FILE`")
	return c
}

// maxReply allows replies that hold a whole view.
const maxReply = 1 << 30

// Dial makes a connection; it connects at the first call.
func (c *Client) Dial() (*grpc.ClientConn, error) {
	creds, err := c.credentials()
	if err != nil {
		return nil, err
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		// A connection that a router on the way has forgotten is found out in a minute.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 40 * time.Second, Timeout: 20 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReply)),
		grpc.WithUserAgent("carbond/" + c.Version),
	}
	if c.TokenFile != "" {
		b, err := config.ReadFile(c.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		token := strings.TrimSpace(string(b))
		if token == "" {
			return nil, fmt.Errorf("read the token: %s is empty", c.TokenFile)
		}
		opts = append(opts, grpc.WithPerRPCCredentials(bearer(token)))
	}
	if !strings.Contains(c.Addr, ",") {
		return grpc.NewClient("passthrough:///"+c.Addr, opts...)
	}
	nodes := manual.NewBuilderWithScheme("nodes")
	nodes.InitialState(resolver.State{Addresses: c.addresses()})
	return grpc.NewClient("nodes:///", append(opts, grpc.WithResolvers(nodes))...)
}

// addresses are the nodes of a fleet, the first that can be reached is asked. Each has a
// certificate of its own name, unless ServerName says otherwise.
func (c *Client) addresses() (out []resolver.Address) {
	for addr := range strings.SplitSeq(c.Addr, ",") {
		addr = strings.TrimSpace(addr)
		name := c.ServerName
		if host, _, err := net.SplitHostPort(addr); err == nil && name == "" {
			name = host
		}
		out = append(out, resolver.Address{Addr: addr, ServerName: name})
	}
	return out
}

func (c *Client) credentials() (credentials.TransportCredentials, error) {
	if !c.TLS && c.CA == "" && c.Cert == "" && c.Key == "" && c.ServerName == "" {
		return insecure.NewCredentials(), nil
	}
	if (c.Cert == "") != (c.Key == "") {
		return nil, UsageError{errors.New("--tls-cert and --tls-key go together")}
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName, InsecureSkipVerify: c.Own} //nolint:gosec // see Own
	if c.CA != "" {
		pool, err := certs.Pool(c.CA)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = pool
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("load the client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return telling{credentials.NewTLS(conf)}, nil
}

// telling are credentials whose connections say why the server refused them. With
// TLS 1.3 it looks at the client's certificate after the handshake is over for the
// client, whose first write then fails of a broken pipe before it reads the alert.
type telling struct {
	credentials.TransportCredentials
}

// ClientHandshake implements credentials.TransportCredentials.
func (t telling) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := t.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err == nil {
		conn = tellingConn{conn}
	}
	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (t telling) Clone() credentials.TransportCredentials {
	return telling{t.TransportCredentials.Clone()}
}

type tellingConn struct{ net.Conn }

// Write implements net.Conn. After an error nothing else is read from the
// connection, so what comes may be lost.
func (c tellingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err == nil {
		return n, nil
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Second)) // it may be closed
	for buf := make([]byte, 1<<10); ; {
		_, rerr := c.Read(buf)
		if alert, ok := errors.AsType[*net.OpError](rerr); ok && alert.Op == "remote error" {
			return n, rerr
		}
		if rerr != nil {
			return n, err
		}
	}
}

// bearer sends a token with every call. It also does so without TLS: the daemon
// may listen on loopback only.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return false }

// Explain turns a status into a message that says what to do.
func (c *Client) Explain(err error) error {
	if err == nil {
		return nil
	}
	var out OutputError
	if errors.As(err, &out) {
		return out.error
	}
	s := status.Convert(err)
	said := Plain(s.Message()) // by whoever listens there
	switch s.Code() {
	case codes.Unavailable:
		if Reason(err) != "" { // the daemon's own word
			return fmt.Errorf("call the daemon at %s: %s", c.Addr, said)
		}
		return fmt.Errorf("reach the daemon at %s: %s (is it running? --addr, --tls and --token-file say how to reach it)", c.Addr, dialing(said, c.Addr))
	case codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("call the daemon at %s: %s (give --token-file, or --tls-cert and --tls-key)", c.Addr, said)
	case codes.DeadlineExceeded:
		return fmt.Errorf("call the daemon at %s: no answer in time", c.Addr)
	}
	return fmt.Errorf("call the daemon at %s: %s: %s", c.Addr, s.Code(), said)
}

// dialing is why a connection could not be made, without the wrapping of grpc-go and
// without the address, which is said already.
func dialing(said, addr string) string {
	why, ok := strings.CutPrefix(said, `connection error: desc = "transport: Error while dialing: `)
	if !ok {
		return said
	}
	return strings.TrimPrefix(strings.TrimSuffix(why, `"`), "dial tcp "+addr+": ")
}

// Reason returns the reason in a status' details, "" for none.
func Reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			return i.GetReason()
		}
	}
	return ""
}

// Silence is after how long a follower takes a stream for dead on which nothing
// comes: the daemon says every five seconds that it is there.
const Silence = 30 * time.Second

// ErrSilent ends such a stream.
var ErrSilent = status.Error(codes.Unavailable, "the daemon has said nothing for "+Silence.String())

// Passing reports whether a follower may call again: the daemon went away, or
// something on the way to it ended the stream.
func Passing(err error) bool {
	s := status.Convert(err)
	return s.Code() == codes.Unavailable || s.Code() == codes.Internal &&
		(strings.Contains(s.Message(), "RST_STREAM") || strings.Contains(s.Message(), "without sending trailers"))
}

// Back is the wait before a follower calls again: longer each time, until something
// has come.
type Back struct{ last time.Duration }

// Next returns the wait.
func (b *Back) Next() time.Duration {
	b.last = min(max(time.Second, 2*b.last), 30*time.Second)
	return b.last
}

// Heard says that something has come.
func (b *Back) Heard() { b.last = 0 }

// IsOutput reports whether an error is an OutputError.
func IsOutput(err error) bool {
	var out OutputError
	return errors.As(err, &out)
}

// OutputError is a failure of standard output, not of the daemon.
type OutputError struct{ error }

// Unwrap returns the cause.
func (e OutputError) Unwrap() error { return e.error }

// Output marks a failure of standard output.
func Output(err error) error { return OutputError{err} }

// UsageError is a mistake on the command line.
type UsageError struct{ error }

// Unwrap returns the cause.
func (e UsageError) Unwrap() error { return e.error }

// Usage marks a mistake on the command line.
func Usage(err error) error { return UsageError{err} }

// Pause waits, and reports false when ctx ended first.
func Pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

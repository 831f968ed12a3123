package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"carbond/cmd/carbond/internal/certs"
)

// client is how a command reaches the daemon.
type client struct {
	addr       string
	tls        bool
	ca         string
	cert, key  string
	serverName string
	tokenFile  string
	own        bool // the daemon asks itself: its certificate need not have the listener's name
}

// addClientFlags gives a command the flags that every talking command has.
func addClientFlags(cmd *cobra.Command) *client {
	c := &client{}
	f := cmd.Flags()
	f.StringVar(&c.addr, "addr", "127.0.0.1:50051", "`HOST:PORT` of the daemon's gRPC listener")
	f.BoolVar(&c.tls, "tls", false, "use TLS, trusting the system's authorities; implied by the other TLS flags")
	f.StringVar(&c.ca, "tls-ca", "", "trust the authorities in this PEM `FILE`")
	f.StringVar(&c.cert, "tls-cert", "", "present the client certificate in this PEM `FILE`")
	f.StringVar(&c.key, "tls-key", "", "private key `FILE` of --tls-cert")
	f.StringVar(&c.serverName, "tls-server-name", "", "`NAME` that the server's certificate must have, when it is not the one in --addr")
	f.StringVar(&c.tokenFile, "token-file", "", "send the bearer token in this `FILE`")
	return c
}

// maxReply allows replies that hold a whole view.
const maxReply = 1 << 30

// dial makes a connection; it connects at the first call.
func (c *client) dial() (*grpc.ClientConn, error) {
	creds, err := c.credentials()
	if err != nil {
		return nil, err
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReply)),
		grpc.WithUserAgent("carbond/" + version),
	}
	if c.tokenFile != "" {
		b, err := os.ReadFile(c.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		token := strings.TrimSpace(string(b))
		if token == "" {
			return nil, fmt.Errorf("read the token: %s is empty", c.tokenFile)
		}
		opts = append(opts, grpc.WithPerRPCCredentials(bearer(token)))
	}
	return grpc.NewClient("passthrough:///"+c.addr, opts...)
}

func (c *client) credentials() (credentials.TransportCredentials, error) {
	if !c.tls && c.ca == "" && c.cert == "" && c.key == "" && c.serverName == "" {
		return insecure.NewCredentials(), nil
	}
	if (c.cert == "") != (c.key == "") {
		return nil, usageError{errors.New("--tls-cert and --tls-key go together")}
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.serverName, InsecureSkipVerify: c.own} //nolint:gosec // see own
	if c.ca != "" {
		pool, err := certs.Pool(c.ca)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = pool
	}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, fmt.Errorf("load the client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(conf), nil
}

// bearer sends a token with every call. It also does so without TLS: the daemon
// may listen on loopback only.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return false }

// explain turns a status into a message that says what to do.
func (c *client) explain(err error) error {
	if err == nil {
		return nil
	}
	var out outputError
	if errors.As(err, &out) {
		return out.error
	}
	s := status.Convert(err)
	switch s.Code() {
	case codes.Unavailable:
		if reason(err) != "" { // the daemon's own word
			return fmt.Errorf("call the daemon at %s: %s", c.addr, s.Message())
		}
		return fmt.Errorf("reach the daemon at %s: %s (is it running? --addr, --tls and --token-file say how to reach it)", c.addr, s.Message())
	case codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("call the daemon at %s: %s (give --token-file, or --tls-cert and --tls-key)", c.addr, s.Message())
	case codes.DeadlineExceeded:
		return fmt.Errorf("call the daemon at %s: no answer in time", c.addr)
	}
	return fmt.Errorf("call the daemon at %s: %s: %s", c.addr, s.Code(), s.Message())
}

package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/certs"
)

// HTTP is how a command reaches the daemon's HTTP listener.
type HTTP struct {
	Addr string // HOST:PORT or URL
	CA   string // PEM file, "" for plain text or the system's authorities
	Own  bool   // on this machine: the certificate need not have the listener's name
}

// HTTPFlags gives a command the flags of those that ask the HTTP listener.
func HTTPFlags(cmd *cobra.Command) *HTTP {
	h := &HTTP{}
	f := cmd.Flags()
	f.StringVar(&h.Addr, "http-addr", "127.0.0.1:50080", "`HOST:PORT` or URL of the daemon's HTTP listener")
	name := "tls-ca"
	if f.Lookup(name) != nil { // the gRPC listener's
		name = "http-tls-ca"
	}
	f.StringVar(&h.CA, name, "", "use https and trust the authorities in this PEM `FILE`")
	return h
}

// maxBody bounds what is read of an answer.
const maxBody = 16 << 20

// Status reads /status.json.
func (h *HTTP) Status(ctx context.Context) (s admin.Status, err error) {
	code, body, err := h.Get(ctx, "/status.json")
	if err != nil {
		return s, err
	}
	if code != http.StatusOK {
		return s, fmt.Errorf("ask %s for /status.json: %d %s", h.Addr, code, Plain(strings.TrimSpace(string(body))))
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return s, fmt.Errorf("read /status.json of %s: %w", h.Addr, err)
	}
	return s, nil
}

// Get reads a path of the listener.
func (h *HTTP) Get(ctx context.Context, path string) (code int, body []byte, err error) {
	url := h.Addr
	if !strings.Contains(url, "://") {
		scheme := "http"
		if h.CA != "" {
			scheme = "https"
		}
		url = scheme + "://" + h.Addr
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: h.Own}} //nolint:gosec // see Own
	defer transport.CloseIdleConnections()
	if h.CA != "" {
		if transport.TLSClientConfig.RootCAs, err = certs.Pool(h.CA); err != nil {
			return 0, nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(url, "/")+path, nil)
	if err != nil {
		return 0, nil, Usage(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			err = dial.Err // without the address, which is said here
		}
		return 0, nil, fmt.Errorf("reach the daemon's HTTP listener at %s: %w (is it running? --http-addr says where)", url, err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody)); err != nil {
		return 0, nil, fmt.Errorf("read the answer of %s: %w", req.URL, err)
	}
	return resp.StatusCode, body, nil
}

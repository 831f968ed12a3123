package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
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

// maxStatus bounds what is read of /status.json.
const maxStatus = 16 << 20

// Status reads /status.json.
func (h *HTTP) Status(ctx context.Context) (s admin.Status, err error) {
	url := h.Addr
	if !strings.Contains(url, "://") {
		scheme := "http"
		if h.CA != "" {
			scheme = "https"
		}
		url = scheme + "://" + h.Addr
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	if h.CA != "" {
		pool, err := certs.Pool(h.CA)
		if err != nil {
			return s, err
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(url, "/")+"/status.json", nil)
	if err != nil {
		return s, Usage(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return s, fmt.Errorf("reach the daemon's HTTP listener: %w (is it running? --http-addr says where)", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, fmt.Errorf("ask %s: %s", req.URL, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxStatus)).Decode(&s); err != nil {
		return s, fmt.Errorf("read the answer of %s: %w", req.URL, err)
	}
	return s, nil
}

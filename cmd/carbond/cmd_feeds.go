package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/certs"
	"carbond/cmd/carbond/internal/client"
)

func cmdFeeds(a *app) *cobra.Command {
	var httpAddr, ca string
	c := &cobra.Command{
		Use:     "feeds",
		Short:   "List the feeds of the running daemon",
		Long:    "Lists the feeds as the daemon's HTTP listener tells: state, last success, next poll, items and last error.",
		Example: "  carbond feeds\n  carbond feeds --http-addr https://10.0.0.7:50080 --tls-ca ca.crt\n  carbond feeds fetch verra",
		Args:    unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := fetchStatus(cmd.Context(), httpAddr, ca)
			if err != nil {
				return err
			}
			return printFeeds(a, s)
		},
	}
	c.Flags().StringVar(&httpAddr, "http-addr", "127.0.0.1:50080", "`HOST:PORT` or URL of the daemon's HTTP listener")
	c.Flags().StringVar(&ca, "tls-ca", "", "use https and trust the authorities in this PEM `FILE`")
	c.AddCommand(cmdFeedsFetch(a))
	return c
}

func printFeeds(a *app, s admin.Status) error {
	if s.Sample {
		fmt.Fprintln(a.out, "SAMPLE DATA")
	}
	if len(s.Feeds) == 0 {
		_, err := fmt.Fprintln(a.out, "no feed is enabled (feeds.enabled)")
		return err
	}
	w := tabwriter.NewWriter(a.out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(w, "FEED\tSTATE\tLAST SUCCESS\tNEXT DUE\tITEMS\tLAST ERROR")
	for _, f := range s.Feeds {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", client.Plain(f.Name), client.Plain(f.State), when(f.LastSuccess), when(f.NextDue), f.Items, client.Plain(f.LastError))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, f := range s.Feeds {
		for _, n := range f.Notes {
			fmt.Fprintf(a.out, "note: %s: %s\n", client.Plain(f.Name), client.Plain(n))
		}
	}
	return nil
}

func when(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format(time.RFC3339)
}

// fetchStatus reads /status.json.
func fetchStatus(ctx context.Context, addr, ca string) (s admin.Status, err error) {
	url := addr
	if !strings.Contains(url, "://") {
		scheme := "http"
		if ca != "" {
			scheme = "https"
		}
		url = scheme + "://" + addr
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	if ca != "" {
		pool, err := certs.Pool(ca)
		if err != nil {
			return s, err
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(url, "/")+"/status.json", nil)
	if err != nil {
		return s, client.Usage(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return s, fmt.Errorf("reach the daemon's HTTP listener: %w (is it running? --http-addr says where)", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, fmt.Errorf("ask %s: %s", req.URL, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 16<<20)).Decode(&s); err != nil {
		return s, fmt.Errorf("read the answer of %s: %w", req.URL, err)
	}
	return s, nil
}

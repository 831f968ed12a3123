package sample_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"carbond/feeds/internal/payload"
	"carbond/feeds/sample"
)

func TestFaults(t *testing.T) {
	tests := map[string]struct {
		fault sample.Fault
		check func(*testing.T, *http.Response, []byte, error)
	}{
		"429": {sample.Fault{Kind: sample.FaultStatus, Status: 429, RetryAfter: "120"}, func(t *testing.T, r *http.Response, _ []byte, _ error) {
			if r.StatusCode != 429 || r.Header.Get("Retry-After") != "120" {
				t.Errorf("%d %v", r.StatusCode, r.Header)
			}
		}},
		"html": {sample.Fault{Kind: sample.FaultHTML}, func(t *testing.T, r *http.Response, b []byte, _ error) {
			if r.StatusCode != 200 || !bytes.HasPrefix(b, []byte("<!DOCTYPE html>")) {
				t.Errorf("%d %s", r.StatusCode, b)
			}
		}},
		"truncated": {sample.Fault{Kind: sample.FaultTruncated}, func(t *testing.T, r *http.Response, b []byte, err error) {
			if r.StatusCode != 200 || err != nil || len(b) == 0 || json.Valid(b) {
				t.Errorf("%d, %d bytes, %v", r.StatusCode, len(b), err)
			}
		}},
		"reset": {sample.Fault{Kind: sample.FaultReset}, func(t *testing.T, _ *http.Response, _ []byte, err error) {
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%v", err)
			}
		}},
		"empty": {sample.Fault{Kind: sample.FaultEmpty}, func(t *testing.T, r *http.Response, b []byte, _ error) {
			if r.StatusCode != 200 || len(b) != 0 {
				t.Errorf("%d, %d bytes", r.StatusCode, len(b))
			}
		}},
		"bomb": {sample.Fault{Kind: sample.FaultBomb, Bytes: 64 << 20}, func(t *testing.T, _ *http.Response, b []byte, _ error) {
			if len(b) != 64<<20 {
				t.Errorf("%d bytes", len(b))
			}
		}},
		"redirect": {sample.Fault{Kind: sample.FaultRedirect, Location: "http://169.254.169.254/"}, func(t *testing.T, r *http.Response, _ []byte, _ error) {
			if r.StatusCode != 302 || r.Header.Get("Location") != "http://169.254.169.254/" {
				t.Errorf("%d %v", r.StatusCode, r.Header)
			}
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			u := serve(t, 1)
			u.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			u.Misbehave(sample.CarbonmarkPath, tc.fault)
			resp, err := u.http.Get(u.urls.Carbonmark + "/carbonProjects")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(resp.Body)
			tc.check(t, resp, body, err)
			if len(u.prices()) != 47 {
				t.Error("a fault of one path disturbed another")
			}
			u.Misbehave(sample.CarbonmarkPath, sample.Fault{})
			if status, _, _ := u.do(payload.Request{Method: http.MethodGet, URL: u.urls.Carbonmark + "/prices"}); status != 200 {
				t.Errorf("status %d after healing", status)
			}
			if n := u.Requests()[sample.CarbonmarkPath+"/carbonProjects"]; n != 1 {
				t.Errorf("%d requests counted", n)
			}
		})
	}
}

// Run ends although a client hangs on a stalled answer.
func TestRunEndsWithStalledClients(t *testing.T) {
	w := sample.New(sample.Options{Start: start, Now: func() time.Time { return start }})
	var lc net.ListenConfig
	var listeners []net.Listener
	for range 2 {
		l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, listeners...) }()
	w.Misbehave(sample.FinancePath, sample.Fault{Kind: sample.FaultStall})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + listeners[0].Addr().String() + sample.FinancePath + "/v7/finance/spark?symbols=KRBN")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	ok, err := client.Get("http://" + listeners[1].Addr().String() + sample.NewsPath + "/the-lantern")
	if err != nil || ok.StatusCode != 200 {
		t.Fatalf("%v, %v", ok, err)
	}
	_ = ok.Body.Close()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if err := w.Run(t.Context()); err == nil {
		t.Error("Run without a listener succeeded")
	}
}

package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"carbond/rpc/internal/form"
	"carbond/store/change"
)

// errGaveUp is wrapped by the error of a delivery that will not be tried again.
var errGaveUp = errors.New("the receiver did not take a delivery")

const (
	// attemptTime is how long a receiver may take for one delivery.
	attemptTime = 20 * time.Second
	// maxPause is the longest pause between two tries, also of a Retry-After.
	maxPause = time.Hour
)

// Key reads a signing secret: whsec_ and base64, as Standard Webhooks writes it, or the
// bytes of any other text.
func Key(secret string) ([]byte, error) {
	text, ok := strings.CutPrefix(secret, "whsec_")
	if !ok {
		return []byte(secret), nil
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("is not base64 behind whsec_")
	}
	return key, nil
}

// Sign returns the header webhook-signature of a delivery.
func Sign(key []byte, id string, at time.Time, body []byte) string {
	m := hmac.New(sha256.New, key)
	fmt.Fprintf(m, "%s.%d.", id, at.Unix())
	m.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// deliver posts until the receiver has taken it. offset and part make the id, which is
// the same however often a delivery is made.
func (s *Sender) deliver(ctx context.Context, h *running, kind string, offset, part change.Offset, at time.Time, data []byte) error {
	id := fmt.Sprintf("%s-%d-%d", h.Name, offset, part)
	body := s.body(h.Hook, kind, offset, at, data)
	began, wait := time.Now(), s.opt.FirstPause
	for {
		retry, err := s.attempt(ctx, h.Hook, id, body)
		if err == nil {
			h.set(func(st *State) { *st = State{Hook: h.Hook} })
			s.deliveries.WithLabelValues(h.Name, "ok").Inc()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		h.set(func(st *State) {
			st.Error = err.Error()
			if st.Failing.IsZero() {
				st.Failing = began
			}
		})
		s.deliveries.WithLabelValues(h.Name, "failed").Inc()
		if retry < 0 || time.Since(began) > s.opt.GiveUp {
			return fmt.Errorf("%w: %w", errGaveUp, err)
		}
		s.opt.Log.Warn("webhook delivery failed", "hook", h.Name, "offset", uint64(offset), "error", err)
		pause(ctx, max(min(retry, maxPause), wait/2+rand.N(wait/2+1)))
		wait = min(2*wait, maxPause)
	}
}

// body makes a delivery. data is the rest of its object data.
func (s *Sender) body(h Hook, kind string, offset change.Offset, at time.Time, data []byte) []byte {
	body := form.AppendText([]byte(`{"type":`), kind)
	body = form.AppendText(append(body, `,"timestamp":`...), at.UTC().Format(time.RFC3339Nano))
	body = form.AppendText(append(body, `,"data":{"hook":`...), h.Name)
	about := `,"view":`
	if h.Topic != "" {
		about = `,"topic":`
	}
	body = form.AppendText(append(body, about...), h.About())
	body = form.AppendText(append(body, `,"history":`...), s.log.History().ID)
	body = append(append(body, fmt.Sprintf(`,"offset":%d,`, offset)...), data...)
	return append(body, "}}"...)
}

// attempt posts once. retry is how long the receiver wants to be left alone, below 0 for
// ever.
func (s *Sender) attempt(ctx context.Context, h Hook, id string, body []byte) (retry time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	now := time.Now()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "carbond/"+s.opt.Version)
	r.Header.Set("webhook-id", id)
	r.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	r.Header.Set("webhook-signature", Sign(s.opt.Key, id, now, body))
	// The transport alone follows no redirect: a receiver cannot send it elsewhere.
	resp, err := s.opt.Transport.RoundTrip(r)
	if err != nil {
		return 0, fmt.Errorf("post: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection is used again
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		return 0, nil
	case resp.StatusCode == http.StatusGone:
		retry = -1
	default:
		if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 {
			retry = time.Duration(n) * time.Second
		}
	}
	return retry, fmt.Errorf("the receiver answered %s", resp.Status)
}

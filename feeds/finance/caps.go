package finance

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/poll"
)

// refreshCaps asks for market capitalisation when that is due. It needs a
// cookie and a crumb, which some networks never get: a failure leaves the
// market cap unset and the prices untouched.
func (s *Poller) refreshCaps(ctx context.Context, c *poll.Cycle, now time.Time) {
	if s.opt.Provider != nil || now.Sub(s.mem.CapsAt) < s.opt.CapsEvery {
		return
	}
	s.mem.CapsAt = now
	caps, err := s.caps(ctx, c, now)
	if fetch.KindOf(err) == fetch.KindAuth && ctx.Err() == nil {
		s.cookie, s.crumb = "", "" // expired: once more with fresh ones
		caps, err = s.caps(ctx, c, now)
	}
	if err != nil {
		s.cookie, s.crumb = "", ""
		c.Log.Debug("market caps not available", "kind", fetch.KindOf(err), "error", err)
	}
	for _, m := range caps {
		s.mem.Caps[m.Ticker] = capMemory{m.MarketCap, now}
	}
}

func (s *Poller) caps(ctx context.Context, c *poll.Cycle, now time.Time) ([]Cap, error) {
	if err := s.login(ctx, c); err != nil {
		return nil, err
	}
	var all []Cap
	for _, batch := range Batches(s.opt.Tickers) {
		addr, err := QuoteURL(s.opt.URL, batch, s.crumb)
		if err != nil {
			return all, fetch.Fail(fetch.KindInvalid, "ask for market caps", "address cannot be built")
		}
		req, res, err := s.get(ctx, c, addr, 0)
		if err != nil {
			return all, err
		}
		out, err := ParseQuote(res.Body, res.ContentType(), Ask{Symbols: batch, Now: now})
		if err = s.named(c, req, err); err != nil && fetch.KindOf(err) != fetch.KindEmpty {
			return all, err
		}
		all = append(all, out.Caps...)
	}
	return all, nil
}

// login gets the cookie and the crumb that belongs to it, unless both are at
// hand.
func (s *Poller) login(ctx context.Context, c *poll.Cycle) error {
	if s.crumb != "" {
		return nil
	}
	if s.opt.Cookie != "" {
		u, err := url.Parse(s.opt.Cookie)
		if err != nil {
			return fetch.Fail(fetch.KindInvalid, "ask for a cookie", "address cannot be read")
		}
		// The host answers 404 and sets the cookie all the same.
		res, err := c.Get(ctx, &fetch.Request{
			Method: http.MethodGet, URL: u, Group: yahooGroup, FirstPause: yahooFirstPause, AnyAnswer: true, MaxBody: 256 << 10,
		})
		if err != nil {
			return err
		}
		// What was set, as it is sent back.
		var cookies []string
		for _, ck := range (&http.Response{Header: res.Header}).Cookies() {
			if ck.Value != "" && ck.MaxAge >= 0 && len(ck.Value) < 2048 && len(cookies) < 10 {
				cookies = append(cookies, ck.Name+"="+ck.Value)
			}
		}
		s.cookie = strings.Join(cookies, "; ")
	}
	addr, err := CrumbURL(s.opt.URL)
	if err != nil {
		return fetch.Fail(fetch.KindInvalid, "ask for a crumb", "address cannot be built")
	}
	req, res, err := s.get(ctx, c, addr, 0)
	if err != nil {
		return err
	}
	crumb, err := ParseCrumb(res.Body)
	if errors.Is(err, ErrInvalidCrumb) {
		return &fetch.Error{Kind: fetch.KindInvalid, Op: "read crumb", Err: err}
	}
	if err != nil {
		return s.named(c, req, err)
	}
	s.crumb = crumb
	return nil
}

package feeds

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"carbond/feeds/finance"
)

// refreshCaps asks for market capitalisation when that is due. It needs a
// cookie and a crumb, which some networks never get: a failure leaves the
// market cap unset and the prices untouched.
func (s *financeSource) refreshCaps(ctx context.Context, c *cycle, now time.Time) {
	if s.opt.Provider != nil || now.Sub(s.mem.CapsAt) < s.opt.CapsEvery {
		return
	}
	s.mem.CapsAt = now
	caps, err := s.caps(ctx, c, now)
	if KindOf(err) == KindAuth && ctx.Err() == nil {
		s.cookie, s.crumb = "", "" // expired: once more with fresh ones
		caps, err = s.caps(ctx, c, now)
	}
	if err != nil {
		s.cookie, s.crumb = "", ""
		c.log.Debug("market caps not available", "kind", KindOf(err), "error", err)
	}
	for _, m := range caps {
		s.mem.Caps[m.Ticker] = capMemory{m.MarketCap, now}
	}
}

func (s *financeSource) caps(ctx context.Context, c *cycle, now time.Time) ([]finance.Cap, error) {
	if err := s.login(ctx, c); err != nil {
		return nil, err
	}
	var all []finance.Cap
	for _, batch := range finance.Batches(s.opt.Tickers) {
		addr, err := finance.QuoteURL(s.opt.URL, batch, s.crumb)
		if err != nil {
			return all, fail(KindInvalid, "ask for market caps", "address cannot be built")
		}
		req, res, err := s.get(ctx, c, addr, 0)
		if err != nil {
			return all, err
		}
		out, err := finance.ParseQuote(res.Body, res.ContentType(), finance.Ask{Symbols: batch, Now: now})
		if err = s.named(c, req, err); err != nil && KindOf(err) != KindEmpty {
			return all, err
		}
		all = append(all, out.Caps...)
	}
	return all, nil
}

// login gets the cookie and the crumb that belongs to it, unless both are at
// hand.
func (s *financeSource) login(ctx context.Context, c *cycle) error {
	if s.crumb != "" {
		return nil
	}
	if s.opt.Cookie != "" {
		u, err := url.Parse(s.opt.Cookie)
		if err != nil {
			return fail(KindInvalid, "ask for a cookie", "address cannot be read")
		}
		// The host answers 404 and sets the cookie all the same.
		res, err := c.get(ctx, &request{
			Method: http.MethodGet, URL: u, Group: yahooGroup, FirstPause: yahooFirstPause, AnyAnswer: true, MaxBody: 256 << 10,
		})
		if err != nil {
			return err
		}
		s.cookie = cookieHeader(res.Header)
	}
	addr, err := finance.CrumbURL(s.opt.URL)
	if err != nil {
		return fail(KindInvalid, "ask for a crumb", "address cannot be built")
	}
	req, res, err := s.get(ctx, c, addr, 0)
	if err != nil {
		return err
	}
	crumb, err := finance.ParseCrumb(res.Body)
	if errors.Is(err, finance.ErrInvalidCrumb) {
		return &Error{Kind: KindInvalid, Op: "read crumb", Err: err}
	}
	if err != nil {
		return s.named(c, req, err)
	}
	s.crumb = crumb
	return nil
}

// cookieHeader turns what was set into what is sent back.
func cookieHeader(h http.Header) string {
	var out []string
	for _, ck := range (&http.Response{Header: h}).Cookies() {
		if ck.Value != "" && ck.MaxAge >= 0 && len(ck.Value) < 2048 && len(out) < 10 {
			out = append(out, ck.Name+"="+ck.Value)
		}
	}
	return strings.Join(out, "; ")
}

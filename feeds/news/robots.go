package news

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/poll"
	"carbond/feeds/internal/robots"
)

const (
	robotsEvery = 24 * time.Hour // age at which a site's rules are read again
	robotsMost  = 500            // sites that are remembered
)

// robotRules knows what the sites of feeds allow. All news feeds share one. A nil
// *robotRules allows everything: nobody asked to look.
type robotRules struct {
	mu    sync.Mutex // guards sites
	sites map[string]robotSite
}

type robotSite struct {
	rules robots.Rules
	at    time.Time
}

// check returns an error when the site of u does not want it polled. A site that
// refuses to show its rules has none; one that cannot be reached is not polled,
// unless it was reached before.
func (r *robotRules) check(ctx context.Context, c *poll.Cycle, u *url.URL, spacing time.Duration) error {
	if r == nil {
		return nil
	}
	key := fetch.Origin(u)
	r.mu.Lock()
	site, known := r.sites[key]
	r.mu.Unlock()
	if !known || c.Now().Sub(site.at) >= robotsEvery {
		rules, err := r.read(ctx, c, u, spacing)
		if err != nil && !known {
			return err
		}
		if err == nil {
			site.rules = rules
		}
		site.at = c.Now()
		r.mu.Lock()
		if len(r.sites) >= robotsMost {
			clear(r.sites)
		}
		r.sites[key] = site
		r.mu.Unlock()
	}
	if !site.rules.Allowed(u) {
		return &fetch.Error{Kind: fetch.KindBlocked, Op: "GET " + fetch.Shown(u), Err: fmt.Errorf("robots.txt of %s closes this address to carbond", u.Host)}
	}
	return nil
}

func (r *robotRules) read(ctx context.Context, c *poll.Cycle, u *url.URL, spacing time.Duration) (robots.Rules, error) {
	at := &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/robots.txt"}
	res, err := c.Get(ctx, &fetch.Request{
		Method: http.MethodGet, URL: at, AnyAnswer: true, MaxBody: fetch.MaxFeedBody, Spacing: spacing,
		Header: http.Header{"Accept": {"text/plain"}},
	})
	if err != nil || res.Status != http.StatusOK {
		return robots.Rules{}, err
	}
	return robots.Parse(res.Body, "carbond"), nil
}

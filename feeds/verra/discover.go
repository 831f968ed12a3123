package verra

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/poll"
)

// configPath is where the site keeps its configuration document.
const configPath = "/config/environment.config.json"

// discover reads the configuration document unless the search base is known.
func (s *Poller) discover(ctx context.Context, c *poll.Cycle) error {
	if s.api != nil {
		return nil
	}
	env, err := s.environment(ctx, c)
	if err != nil {
		return err
	}
	api := &Client{Env: env, Standard: s.opt.Standard, Extra: s.opt.Headers}
	if api.Extra == nil {
		origin := DefaultSite
		if !s.isLocal {
			origin = s.site.Scheme + "://" + s.site.Host
		}
		api.Extra = map[string]string{"Origin": origin, "Referer": origin}
	}
	s.api = api
	return nil
}

func (s *Poller) environment(ctx context.Context, c *poll.Cycle) (Environment, error) {
	env, err := s.document(ctx, c, strings.TrimRight(s.site.Path, "/")+configPath)
	if s.site.Path != "" && s.site.Path != "/" && noDocument(err) {
		// The configured path may be that of an API beside the site's document.
		env, err = s.document(ctx, c, configPath)
	}
	switch k := fetch.KindOf(err); {
	case err == nil:
		s.env = &env
	case k == fetch.KindCanceled, s.opt.Base == "" && (k == fetch.KindPaused || k == fetch.KindRateLimited || k == fetch.KindBlocked):
		return env, err
	case s.env != nil:
		env = *s.env // the services need not have moved because the site is down
	case s.opt.Base != "", noDocument(err):
		// Without the document the headers of the site are missing; the base may
		// still answer.
		env = Environment{Search: s.fallbackBase()}
	default:
		return env, err
	}
	if s.opt.Base != "" {
		env.Search = strings.TrimRight(s.opt.Base, "/")
	}
	return s.confine(env)
}

// document reads the configuration document at a path of the site.
func (s *Poller) document(ctx context.Context, c *poll.Cycle, path string) (Environment, error) {
	u := *s.site
	u.Path, u.RawPath = path, ""
	req := &fetch.Request{
		Method: http.MethodGet, URL: &u, Spacing: s.opt.Spacing, MaxBody: 1 << 20,
		Header: http.Header{"Accept": {"application/json"}},
	}
	res, err := c.Get(ctx, req)
	if err != nil {
		return Environment{}, err
	}
	env, err := ParseEnvironment(res.Body, res.ContentType())
	return env, poll.Parsed(req, err)
}

// noDocument reports an answer that is none: nothing is there, or something else.
func noDocument(err error) bool {
	switch fetch.KindOf(err) {
	case fetch.KindNotFound, fetch.KindHTML, fetch.KindInvalid, fetch.KindNotJSON:
		return true
	}
	return false
}

// fallbackBase is the search base when no document names one.
func (s *Poller) fallbackBase() string {
	if !s.isLocal && fetch.LowerHost(s.site) == "registry.verra.org" {
		return DefaultBase
	}
	return strings.TrimRight(s.site.String(), "/")
}

// confine keeps the addresses of the document within the rules: public ones
// over https, or the configured host. A stand-in on the user's own machine
// stands in for the whole registry: a document that was copied from the real
// site never leads a test or a demo out to it.
func (s *Poller) confine(env Environment) (Environment, error) {
	for _, p := range []*string{&env.Search, &env.CMS} {
		if *p == "" || *p == strings.TrimRight(s.opt.Base, "/") {
			continue
		}
		u, err := url.Parse(*p)
		if err != nil {
			return env, fetch.Fail(fetch.KindInvalid, "read registry configuration", "an address cannot be read")
		}
		switch {
		case s.isLocal && fetch.LowerHost(u) == fetch.LowerHost(s.site):
		case s.isLocal:
			u.Scheme, u.Host = s.site.Scheme, s.site.Host
			*p = u.String()
		default:
			if err := fetch.CheckURL(u, s.site); err != nil {
				return env, &fetch.Error{Kind: fetch.KindBlocked, Op: "read registry configuration", Err: err}
			}
		}
	}
	return env, nil
}

// correctStandard looks the standard's id up after an answer without entities,
// which is how the registry answers a wrong one.
func (s *Poller) correctStandard(ctx context.Context, c *poll.Cycle) {
	if s.api == nil {
		return
	}
	_, res, err := c.Call(ctx, s.api.Standards(), s.rules())
	if err != nil {
		c.Log.Debug("registry standards not available", "error", err)
		return
	}
	list, err := ParseStandards(res.Body, res.ContentType())
	if err != nil {
		c.Log.Debug("registry standards not readable", "error", err)
		return
	}
	if std, ok := FindStandard(list, s.api.Standard.Acronym); ok && std.ID != s.api.Standard.ID {
		c.Log.Warn("registry standard has another id, using it from now on", "standard", std.Acronym, "id", std.ID)
		s.api.Standard = std
		s.opt.Standard = std
	}
}

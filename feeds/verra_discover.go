package feeds

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"carbond/feeds/verra"
)

// verraConfigPath is where the site keeps its configuration document.
const verraConfigPath = "/config/environment.config.json"

// discover reads the configuration document unless the search base is known.
func (s *verraSource) discover(ctx context.Context, c *cycle) error {
	if s.api != nil {
		return nil
	}
	env, err := s.environment(ctx, c)
	if err != nil {
		return err
	}
	api := &verra.Client{Env: env, Standard: s.opt.Standard, Extra: s.opt.Headers}
	if api.Extra == nil {
		origin := "https://registry.verra.org"
		if !s.isLocal {
			origin = s.site.Scheme + "://" + s.site.Host
		}
		api.Extra = map[string]string{"Origin": origin, "Referer": origin}
	}
	s.api = api
	return nil
}

func (s *verraSource) environment(ctx context.Context, c *cycle) (verra.Environment, error) {
	env, err := s.document(ctx, c, strings.TrimRight(s.site.Path, "/")+verraConfigPath)
	if s.site.Path != "" && s.site.Path != "/" && noDocument(err) {
		// The configured path may be that of an API beside the site's document.
		env, err = s.document(ctx, c, verraConfigPath)
	}
	switch k := KindOf(err); {
	case err == nil:
		s.env = &env
	case k == KindCanceled, s.opt.Base == "" && (k == KindPaused || k == KindRateLimited || k == KindBlocked):
		return env, err
	case s.env != nil:
		env = *s.env // the services need not have moved because the site is down
	case s.opt.Base != "", noDocument(err):
		// Without the document the headers of the site are missing; the base may
		// still answer.
		env = verra.Environment{Search: s.fallbackBase()}
	default:
		return env, err
	}
	if s.opt.Base != "" {
		env.Search = strings.TrimRight(s.opt.Base, "/")
	}
	return s.confine(env)
}

// document reads the configuration document at a path of the site.
func (s *verraSource) document(ctx context.Context, c *cycle, path string) (verra.Environment, error) {
	u := *s.site
	u.Path, u.RawPath = path, ""
	req := &request{
		Method: http.MethodGet, URL: &u, Spacing: s.opt.Spacing, MaxBody: 1 << 20,
		Header: http.Header{"Accept": {"application/json"}},
	}
	res, err := c.get(ctx, req)
	if err != nil {
		return verra.Environment{}, err
	}
	env, err := verra.ParseEnvironment(res.Body, res.ContentType())
	return env, parsed(req, err)
}

// noDocument reports an answer that is none: nothing is there, or something else.
func noDocument(err error) bool {
	switch KindOf(err) {
	case KindNotFound, KindHTML, KindInvalid, KindNotJSON:
		return true
	}
	return false
}

// fallbackBase is the search base when no document names one.
func (s *verraSource) fallbackBase() string {
	if !s.isLocal && lowerHost(s.site) == "registry.verra.org" {
		return verra.DefaultBase
	}
	return strings.TrimRight(s.site.String(), "/")
}

// confine keeps the addresses of the document within the rules: public ones
// over https, or the configured host. A stand-in on the user's own machine
// stands in for the whole registry: a document that was copied from the real
// site never leads a test or a demo out to it.
func (s *verraSource) confine(env verra.Environment) (verra.Environment, error) {
	for _, p := range []*string{&env.Search, &env.Detail, &env.Credit, &env.CMS} {
		if *p == "" || *p == strings.TrimRight(s.opt.Base, "/") {
			continue
		}
		u, err := url.Parse(*p)
		if err != nil {
			return env, fail(KindInvalid, "read registry configuration", "an address cannot be read")
		}
		switch {
		case s.isLocal && lowerHost(u) == lowerHost(s.site):
		case s.isLocal:
			u.Scheme, u.Host = s.site.Scheme, s.site.Host
			*p = u.String()
		default:
			if err := checkURL(u, s.site); err != nil {
				return env, &Error{Kind: KindBlocked, Op: "read registry configuration", Err: err}
			}
		}
	}
	return env, nil
}

// correctStandard looks the standard's id up after an answer without entities,
// which is how the registry answers a wrong one.
func (s *verraSource) correctStandard(ctx context.Context, c *cycle) {
	if s.api == nil {
		return
	}
	_, res, err := c.call(ctx, s.api.Standards(), s.rules())
	if err != nil {
		c.log.Debug("registry standards not available", "error", err)
		return
	}
	list, err := verra.ParseStandards(res.Body, res.ContentType())
	if err != nil {
		c.log.Debug("registry standards not readable", "error", err)
		return
	}
	if std, ok := verra.FindStandard(list, s.api.Standard.Acronym); ok && std.ID != s.api.Standard.ID {
		c.log.Warn("registry standard has another id, using it from now on", "standard", std.Acronym, "id", std.ID)
		s.api.Standard = std
		s.opt.Standard = std
	}
}

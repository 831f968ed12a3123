package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"carbond/cmd/carbond/internal/config"
	"carbond/feeds"
	"carbond/rpc/webhook"
	"carbond/store/change"
)

// hooksOf reads the receivers of webhooks and what they want.
func hooksOf(cfg *config.Config) ([]webhook.Hook, error) {
	w := cfg.Webhooks
	wrong := func(key, form string, args ...any) ([]webhook.Hook, error) {
		return nil, config.Problems{{Where: cfg.Origin(key), Text: key + ": " + fmt.Sprintf(form, args...)}}
	}
	for key, pairs := range map[string][]config.Pair{"webhooks.views": w.Views, "webhooks.rules": w.Rules} {
		for _, p := range pairs {
			if !slices.ContainsFunc(w.URLs, func(u config.NamedURL) bool { return u.Name == p.Name }) {
				return wrong(key, "%q has no address in webhooks.urls", p.Name)
			}
		}
	}
	value := func(pairs []config.Pair, name string) string {
		i := slices.IndexFunc(pairs, func(p config.Pair) bool { return p.Name == name })
		if i < 0 {
			return ""
		}
		return pairs[i].Value
	}
	if len(w.URLs) > 0 && w.Secret.Empty() {
		return wrong("webhooks.urls", "needs webhooks.secret, with which receivers tell carbond's deliveries from others")
	}
	if _, err := webhook.Key(w.Secret.Reveal()); err != nil {
		return wrong("webhooks.secret", "%v", err)
	}
	var hooks []webhook.Hook
	for _, u := range w.URLs {
		if slices.ContainsFunc(hooks, func(h webhook.Hook) bool { return h.Name == u.Name }) {
			return wrong("webhooks.urls", "%q is listed twice", u.Name)
		}
		view, filter, _ := strings.Cut(value(w.Views, u.Name), ":")
		h := webhook.Hook{Name: u.Name, URL: u.URL, View: change.View(view), Filter: filter}
		def := h.View.Def()
		if def == nil {
			return wrong("webhooks.views", "hook %q has no view: say %s=projects, news or finance, with :FILTER behind it", u.Name, u.Name)
		}
		var err error
		if h.Rule, err = webhook.ParseRule(def, value(w.Rules, u.Name)); err != nil {
			return wrong("webhooks.rules", "hook %q: %v", u.Name, err)
		}
		hooks = append(hooks, h)
	}
	return hooks, nil
}

// buildWebhooks makes the sender of webhooks, if there are any.
func (d *Daemon) buildWebhooks(_ context.Context, cfg *config.Config) error {
	hooks, err := hooksOf(cfg)
	if err != nil || len(hooks) == 0 {
		return err
	}
	key, err := webhook.Key(cfg.Webhooks.Secret.Reveal())
	if err != nil {
		return err // hooksOf has tried it
	}
	var urls []string
	for _, h := range hooks {
		urls = append(urls, h.URL)
	}
	d.webhooks, err = webhook.New(d.store, d.store.Past(), webhook.Options{
		Log: d.log.With("stage", "webhook"), Registerer: d.met.reg, Hooks: hooks, Key: key,
		Transport: feeds.Transport(urls...), Version: d.opt.Version.Version,
	})
	return err
}

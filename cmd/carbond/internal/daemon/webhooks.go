package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbond/cmd/carbond/internal/config"
	"carbond/feeds"
	pb "carbond/proto/carbon"
	"carbond/rpc/webhook"
	"carbond/store/change"
)

// hooksOf reads the receivers of webhooks and what they want.
func hooksOf(cfg *config.Config) ([]webhook.Hook, error) {
	w := cfg.Webhooks
	wrong := func(key, form string, args ...any) ([]webhook.Hook, error) {
		return nil, config.Problems{{Where: cfg.Origin(key), Text: key + ": " + fmt.Sprintf(form, args...)}}
	}
	for key, pairs := range map[string][]config.Pair{"webhooks.views": w.Views, "webhooks.rules": w.Rules, "webhooks.topics": w.Topics} {
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
		if topic := value(w.Topics, u.Name); topic != "" {
			if value(w.Views, u.Name) != "" || value(w.Rules, u.Name) != "" {
				return wrong("webhooks.topics", "hook %q has a view or a rule too: a hook is about a view or about all of a topic", u.Name)
			}
			if p := strings.Split(topic, "."); len(p) < 3 || p[0] != "carbon" || p[1] == "" || p[2] == "" {
				return wrong("webhooks.topics", "hook %q: %q is not the name of a topic, like carbon.public.verra; carbond topics lists them", u.Name, topic)
			}
			hooks = append(hooks, webhook.Hook{Name: u.Name, URL: u.URL, Topic: topic})
			continue
		}
		view, filter, _ := strings.Cut(value(w.Views, u.Name), ":")
		h := webhook.Hook{Name: u.Name, URL: u.URL, View: change.View(view), Filter: filter}
		def := h.View.Def()
		if def == nil {
			return wrong("webhooks.views", "hook %q has no view: say %s=projects, news or finance, with :FILTER behind it, or %s=TOPIC in webhooks.topics", u.Name, u.Name, u.Name)
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

// ListWebhooks implements pb.AdminServiceServer.
func (o operator) ListWebhooks(context.Context, *pb.ListWebhooksRequest) (*pb.ListWebhooksResponse, error) {
	out := &pb.ListWebhooksResponse{}
	if o.d.webhooks == nil {
		return out, nil
	}
	groups := o.d.store.Groups()
	for _, s := range o.d.webhooks.States() {
		h := &pb.Webhook{Name: s.Name, View: s.About(), Filter: s.Filter, Rule: s.Rule.Text, State: "ok"}
		switch {
		case s.Stopped:
			h.State = "stopped"
		case !s.Failing.IsZero():
			h.State = "failing"
		}
		if !s.Failing.IsZero() {
			h.FailingSinceMs, h.Error = s.Failing.UnixMilli(), o.d.opt.Redaction.Text(s.Error)
		}
		for _, g := range groups {
			if g.Name == webhook.Group(s.Name) {
				for _, t := range g.Topics {
					h.Committed, h.LagRecords, h.LagSeconds = uint64(t.Committed), h.LagRecords+t.Lag, max(h.LagSeconds, t.LagTime.Seconds())
				}
			}
		}
		out.Hooks = append(out.Hooks, h)
	}
	return out, nil
}

// TestWebhook implements pb.AdminServiceServer.
func (o operator) TestWebhook(ctx context.Context, req *pb.TestWebhookRequest) (*pb.TestWebhookResponse, error) {
	if o.d.webhooks == nil {
		return nil, status.Error(codes.NotFound, webhook.ErrUnknown.Error())
	}
	if err := o.d.webhooks.Test(ctx, req.GetHook()); err != nil {
		code := codes.FailedPrecondition // it is not the daemon that cannot be reached
		if errors.Is(err, webhook.ErrUnknown) {
			code = codes.NotFound
		}
		return nil, status.Error(code, o.d.opt.Redaction.Text(err.Error()))
	}
	return &pb.TestWebhookResponse{}, nil
}

// ReplayWebhook implements pb.AdminServiceServer.
func (o operator) ReplayWebhook(ctx context.Context, req *pb.ReplayWebhookRequest) (*pb.ReplayWebhookResponse, error) {
	if o.d.webhooks == nil {
		return nil, status.Error(codes.NotFound, webhook.ErrUnknown.Error())
	}
	if o.d.alone != nil && !o.d.alone.Held() {
		return nil, status.Error(codes.FailedPrecondition, "another node of the fleet posts the webhooks: ask the one that has the lease in carbond fleet")
	}
	to := &pb.ResetGroupRequest{Group: webhook.Group(req.GetHook())}
	switch from := req.From.(type) {
	case *pb.ReplayWebhookRequest_Earliest:
		to.To = &pb.ResetGroupRequest_Earliest{Earliest: true}
	case *pb.ReplayWebhookRequest_Latest:
		to.To = &pb.ResetGroupRequest_Latest{Latest: true}
	case *pb.ReplayWebhookRequest_Offset:
		to.To = &pb.ResetGroupRequest_Offset{Offset: from.Offset}
	case *pb.ReplayWebhookRequest_Time:
		to.To = &pb.ResetGroupRequest_Time{Time: from.Time}
	}
	out := &pb.ReplayWebhookResponse{}
	err := o.d.webhooks.Paused(ctx, req.GetHook(), func() error {
		for _, g := range o.d.store.Groups() {
			if g.Name == to.Group && len(g.Topics) == 1 {
				to.Topic = g.Topics[0].Topic // the one that has its place
			}
		}
		r, err := o.d.api.ResetGroup(ctx, to)
		for _, t := range r.GetGroup().GetTopics() {
			out.Committed = max(out.Committed, t.GetCommitted())
		}
		return err
	})
	if errors.Is(err, webhook.ErrUnknown) {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

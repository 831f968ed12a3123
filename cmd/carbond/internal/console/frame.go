package console

import (
	"maps"
	"slices"
	"strings"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"carbond/cmd/carbond/internal/admin"
)

// build names what the page is made by: another one has other parts.
func build(s admin.Status) string { return s.Mode + " " + s.Version.Version + " " + s.Version.Revision }

// frame is what every page has around its content.
func (c *Console) frame(q *request, p place, body g.Node) g.Node {
	title, name := "carbond: "+verdict(q.status), p.name
	if q.title != "" {
		name = q.title
	}
	if p.path != "/" {
		title = name + " - " + title
	}
	if q.status.Sample {
		title = "SAMPLE DATA - " + title
	}
	return h.Doctype(h.HTML(h.Lang("en"), g.If(q.theme != "", g.Attr("data-theme", q.theme)), g.Attr("data-build", build(q.status)), g.Attr("data-name", q.live), g.If(q.still, g.Attr("data-still")),
		h.Head(
			h.Meta(h.Charset("utf-8")),
			h.Meta(h.Name("viewport"), h.Content("width=device-width, initial-scale=1")),
			h.TitleEl(g.Text(title)),
			h.Link(h.Rel("stylesheet"), h.Href("/static/style.css")),
			h.Link(h.Rel("icon"), h.Href("/static/icon.svg")),
			h.Script(h.Src("/static/console.js"), h.Defer()),
			g.If(q.chart, g.Group{
				h.Link(h.Rel("stylesheet"), h.Href("/static/uplot/uplot.css")),
				h.Script(h.Src("/static/uplot/uplot.js"), h.Defer()), h.Script(h.Src("/static/chart.js"), h.Defer()),
			}),
		),
		h.Body(
			h.A(h.Class("skip"), h.Href("#main"), g.Text("Skip to content")),
			h.Header(
				g.If(q.status.Sample, h.P(h.Class("banner"), h.Strong(g.Text("SAMPLE DATA")), g.Text(" \u2013 nothing on this page comes from a registry or a market."))),
				h.Div(h.Class("top"),
					h.A(h.Class("brand"), h.Href("/"), g.Text("carbond")),
					h.Nav(h.Aria("label", "Pages"), h.Ul(g.Map(navigation, func(n place) g.Node {
						here := n.path == q.path || n.path != "/" && strings.HasPrefix(q.path, n.path+"/")
						return h.Li(h.A(h.Href(q.to(n.path)), g.If(here, h.Aria("current", "page")), g.Text(n.name)))
					}))),
					live(h.P, "state", []g.Node{h.Role("status")}, verdictNode(title, q.status)),
					h.P(h.ID("live")),
				),
			),
			h.Main(h.ID("main"), h.H1(foreign(name, 120)), asOf(q), body),
			h.Footer(timeTravel(q, p), h.P(
				g.Text(q.status.Mode+" mode, version "+q.status.Version.Version+". "),
				h.A(h.Href("/status.json"), g.Text("status.json")), g.Text(" "),
				h.A(h.Href("/readyz?verbose"), g.Text("readyz")), g.Text(" "),
				h.A(h.Href("/metrics"), g.Text("metrics")),
			)),
		),
	))
}

// asOf says that the page is of an earlier moment, or nothing.
func asOf(q *request) g.Node {
	at := q.query.Get(paramAsOf)
	if at == "" {
		return nil
	}
	when := "offset " + clip(at, 40)
	if !isNumber(at) {
		when = clip(at, 40) + " (UTC)"
	}
	return h.P(h.Class("news"), g.Text("As of "+when+". "), h.A(h.Href(q.link(paramAsOf, "")), g.Text("Now")))
}

// timeTravel asks for another moment, on pages that have one.
func timeTravel(q *request, p place) g.Node {
	if p.path == "/pipeline" || p.path == "/changelog" || q.still {
		return nil
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(q.query)), func(n string) bool { return n == paramAsOf || n == paramToken })
	return h.Form(h.Method("get"), h.Action(q.path), q.keep(names...), q.field(paramAsOf, "As of an offset, or a time (UTC)", h.Placeholder("now")), h.Button(h.Type("submit"), g.Text("Go back")))
}

func failure(text string) g.Node {
	return h.Div(h.Class("troubles"), h.P(state("bad", "This page has nothing to show: "), foreign(text, 500)))
}

// verdict is the state of the daemon in a few words.
func verdict(s admin.Status) string {
	_, word := judge(s)
	return word
}

func judge(s admin.Status) (class, word string) {
	switch {
	case !s.Ready:
		return "bad", "Not ready"
	case s.Starved():
		return "bad", "Ready, but most sources have never worked"
	case len(troubles(s)) > 0:
		return "warn", "Ready, with warnings"
	}
	return "good", "Ready"
}

// verdictNode is the state of the daemon; the script puts the title in the place of
// that of the page.
func verdictNode(title string, s admin.Status) g.Node {
	return h.Span(g.Attr("data-title", title), state(judge(s)))
}

// trouble is one thing that somebody should look at.
type trouble struct {
	name, reason, remedy string
	bad                  bool // does not work, rather than wants attention
}

// troubles lists what is wrong, worst first. What the check of all feeds says in
// one line is left to the feeds, which say it one by one.
func troubles(s admin.Status) []trouble {
	var bad, warn []trouble
	for _, c := range s.Checks {
		reason, remedy := c.Reason, c.Remedy
		if c.Name == "views" && s.Replication != nil && !s.Replication.Connected {
			reason, _, _ = strings.Cut(reason, " (") // the check of replication says the rest
		}
		if r, told, ok := strings.Cut(reason, "; remedy: "); ok {
			reason, remedy = r, strings.TrimSpace(told+". "+remedy)
		}
		switch {
		case !c.OK:
			bad = append(bad, trouble{c.Name, reason, remedy, true})
		case c.Warning && c.Name != "feeds":
			warn = append(warn, trouble{c.Name, reason, remedy, false})
		}
	}
	for _, f := range s.Feeds {
		if f.Failing() {
			warn = append(warn, feedTrouble(f))
		}
	}
	return append(bad, warn...)
}

func feedTrouble(f admin.Feed) trouble {
	remedy := "Its last good rows are served meanwhile."
	if f.LastSuccess == nil {
		remedy = "It has not worked yet."
	}
	if f.Advice != "" {
		remedy = strings.ToUpper(f.Advice[:1]) + f.Advice[1:] + ". " + remedy
	}
	if strings.HasPrefix(f.State, "disabled") {
		remedy = "Correct its address in the configuration, or take it out of feeds.enabled, and restart."
	}
	name, _, _ := strings.Cut(f.Name, "/")
	remedy += " carbond feeds fetch " + name + " shows what the upstream answers."
	return trouble{"feed " + f.Name, strings.TrimSuffix(f.State+": "+f.LastError, ": "), remedy, false}
}

// maxTroubles bounds the list at the top; the tables have them all.
const maxTroubles = 8

// health answers first what somebody asks who was woken by it: is all well, since
// when, and what to do.
func health(s admin.Status) g.Node {
	list := troubles(s)
	items := g.Group(g.Map(list[:min(len(list), maxTroubles)], func(t trouble) g.Node {
		mark := state("warn", "Warning")
		if t.bad {
			mark = state("bad", "Not ok")
		}
		return h.Li(mark, g.Text(" "), h.Strong(g.Text(t.name)), g.Text(" \u2013 "), foreign(t.reason, 300),
			g.If(t.remedy != "", g.Group{h.Br(), h.Strong(g.Text("What to do:")), g.Text(" " + clip(t.remedy, 300))}))
	}))
	if n := len(list) - maxTroubles; n > 0 {
		items = append(items, h.Li(g.Text("and "+count(n)+" more: "), h.A(h.Href("/pipeline"), g.Text("Pipeline"))))
	}
	return g.Group{
		live(h.P, "fresh", []g.Node{h.Class("fresh")}, freshness(s)...),
		live(h.Div, "health", nil, g.If(len(list) > 0, h.Ul(h.Class("troubles"), items))),
	}
}

// freshness says in a sentence how old the data is, and for how long all is so.
func freshness(s admin.Status) []g.Node {
	var out []g.Node
	switch r := s.Replication; {
	case r != nil && !r.Connected:
		out = append(out, h.Strong(g.Text("Not connected to Postgres")), g.Text(", "+seconds(r.LagSeconds)+" behind it. "))
	case r != nil && r.LagSeconds > 0:
		out = append(out, h.Strong(g.Text(seconds(r.LagSeconds)+" behind Postgres")), g.Text(" ("+bytesText(r.LagBytes)+" of WAL). "))
	case r != nil:
		out = append(out, g.Text("Level with Postgres. "))
	}
	if s.Position.CommitTime == nil {
		out = append(out, g.Text("No change has been committed yet. "))
	} else {
		out = append(out, g.Text("Last change "), ago(*s.Position.CommitTime), g.Text(". "))
	}
	return append(out, g.Text("Up since "), moment(s.Started), g.Text("."))
}

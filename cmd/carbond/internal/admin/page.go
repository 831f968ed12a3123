package admin

import (
	_ "embed"
	"io"
	"net/http"
	"strings"
	"time"
)

var (
	//go:embed style.css
	styleCSS []byte
	//go:embed live.js
	liveJS []byte
	//go:embed icon.svg
	iconSVG []byte
)

// page answers with the console page. It is whole without its script, which
// only fetches it again and exchanges the parts marked data-live.
func page(w http.ResponseWriter, r *http.Request, c Console) {
	m := markup{now: c.Made}
	trouble := troubles(c.Status)
	m.head(c.Status)
	m.health(c, trouble)
	m.views(c)
	m.trend(c)
	m.feeds(c.Feeds)
	m.newest(c)
	m.changelog(c)
	m.call(c.Listen, r.Host)
	m.about(c.Status)
	m.raw("</main>\n</body>\n</html>\n")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, m.String())
}

func (m *markup) head(s Status) {
	m.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>")
	if s.Sample {
		m.raw("SAMPLE DATA - ")
	}
	m.raw("carbond: ", verdict(s), "</title>\n<link rel=\"stylesheet\" href=\"style.css\">\n",
		"<link rel=\"icon\" href=\"icon.svg\">\n<script src=\"live.js\" defer></script>\n</head>\n<body>\n",
		"<a class=\"skip\" href=\"#main\">Skip to content</a>\n")
	m.raw("<header>\n")
	if s.Sample {
		m.raw("<p class=\"banner\"><strong>SAMPLE DATA</strong> &ndash; nothing on this page comes from a registry or a market.</p>\n")
	}
	m.wrap("<h1>carbond</h1>\n<p id=\"build\">", s.Mode, " mode, version ")
	m.wrap("", s.Version.Version, "</p>\n</header>\n<main id=\"main\">\n")
}

// verdict is the state of the daemon in a few words.
func verdict(s Status) fixed {
	switch {
	case !s.Ready:
		return "Not ready"
	case s.Starved():
		return "Ready, but most sources have never worked"
	case len(troubles(s)) > 0:
		return "Ready, with warnings"
	}
	return "Ready"
}

// trouble is one thing that somebody should look at.
type trouble struct {
	name, reason, remedy string
	bad                  bool // does not work, rather than wants attention
}

// troubles lists what is wrong, worst first. What the check of all feeds says in
// one line is left to the feeds, which say it one by one.
func troubles(s Status) []trouble {
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
		if !f.failing() {
			continue
		}
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
		warn = append(warn, trouble{"feed " + f.Name, strings.TrimSuffix(f.State+": "+f.LastError, ": "), remedy, false})
	}
	return append(bad, warn...)
}

// maxTroubles bounds the list at the top; the tables below have them all.
const maxTroubles = 8

// health answers first what somebody asks who was woken by it.
func (m *markup) health(c Console, list []trouble) {
	class, mark := fixed("good"), fixed("&#10003;")
	switch {
	case !c.Ready, c.Starved():
		class, mark = "bad", "&#10007;"
	case len(list) > 0:
		class, mark = "warn", "&#9888;"
	}
	m.raw("<section aria-labelledby=\"h-state\">\n<h2 id=\"h-state\"><span id=\"state\" role=\"status\" data-live><span class=\"", class,
		"\"><span aria-hidden=\"true\">", mark, "</span> ", verdict(c.Status), "</span></span></h2>\n<div id=\"health\" data-live>\n<p>")
	m.freshness(c.Status)
	m.wrap(" As of <time datetime=\"", c.Made.UTC().Format(time.RFC3339), "\">")
	m.wrap("", c.Made.UTC().Format("15:04:05"), " UTC</time>, up ")
	m.wrap("", sinceText(c.UptimeSec), ".</p>\n")
	if len(list) > 0 {
		m.raw("<ul class=\"troubles\">\n")
		for _, t := range list[:min(len(list), maxTroubles)] {
			m.raw("<li><strong>")
			if t.bad {
				m.raw("<span class=\"bad\">Not ok:</span> ")
			} else {
				m.raw("<span class=\"warn\">Warning:</span> ")
			}
			m.wrap("", t.name, "</strong> &ndash; <bdi>")
			m.wrap("", clip(t.reason, 500), "</bdi>")
			if t.remedy != "" {
				m.wrap("<br><strong>What to do:</strong> ", clip(t.remedy, 500), "")
			}
			m.raw("</li>\n")
		}
		if n := len(list) - maxTroubles; n > 0 {
			m.wrap("<li>and ", count(uint64(n)), " more, in the tables below</li>\n")
		}
		m.raw("</ul>\n")
	}
	m.checks(c.Checks)
	m.raw("</div>\n</section>\n")
}

// freshness says in a sentence how old the data is.
func (m *markup) freshness(s Status) {
	r := s.Replication
	switch {
	case r != nil && !r.Connected:
		m.wrap("<strong>Not connected to Postgres</strong>, ", sinceText(r.LagSeconds), " behind it. ")
	case r != nil && r.LagSeconds > 0:
		m.wrap("<strong>", sinceText(r.LagSeconds), " behind Postgres</strong> (")
		m.wrap("", bytesText(int64(r.LagBytes)), " of WAL). ")
	case r != nil:
		m.raw("Level with Postgres. ")
	}
	if s.Position.CommitTime == nil {
		m.raw("No change has been committed yet.")
		return
	}
	m.wrap("The last change was committed ", m.ago(s.Position.CommitTime), ".")
}

func (m *markup) checks(checks []Check) {
	m.table("Checks", column{"Check", head}, column{"State", remark}, column{"Remark", long})
	for _, c := range checks {
		state, remark := good+"ok", clip(c.Reason, 500)
		switch {
		case !c.OK:
			state, remark = bad+"not ok", "see above"
		case c.Warning:
			state, remark = warn+"warning", "see above"
		}
		m.row(c.Name, state, remark)
	}
	m.endTable()
}

// asset answers with a file of this package.
func asset(kind string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind+"; charset=utf-8")
		_, _ = w.Write(body)
	}
}

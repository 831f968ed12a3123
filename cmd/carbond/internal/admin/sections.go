package admin

import (
	"net"
	"strconv"
	"strings"
	"time"
)

// views shows what is in it, and how far it has come.
func (m *markup) views(c Console) {
	m.section("data", "Data")
	m.table("Views", column{"View", head}, column{"Rows", num}, column{"Last change", plain}, column{"At offset", num})
	for _, v := range c.Views {
		m.row(v.Name, count(uint64(v.Rows)), m.ago(v.ChangedAt), count(v.Offset))
	}
	m.endTable()
	m.raw("<dl>\n")
	m.wrap("<dt>Changelog offset</dt><dd>", count(c.Position.Offset), "</dd>\n")
	m.wrap("<dt>History</dt><dd>", c.Position.History, "</dd>\n")
	if c.Position.LSN != "" {
		m.wrap("<dt>LSN on disk</dt><dd>", c.Position.LSN, "</dd>\n")
	}
	if r := c.Replication; r != nil {
		m.wrap("<dt>Replication</dt><dd>", r.State, "</dd>\n")
		m.wrap("<dt>Lag</dt><dd>", sinceText(r.LagSeconds)+", "+bytesText(int64(r.LagBytes)), "</dd>\n")
		m.wrap("<dt>Database, slot</dt><dd>", c.Position.Database+", "+c.Position.Slot, "</dd>\n")
	}
	m.wrap("<dt>On disk</dt><dd>", bytesText(c.Data.Bytes), " in <code>")
	m.wrap("", c.Data.Dir, "</code></dd>\n</dl>\n")
	m.endSection()
}

func (m *markup) feeds(feeds []Feed) {
	m.section("feeds", "Feeds")
	if len(feeds) == 0 {
		m.raw("<p>No feed is enabled (<code>feeds.enabled</code>): rows come from other writers.</p>\n")
		m.endSection()
		return
	}
	m.table("Pollers of the upstreams", column{"Feed", head}, column{"State", remark}, column{"Last success", plain}, column{"Next poll", plain},
		column{"Items", num}, column{"Last error, notes", long})
	for _, f := range feeds {
		next, state := "-", f.State
		if f.NextDue != nil {
			next = m.due(*f.NextDue)
		}
		switch {
		case f.failing():
			state = warn + state
			if f.Failures > 1 {
				state += " (" + strconv.Itoa(f.Failures) + " times)"
			}
		case state == "ok" || state == "polling":
			state = good + state
		}
		m.row(f.Name, state, m.ago(f.LastSuccess), next, strconv.Itoa(f.Items), clip(strings.Join(append(f.errors(), f.Notes...), "; "), 300))
	}
	m.endTable()
	m.endSection()
}

// errors is the last error, if any.
func (f Feed) errors() []string {
	if f.LastError == "" {
		return nil
	}
	return []string{f.LastError}
}

// failing reports whether somebody should look at the feed.
func (f Feed) failing() bool {
	return f.Stale || strings.HasPrefix(f.State, "failing") || strings.HasPrefix(f.State, "disabled")
}

// newest shows a few rows, so that one sees what the API answers.
func (m *markup) newest(c Console) {
	m.section("newest", "Newest rows")
	if c.Withheld {
		m.raw("<p>Left out: the API asks its callers who they are and this page does not. Set <code>http.client_ca</code> to see them.</p>\n")
		m.endSection()
		return
	}
	m.table("Changes, newest first", column{"When", plain}, column{"Topic", plain}, column{"Change", plain}, column{"Key", long}, column{"Offset", num})
	for _, r := range c.Changes {
		m.row(m.ago(&r.At), r.Topic, r.Op, r.Key, count(r.Offset))
	}
	m.endTable()
	m.table("News, newest first", column{"Title", long}, column{"Source", plain}, column{"Published", plain})
	for _, n := range c.News {
		m.empty = false
		m.raw("<tr><td class=\"long\"><bdi>")
		if web(n.Link) {
			m.wrap("<a rel=\"noopener noreferrer nofollow\" href=\"", n.Link, "\">")
			m.wrap("", n.Title, "</a>")
		} else {
			m.text(n.Title)
		}
		m.wrap("</bdi></td><td><bdi>", n.Source, "</bdi></td>")
		m.wrap("<td><bdi>", n.Published, "</bdi></td></tr>\n")
	}
	m.endTable()
	m.table("Prices", column{"Ticker", head}, column{"Price", num}, column{"Currency", plain}, column{"Change, %", num}, column{"As of", plain})
	for _, q := range c.Quotes {
		m.row(q.Ticker, strconv.FormatFloat(q.Price, 'f', 2, 64), q.Currency, strconv.FormatFloat(q.Change, 'f', 2, 64), m.ago(&q.At))
	}
	m.endTable()
	m.table("Projects, first by id", column{"Project", head}, column{"Name", long}, column{"Country", plain}, column{"Status", plain}, column{"Supply, t", num})
	for _, p := range c.Projects {
		m.row(p.ID, p.Name, p.Country, p.Status, strconv.FormatFloat(p.Supply, 'f', -1, 64))
	}
	m.endTable()
	m.endSection()
}

func (m *markup) changelog(c Console) {
	m.section("changelog", "Changelog")
	m.table("Topics", column{"Topic", head}, column{"First", num}, column{"Next", num}, column{"Records", num}, column{"Size", num}, column{"Last change", plain})
	for _, t := range c.Topics {
		m.row(t.Name, count(t.First), count(t.Next), count(t.Records), bytesText(int64(t.Bytes)), m.ago(t.ChangedAt))
	}
	m.endTable()
	if len(c.Groups) == 0 {
		m.raw("<p>No consumer group reads it.</p>\n")
		m.endSection()
		return
	}
	m.table("Consumer groups", column{"Group", head}, column{"Consumes now", plain}, column{"Topic", plain}, column{"Committed", num},
		column{"Records behind", num}, column{"Time behind", num})
	for _, g := range c.Groups {
		active := g.Active
		if active == "" {
			active = "nobody"
		}
		for _, t := range g.Topics {
			m.row(clip(g.Name, 80), clip(active, 80), t.Topic, count(t.Committed), count(t.Lag), sinceText(t.LagSeconds))
		}
	}
	m.endTable()
	if c.GroupsLeft > 0 {
		m.wrap("<p>And ", count(uint64(c.GroupsLeft)), " more groups: <code>carbond groups</code>.</p>\n")
	}
	m.endSection()
}

// call shows lines to copy, with the address that the reader can reach.
func (m *markup) call(l Listen, host string) {
	addr := reachable(l.GRPC, host)
	flags := ""
	if !l.TLS {
		flags += " -plaintext"
	} else {
		flags += " -cacert ca.crt"
	}
	if l.ClientCert {
		flags += " -cert client.crt -key client.key"
	}
	if l.Token {
		flags += " -H \"authorization: Bearer $TOKEN\""
	}
	m.raw("<section aria-labelledby=\"h-call\">\n<h2 id=\"h-call\">Call it</h2>\n")
	for _, c := range []struct {
		what       fixed
		data, name string
	}{
		{"What there is", "", "list"},
		{"All projects", "", "carbon.CarbonService/GetProjects"},
		{"Projects of a country", `{"country":"Brazil"}`, "carbon.CarbonService/GetProjects"},
		{"A price", `{"ticker":"KRBN"}`, "carbon.CarbonService/GetFinanceData"},
		{"News of a source", `{"source":"Reuters"}`, "carbon.CarbonService/GetNews"},
	} {
		data := ""
		if c.data != "" {
			data = " -d '" + c.data + "'"
		}
		m.raw("<p class=\"what\">", c.what, "</p>\n")
		m.wrap("<pre tabindex=\"0\"><code>", "grpcurl"+flags+data+" "+addr+" "+c.name, "</code></pre>\n")
	}
	m.raw("</section>\n")
}

func (m *markup) about(s Status) {
	m.raw("<section aria-labelledby=\"h-more\">\n<h2 id=\"h-more\">More</h2>\n<ul>\n",
		"<li><a href=\"status.json\">/status.json</a>: this as JSON</li>\n",
		"<li><a href=\"readyz?verbose\">/readyz?verbose</a>: readiness with reasons</li>\n",
		"<li><a href=\"metrics\">/metrics</a>: for Prometheus</li>\n</ul>\n")
	m.wrap("<p>Built ", s.Version.Date, " from ")
	m.wrap("", s.Version.Revision, " with ")
	m.wrap("", s.Version.Go, ".")
	if s.Config.File != "" {
		m.wrap(" Configured by <code>", s.Config.File, "</code>.")
	}
	m.raw("</p>\n</section>\n")
}

// web reports whether a link leads to the web; javascript: and others do not.
func web(link string) bool {
	return strings.HasPrefix(link, "https://") || strings.HasPrefix(link, "http://")
}

// reachable returns the address to call. A listener on every address is called
// by the name with which the page was asked for, if that is a plain name: the
// line is meant to be pasted into a shell.
func reachable(listen, asked string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return listen
	}
	name := asked
	if h, _, err := net.SplitHostPort(asked); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	odd := func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:", r)
	}
	if name == "" || name[0] == '-' || strings.ContainsFunc(name, odd) {
		name = "127.0.0.1"
	}
	return net.JoinHostPort(name, port)
}

// due prints when something is to happen.
func (m *markup) due(t time.Time) string {
	if t.Sub(m.now) < time.Second/2 {
		return "now"
	}
	return m.ago(&t)
}

package admin

import (
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

//go:embed style.css
var styleCSS []byte

// page answers with the console page: no script, no foreign origin.
func page(w http.ResponseWriter, s Status) {
	var m markup
	m.head(s)
	m.checks(s)
	m.data(s)
	m.feeds(s.Feeds)
	m.more(s.Listen)
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
	m.wrap("carbond ", s.Version.Version, "</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n</head>\n<body>\n")
	m.raw("<a class=\"skip\" href=\"#main\">Skip to content</a>\n")
	if s.Sample {
		m.raw("<p class=\"banner\" role=\"note\"><strong>SAMPLE DATA</strong> - nothing on this page comes from a registry or a market.</p>\n")
	}
	m.wrap("<header>\n<h1>carbond</h1>\n<p>", s.Mode, " mode, version ")
	m.text(s.Version.Version)
	m.wrap(", up ", sinceText(s.UptimeSec), "</p>\n</header>\n<main id=\"main\">\n")
}

func (m *markup) checks(s Status) {
	heading := fixed("Not ready")
	if s.Ready {
		heading = "Ready"
	}
	m.section("h-ready", heading)
	m.table("Checks of /readyz", column{name: "Check"}, column{name: "State"}, column{name: "Reason"})
	for _, c := range s.Checks {
		m.wrap("<tr><th scope=\"row\">", c.Name, "</th>")
		if c.OK {
			m.raw("<td class=\"good\">&#10003; ok</td>")
		} else {
			m.raw("<td class=\"bad\">&#10007; not ok</td>")
		}
		m.wrap("<td>", c.Reason, "</td></tr>\n")
	}
	m.endTable()
	m.endSection()
}

func (m *markup) data(s Status) {
	m.section("h-data", "Data")
	m.table("Rows of the views", column{name: "View"}, column{name: "Rows", numeric: true})
	for _, v := range s.Views {
		m.wrap("<tr><th scope=\"row\">", v.Name, "</th>")
		m.wrap("<td class=\"num\">", strconv.Itoa(v.Rows), "</td></tr>\n")
	}
	m.endTable()
	m.raw("<dl>\n")
	m.wrap("<dt>Changelog offset</dt><dd>", fmt.Sprint(s.Position.Offset), "</dd>\n")
	if s.Position.LSN != "" {
		m.wrap("<dt>LSN</dt><dd>", s.Position.LSN, "</dd>\n")
	}
	m.wrap("<dt>Last change committed</dt><dd>", ago(s.Position.CommitTime), "</dd>\n")
	m.wrap("<dt>Data directory</dt><dd>", s.Data.Dir+" ("+bytesText(s.Data.Bytes)+")", "</dd>\n")
	if r := s.Replication; r != nil {
		m.wrap("<dt>Postgres</dt><dd>", r.State, "")
		if r.Reason != "" {
			m.wrap(": ", r.Reason, "")
		}
		m.wrap("</dd>\n<dt>Lag</dt><dd>", fmt.Sprintf("%d bytes, %.1f s", r.LagBytes, r.LagSeconds), "</dd>\n")
	}
	m.raw("</dl>\n")
	m.endSection()
}

func (m *markup) feeds(feeds []Feed) {
	if len(feeds) == 0 {
		return
	}
	m.section("h-feeds", "Feeds")
	m.table("Pollers", column{name: "Feed"}, column{name: "State"}, column{name: "Last success"}, column{name: "Next"},
		column{name: "Items", numeric: true}, column{name: "Last error"})
	for _, f := range feeds {
		next := ""
		if f.NextDue != nil {
			next = ago(f.NextDue)
		}
		m.wrap("<tr><th scope=\"row\">", f.Name, "</th>")
		m.wrap("<td>", f.State, "</td>")
		m.wrap("<td>", ago(f.LastSuccess), "</td>")
		m.wrap("<td>", next, "</td>")
		m.wrap("<td class=\"num\">", strconv.Itoa(f.Items), "</td>")
		m.wrap("<td>", f.LastError, "</td></tr>\n")
	}
	m.endTable()
	m.endSection()
}

func (m *markup) more(l Listen) {
	m.section("h-more", "More")
	m.raw("<ul>\n<li><a href=\"/status.json\">Status as JSON</a></li>\n<li><a href=\"/readyz?verbose\">Readiness with reasons</a></li>\n",
		"<li><a href=\"/metrics\">Metrics for Prometheus</a></li>\n</ul>\n")
	m.wrap("<p>API: gRPC on ", l.GRPC, ", for example ")
	m.wrap("<code>grpcurl -plaintext ", l.GRPC, " carbon.CarbonService/GetProjects</code></p>\n")
	m.endSection()
}

func style(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = w.Write(styleCSS)
}

// bytesText prints a size for people: "12.3 MiB".
func bytesText(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), 0
	for v >= 1024 && unit < 4 {
		v /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %s", v, [...]string{"B", "KiB", "MiB", "GiB", "TiB"}[unit])
}

// ago prints how long ago a time was, or "never".
func ago(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "never"
	}
	d := time.Since(*t).Round(time.Second)
	if d < 0 {
		return "in " + (-d).String()
	}
	return d.String() + " ago"
}

// sinceText prints a span in seconds as a duration.
func sinceText(seconds float64) string {
	return (time.Duration(seconds) * time.Second).String()
}

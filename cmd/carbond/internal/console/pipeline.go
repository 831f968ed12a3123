package console

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/trend"
	pb "carbond/proto/carbon"
)

// pipeline shows every stage from the source to the consumers.
func (c *Console) pipeline(q *request) (g.Node, error) {
	s := q.status
	day := daySamples(c.opt.Trend(), q.now)
	if _, err := c.log.ListTopics(q.ctx, &pb.ListTopicsRequest{}); err != nil {
		return nil, err // the figures are for those who may read
	}
	var cache g.Node
	if list, err := c.admin.ListCache(q.ctx, &pb.ListCacheRequest{}); err == nil {
		cache = section("cache", "Reply cache", replies(list.Entries))
	} // else it is not for this reader
	var hooks g.Node
	if list, err := c.admin.ListWebhooks(q.ctx, &pb.ListWebhooksRequest{}); err == nil && len(list.Hooks) > 0 {
		hooks = section("webhooks", "Webhooks", webhooks(list.Hooks))
	}
	return g.Group{
		health(s),
		section("checks", "Checks", checks(s.Checks)),
		section("source", "Source", source(s), dayCharts(s, day)),
		section("feeds", "Feeds", feeds(q, s.Feeds, day)),
		section("log", "Changelog", topics(s), groups(s)),
		hooks,
		cache,
		section("call", "Call it", calls(s.Listen, q.host)),
		section("build", "Build", about(s)),
	}, nil
}

func checks(list []admin.Check) g.Node {
	t := table{id: "check", caption: "What each part says", auto: true, columns: []column{{name: "Check"}, {name: "State"}, {name: "Remark", class: "long"}}}
	for _, k := range list {
		st, remark := state("good", "ok"), clip(k.Reason, 300)
		switch {
		case !k.OK:
			st, remark = state("bad", "not ok"), "see above"
		case k.Warning:
			st, remark = state("warn", "warning"), "see above"
		}
		t.rows = append(t.rows, row{k.Name, []g.Node{g.Text(k.Name), st, g.El("bdi", g.Text(remark))}})
	}
	return t
}

// source says where rows come from, and how far they are.
func source(s admin.Status) g.Node {
	facts := [][2]g.Node{
		{g.Text("Changelog offset"), g.Text(count(s.Position.Offset))},
		{g.Text("History"), codeText(s.Position.History)},
	}
	add := func(name string, v g.Node) { facts = append(facts, [2]g.Node{g.Text(name), v}) }
	if s.Position.LSN != "" {
		add("LSN on disk", codeText(s.Position.LSN))
	}
	if r := s.Replication; r != nil {
		add("Replication", g.Text(r.State))
		add("Lag", g.Text(seconds(r.LagSeconds)+", "+bytesText(r.LagBytes)))
		add("Database, slot", foreign(s.Position.Database+", "+s.Position.Slot, 200))
		if r.SlotRetained >= 0 {
			slot := bytesText(r.SlotRetained) + " retained"
			if r.SlotSafe >= 0 {
				slot += ", " + bytesText(r.SlotSafe) + " until the slot is lost"
			}
			add("WAL of the slot", g.Text(strings.TrimSuffix(slot+", "+r.WALStatus, ", ")))
		}
	}
	disk := bytesText(s.Data.Bytes) + " used"
	if s.Data.Free > 0 {
		disk += ", " + bytesText(s.Data.Free) + " free"
	}
	add("On disk", g.Group{g.Text(disk + " in "), codeText(s.Data.Dir)})
	return live(h.Dl, "facts", nil, g.Map(facts, func(f [2]g.Node) g.Node { return g.Group{h.Dt(f[0]), h.Dd(f[1])} }))
}

const dayBoxes = 288 // of five minutes

// daySamples sorts the samples of the last day into boxes of equal length.
func daySamples(samples []trend.Sample, now time.Time) [dayBoxes][]trend.Sample {
	var out [dayBoxes][]trend.Sample
	for _, s := range samples {
		if i := dayBoxes - 1 - int(now.Sub(time.Unix(s.Unix, 0))*dayBoxes/trend.Keep); i >= 0 && i < dayBoxes {
			out[i] = append(out[i], s)
		}
	}
	return out
}

// dayCharts draw the last day: ready or not, changes, and lag.
func dayCharts(s admin.Status, day [dayBoxes][]trend.Sample) g.Node {
	classes, lag, rate := make([]string, dayBoxes), make([]float64, dayBoxes), make([]float64, dayBoxes)
	known := func(i int) bool { return len(day[i]) > 0 }
	var last *trend.Sample
	high, most, unready := 0.0, 0.0, 0
	for i, box := range day {
		for j := range box {
			b := &box[j]
			if classes[i] == "" {
				classes[i] = "good"
			}
			if !b.Ready {
				classes[i], unready = "bad", unready+1
			}
			lag[i] = max(lag[i], b.Lag)
			if last != nil && b.Offset > last.Offset && b.Unix > last.Unix { // a copy from another source may begin again
				rate[i] = max(rate[i], float64(b.Offset-last.Offset)/float64(b.Unix-last.Unix))
			}
			last = b
		}
		high, most = max(high, lag[i]), max(most, rate[i])
	}
	figures := []g.Node{chart("day-ready", "Ready: "+readyWords(unready), strip(classes)), chart("day-rate", "Changes a second, "+short(most)+" at most", line("chart", 576, 48, rate, known))}
	if s.Replication != nil {
		figures = append(figures, chart("day-lag", "Seconds behind Postgres, "+short(high)+" at most", line("chart", 576, 48, lag, known)))
	}
	return h.Div(h.Class("day"), h.H3(g.Text("Last 24 hours")), g.Group(figures))
}

func readyWords(unready int) string {
	if unready == 0 {
		return "whenever it was looked at"
	}
	return "not for about " + span(time.Duration(unready)*trend.Every)
}

func chart(id, words string, drawing g.Node) g.Node {
	return live(h.Figure, id, nil, h.FigCaption(g.Text(words)), drawing)
}

func feeds(q *request, list []admin.Feed, day [dayBoxes][]trend.Sample) g.Node {
	if len(list) == 0 {
		return note("No feed is enabled (feeds.enabled): rows come from other writers.")
	}
	t := table{id: "feed", caption: "Pollers of the upstreams", auto: true, columns: []column{
		{name: "Feed"}, {name: "State"}, {name: "Last success"}, {name: "Next poll"}, {name: "Items", class: "num"}, {name: "Last 24 hours"}, {name: "Now"}, {name: "Last error, notes", class: "long"},
	}}
	for _, f := range list {
		st := g.Text(f.State)
		switch {
		case f.Failing():
			word := f.State
			if f.Failures > 1 {
				word += " (" + strconv.Itoa(f.Failures) + " times)"
			}
			st = state("warn", word)
		case f.State == "ok" || f.State == "polling":
			st = state("good", "ok") // polling comes and goes with every poll
		}
		said := f.Notes
		if f.LastError != "" {
			said = append([]string{f.LastError}, said...)
		}
		t.rows = append(t.rows, row{f.Name, []g.Node{
			g.Text(f.Name), st, agoOr(f.LastSuccess, "never"), due(f.NextDue), g.Text(count(f.Items)),
			feedStrip(f.Name, day), pollButton(q, f.Name), foreign(strings.Join(said, "; "), 300),
		}})
	}
	return t
}

// pollButton polls a feed now; all news feeds go by one name.
func pollButton(q *request, name string) g.Node {
	feed, _, _ := strings.Cut(name, "/")
	return h.Form(h.Class("now"), h.Method("post"), h.Action("/pipeline/poll"), hidden("csrf", q.csrf), hidden("feed", feed),
		h.Button(h.Type("submit"), h.Aria("label", "Poll "+feed+" now"), g.Text("Poll")))
}

func feedStrip(name string, day [dayBoxes][]trend.Sample) g.Node {
	classes := make([]string, dayBoxes)
	for i, box := range day {
		for _, s := range box {
			switch {
			case slices.Contains(s.Failing, name):
				classes[i] = "warn"
			case classes[i] == "":
				classes[i] = "good"
			}
		}
	}
	return strip(classes)
}

func topics(s admin.Status) g.Node {
	t := table{id: "topic", caption: "Topics", auto: true, columns: []column{
		{name: "Topic"}, {name: "First", class: "num"}, {name: "Next", class: "num"}, {name: "Records", class: "num"}, {name: "Size", class: "num"}, {name: "Last change"},
	}}
	for _, k := range s.Topics {
		t.rows = append(t.rows, row{k.Name, []g.Node{
			g.Text(k.Name), g.Text(count(k.First)), g.Text(count(k.Next)), g.Text(count(k.Records)), g.Text(bytesText(k.Bytes)), agoOr(k.ChangedAt, "never"),
		}})
	}
	return t
}

func groups(s admin.Status) g.Node {
	if len(s.Groups) == 0 {
		return note("No consumer group reads it.")
	}
	t := table{id: "group", caption: "Consumer groups", auto: true, columns: []column{
		{name: "Group"}, {name: "Consumes now"}, {name: "Topic"}, {name: "Committed", class: "num"}, {name: "Records behind", class: "num"}, {name: "Time behind", class: "num"},
	}}
	for _, k := range s.Groups {
		active := k.Active
		if active == "" {
			active = "nobody"
		}
		for _, p := range k.Topics {
			t.rows = append(t.rows, row{k.Name + "/" + p.Topic, []g.Node{
				foreign(k.Name, 80), foreign(active, 80), g.Text(p.Topic), g.Text(count(p.Committed)), g.Text(count(p.Lag)), g.Text(seconds(p.LagSeconds)),
			}})
		}
	}
	return g.Group{t, g.If(s.GroupsLeft > 0, h.P(g.Text("And "+count(s.GroupsLeft)+" more groups: "), codeText("carbond groups"), g.Text(".")))}
}

func webhooks(list []*pb.Webhook) g.Node {
	t := table{id: "webhook", caption: "Receivers of changes", auto: true, columns: []column{
		{name: "Webhook"}, {name: "State"}, {name: "About"}, {name: "Committed", class: "num"}, {name: "Records behind", class: "num"}, {name: "Time behind", class: "num"}, {name: "Last error", class: "long"},
	}}
	for _, k := range list {
		st := state("good", "ok")
		switch k.State {
		case "failing":
			st = state("warn", "tried again")
		case "stopped":
			st = state("bad", "stopped")
		}
		about := strings.Join(slices.DeleteFunc([]string{k.View, k.Filter, k.Rule}, func(s string) bool { return s == "" }), ", ")
		t.rows = append(t.rows, row{k.Name, []g.Node{
			foreign(k.Name, 80), st, foreign(about, 120), g.Text(count(k.Committed)), g.Text(count(k.LagRecords)), g.Text(seconds(k.LagSeconds)), foreign(k.Error, 300),
		}})
	}
	return t
}

const shownReplies = 20

func replies(list []*pb.CacheEntry) g.Node {
	t := table{id: "reply", caption: "Replies in memory, the last used first", auto: true, columns: []column{
		{name: "Key"}, {name: "Age", class: "num"}, {name: "Size", class: "num"}, {name: "Hits", class: "num"},
	}}
	for i, e := range list[:min(len(list), shownReplies)] {
		t.rows = append(t.rows, row{strconv.Itoa(i), []g.Node{
			foreign(e.Key, 80), g.Text(seconds(float64(e.AgeMs / 1000))), g.Text(bytesText(e.Bytes)), g.Text(count(e.Hits)),
		}})
	}
	return g.Group{t, g.If(len(list) > shownReplies, h.P(g.Text("And "+count(len(list)-shownReplies)+" more: "), codeText("carbond cache"), g.Text(".")))}
}

// calls are lines to copy, with the address that the reader can reach.
func calls(l admin.Listen, host string) g.Node {
	addr, flags := reachable(l.GRPC, host), " -plaintext"
	if l.TLS {
		flags = " -cacert ca.crt"
	}
	if l.ClientCert {
		flags += " -cert client.crt -key client.key"
	}
	if l.Token {
		flags += " -H \"authorization: Bearer $TOKEN\""
	}
	var out g.Group
	for _, c := range [][3]string{
		{"What there is", "", "list"},
		{"All projects", "", "carbon.CarbonService/GetProjects"},
		{"Projects of a country", `{"country":"Brazil"}`, "carbon.CarbonService/GetProjects"},
		{"A price", `{"ticker":"KRBN"}`, "carbon.CarbonService/GetFinanceData"},
	} {
		data := ""
		if c[1] != "" {
			data = " -d '" + c[1] + "'"
		}
		out = append(out, h.P(h.Class("what"), g.Text(c[0])), h.Pre(h.TabIndex("0"), codeText("grpcurl"+flags+data+" "+addr+" "+c[2])))
	}
	return out
}

func about(s admin.Status) g.Node {
	return h.P(g.Text("Built "+s.Version.Date+" from "+s.Version.Revision+" with "+s.Version.Go+"."),
		g.If(s.Config.File != "", g.Group{g.Text(" Configured by "), codeText(s.Config.File), g.Text(".")}))
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
	if n, _, err := net.SplitHostPort(asked); err == nil {
		name = n
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

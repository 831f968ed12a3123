package console

import (
	"slices"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

// field is a field of a form with the value that the page was asked for with.
func (q *request) field(name, words string, attrs ...g.Node) g.Node {
	return h.Label(g.Text(words), h.Input(h.Name(name), h.Value(q.query.Get(name)), g.Group(attrs)))
}

// choice is a field that takes one of a few words, or all of them.
func (q *request) choice(name, words string, list []string) g.Node {
	now := q.query.Get(name)
	if now != "" && !slices.Contains(list, now) {
		list = append([]string{now}, list...)
	}
	options := g.Group{h.Option(h.Value(""), g.Text("all"))}
	for _, s := range list {
		options = append(options, h.Option(h.Value(s), g.If(s == now, h.Selected()), g.Text(clip(s, 60))))
	}
	return h.Label(g.Text(words), h.Select(h.Name(name), options))
}

// keep carries values of the page through a form.
func (q *request) keep(names ...string) g.Node {
	var out g.Group
	for _, n := range names {
		for _, v := range q.query[n] {
			if v != "" {
				out = append(out, hidden(n, v))
			}
		}
	}
	return out
}

// filterButtons end the form of a filter.
func (q *request) filterButtons(page string) g.Node {
	return g.Group{h.Button(h.Type("submit"), g.Text("Filter")), h.A(h.Href(q.to(page)), g.Text("Clear"))}
}

// takeAway leads to the rows of this page in the HTTP API.
func (q *request) takeAway(path string) g.Node {
	all := []string{paramToken, "", paramColumn, ""}
	return h.P(h.Class("links"),
		h.A(h.Href(address(path, q.with(append(all, "format", "csv")...))), g.Text("This list as CSV")), g.Text(" "),
		h.A(h.Href(address(path, q.with(all...))), g.Text("as JSON")))
}

// pager leads to the next part of a list, and back to its beginning.
func (q *request) pager(next string) g.Node {
	later := q.query.Get(paramToken) != ""
	if next == "" && !later {
		return nil
	}
	return h.Nav(h.Aria("label", "Parts of the list"), h.Class("links"),
		g.If(later, h.A(h.Href(q.link(paramToken, "")), g.Text("First page"))), g.Text(" "),
		g.If(next != "", h.A(h.Rel("next"), h.Href(q.link(paramToken, next)), g.Text("Next page"))))
}

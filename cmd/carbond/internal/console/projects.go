package console

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"google.golang.org/grpc/status"

	pb "carbond/proto/carbon"
	"carbond/store/change"
)

const (
	pageRows     = 50 // of a long list
	shownColumns = 8  // of a list whose reader chose none
)

// projects is the list: search, filter, sort, page, choose columns, and take it away.
func (c *Console) projects(q *request) (g.Node, error) {
	m := &pb.ProjectQuery{PageSize: pageRows}
	if err := q.ask(m); err != nil {
		return nil, err
	}
	list, err := c.carbon.GetProjects(q.ctx, m)
	if err != nil {
		return nil, err
	}
	view := &change.Projects.ViewDef
	shown := q.shown(view)
	t := table{id: "project", caption: "Projects", empty: "no project is like that"}
	for _, f := range shown {
		t.columns = append(t.columns, q.sortable(f))
	}
	for _, p := range list.Items {
		r := row{key: p.ProjectId}
		for _, f := range shown {
			v := cell(p, f)
			if f.Name == view.Key {
				v = h.A(h.Href(q.to("/projects/"+url.PathEscape(p.ProjectId))), v)
			}
			r.cells = append(r.cells, v)
		}
		t.rows = append(t.rows, r)
	}
	return g.Group{q.projectFilter(view, shown), t, q.pager(list.NextPageToken), q.takeAway("/v1/projects")}, nil
}

// shown is the columns that the reader chose, with the key; the first few without a
// choice.
func (q *request) shown(view *change.ViewDef) (out []*change.ViewField) {
	chosen := q.query[paramColumn]
	for i := range view.Fields {
		f := &view.Fields[i]
		if f.Name == view.Key || len(chosen) == 0 && i < shownColumns || slices.Contains(chosen, f.Name) {
			out = append(out, f)
		}
	}
	return out
}

// sortable is the head of a column that sorts by it, and at a second click the other
// way round.
func (q *request) sortable(f *change.ViewField) column {
	c := column{name: label(f.Name), class: classOf(f), sort: q.link(paramOrder, f.Name, paramToken, "")}
	switch q.query.Get(paramOrder) {
	case f.Name:
		c.dir, c.sort = "ascending", q.link(paramOrder, "-"+f.Name, paramToken, "")
	case "-" + f.Name:
		c.dir = "descending"
	}
	return c
}

// projectFilter is the form over the list. A filter by a column that the view does not
// have is left out.
func (q *request) projectFilter(view *change.ViewDef, shown []*change.ViewField) g.Node {
	form := g.Group{
		h.Method("get"), h.Action("/projects"),
		q.field("q", "Words", h.Type("search"), h.Placeholder("id, name, country")),
		q.field("country", "Country"),
		q.choice("status", "Status", []string{"ACTIVE", "RETIRED", "UNDER_VALIDATION", "ON_HOLD", "INACTIVE", "REJECTED", "UNKNOWN"}),
		q.field("vintage_min", "Vintage from", h.Type("number"), h.Class("year")),
		q.field("vintage_max", "Vintage to", h.Type("number"), h.Class("year")),
		q.field("min_supply", "Supply at least", h.Type("number"), h.Step("any"), h.Class("year")),
	}
	for _, f := range [][2]string{{"project_type", "type"}, {"methodology", "methodology"}, {"registry", "registry"}} {
		if view.Field(f[0]) != nil {
			form = append(form, q.field(f[1], label(f[1])))
		}
	}
	var boxes g.Group
	for i := range view.Fields {
		if f := &view.Fields[i]; f.Name != view.Key {
			boxes = append(boxes, h.Label(h.Class("box"), h.Input(h.Type("checkbox"), h.Name(paramColumn), h.Value(f.Name), g.If(slices.Contains(shown, f), h.Checked())), g.Text(label(f.Name))))
		}
	}
	return h.Form(append(form, g.If(q.query.Get("vintage") != "", q.field("vintage", "Vintage", h.Type("number"), h.Class("year"))), q.keep(paramOrder, paramAsOf),
		h.Details(h.Summary(g.Text("Columns")), h.Div(h.Class("boxes"), boxes)), q.filterButtons("/projects"))...)
}

// classOf is how the cells of a column look.
func classOf(f *change.ViewField) string {
	switch f.Type {
	case change.OIDInt4, change.OIDInt8, change.OIDFloat8:
		return "num"
	}
	if strings.HasSuffix(f.Name, "name") {
		return "long"
	}
	return ""
}

// project is all about one project.
func (c *Console) project(q *request) (g.Node, error) {
	m := &pb.ProjectDetailQuery{ProjectId: q.id}
	if err := q.setAsOf(m); err != nil {
		return nil, err
	}
	d, err := c.carbon.GetProjectDetail(q.ctx, m)
	if err != nil {
		return nil, err
	}
	p := d.Project
	q.title = clip(p.ProjectName, 120)
	if q.title == "" {
		q.title = clip(q.id, 120)
	}
	past := g.Node(nil)
	if !q.streamed && q.query.Get(paramAsOf) == "" { // it is of now, and read from the log
		if past, err = c.timeline(q); err != nil {
			past = failure(status.Convert(err).Message())
		}
	}
	return g.Group{
		g.If(p.ProjectSummary != "", h.P(foreign(p.ProjectSummary, 2000))),
		facts(p, &change.ProjectDetails.ViewDef, "project_summary", "project_link"),
		g.If(len(p.Vintages) > 0, supplies(p.Vintages)),
		h.P(h.Class("links"), g.If(web(p.ProjectLink), outward(p.ProjectLink, g.Text("At the registry"))), g.Text(" "),
			h.A(h.Href(q.to("/v1/projects/"+url.PathEscape(q.id))), g.Text("As JSON"))),
		past,
	}, nil
}

// supplies is what became of each vintage, the newest first. Figures that do not add up are
// named: others write the table too.
func supplies(vintages []*pb.VintageSupply) g.Node {
	t := table{id: "vintage", caption: "Supply per vintage, tonnes"}
	view := &change.VintageSupplies.ViewDef
	for i := range view.Fields {
		t.columns = append(t.columns, column{name: label(view.Fields[i].Name), class: "num"})
	}
	var odd []string
	for _, v := range slices.Backward(vintages) {
		r := row{key: strconv.Itoa(int(v.Vintage))}
		for i := range view.Fields {
			r.cells = append(r.cells, cell(v, &view.Fields[i]))
		}
		t.rows = append(t.rows, r)
		if v.Issued == nil || v.Retired == nil || v.Cancelled == nil || v.Available == nil {
			continue
		}
		if d := *v.Issued - *v.Retired - *v.Cancelled - *v.Available; d != 0 {
			odd = append(odd, figureText(d)+" of "+r.key)
		}
	}
	return g.Group{t, g.If(odd != nil, h.P(h.Class("note"), g.Text("Issued, but neither retired nor cancelled nor available: "+strings.Join(odd, ", ")+".")))}
}

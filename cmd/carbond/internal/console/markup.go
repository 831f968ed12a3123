package console

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

// sheet is one rendering of a page: its bytes, and apart from them the parts that a
// live page replaces, in the order of the page.
type sheet struct {
	bytes.Buffer
	name  string
	parts []part
}

// part is what is inside one element of a page. List is set for the keys of the rows
// of a table rather than for HTML.
type part struct {
	id, inner string
	list      bool
}

func draw(n g.Node) (*sheet, error) {
	s := new(sheet)
	if err := n.Render(s); err != nil {
		return nil, fmt.Errorf("draw a page: %w", err)
	}
	return s, nil
}

// element is a function of package html.
type element func(...g.Node) g.Node

// live is an element whose content follows the daemon. It holds no other live one.
func live(el element, id string, attrs []g.Node, inner ...g.Node) g.Node {
	return g.NodeFunc(func(w io.Writer) error {
		var b strings.Builder
		if err := g.Group(inner).Render(&b); err != nil {
			return err
		}
		if s, ok := w.(*sheet); ok {
			s.parts = append(s.parts, part{id: id, inner: b.String()})
		}
		return el(h.ID(id), g.Attr("data-live"), g.Group(attrs), g.Raw(b.String())).Render(w)
	})
}

// column is a column of a table: the words at its head and how its cells look.
type column struct {
	name  string
	class string // "num" for figures, "long" for text that may break, "" else
	sort  string // address that sorts by it, "" for none
	dir   string // "ascending" or "descending" when the table is sorted by it
}

// row is a row of a table. Its key names it as long as it is the same thing.
type row struct {
	key   string
	cells []g.Node // the first names the row
}

// table is a table of live rows. When rows come or go, a table with auto follows by
// itself; another tells the reader and waits for a click, since rows that he
// reads would move.
type table struct {
	id, caption string
	columns     []column
	rows        []row
	auto        bool
	empty       string // what to say without rows; "" = none yet
	still       bool   // the rows never change
	next        string // place behind the first row, from where new ones are told; "" = they are not
}

// tagged is a cell with a class, or one that several columns share.
type tagged struct {
	g.Node
	class string
}

func (t table) Render(w io.Writer) error {
	head := g.Group(g.Map(t.columns, func(c column) g.Node {
		name := g.Node(g.Text(c.name))
		if c.sort != "" {
			name = h.A(h.Href(c.sort), name)
		}
		return h.Th(h.Scope("col"), class(c.class), g.If(c.dir != "", g.Attr("aria-sort", c.dir)), name)
	}))
	keys, body := fnv.New64a(), make(g.Group, 0, len(t.rows))
	for _, r := range t.rows {
		_, _ = io.WriteString(keys, r.key+"\x00")
		if t.still {
			body = append(body, h.Tr(t.cells(r)))
			continue
		}
		body = append(body, live(h.Tr, t.id+"-"+r.key, nil, t.cells(r)))
	}
	if len(t.rows) == 0 {
		empty := t.empty
		if empty == "" {
			empty = "none yet"
		}
		body = g.Group{h.Tr(h.Td(h.ColSpan(fmt.Sprint(len(t.columns))), h.Class("quiet"), g.Text(empty)))}
	}
	if s, ok := w.(*sheet); ok && !t.still {
		s.parts = append(s.parts, part{id: t.id, inner: fmt.Sprintf("%x", keys.Sum64()), list: true})
	}
	return h.Div(h.Class("wide"), h.Role("region"), h.TabIndex("0"), h.Aria("label", t.caption),
		h.Table(h.Caption(g.Text(t.caption)), h.THead(h.Tr(head)),
			h.TBody(h.ID(t.id), g.If(!t.still, g.Attr("data-rows")), g.If(t.auto, g.Attr("data-auto")), g.If(t.next != "", g.Attr("data-next", t.next)), body)),
	).Render(w)
}

func (t table) cells(r row) g.Node {
	out := make(g.Group, 0, len(r.cells))
	for i, c := range r.cells {
		cls := t.columns[i].class
		if tc, ok := c.(tagged); ok {
			c, cls = tc.Node, strings.TrimSpace(cls+" "+tc.class)
		}
		if i == 0 {
			out = append(out, h.Th(h.Scope("row"), class(cls), c))
			continue
		}
		out = append(out, h.Td(class(cls), c))
	}
	return out
}

func class(c string) g.Node { return g.If(c != "", h.Class(c)) }

// foreign is text that comes from elsewhere: it is set apart from the direction of
// the text around it, and cut.
func foreign(s string, most int) g.Node { return g.El("bdi", g.Text(clip(s, most))) }

// outward is a link to the web, or its text alone when it leads elsewhere.
func outward(link string, inner g.Node) g.Node {
	if !web(link) || len(link) > 4<<10 {
		return inner
	}
	return h.A(h.Rel("noopener noreferrer nofollow"), h.Href(link), inner)
}

const utc = "2006-01-02 15:04:05 UTC"

// moment is a time: in UTC as it stands, which the script turns into the reader's
// zone with UTC beside it.
func moment(t time.Time) g.Node { return timeNode(t, "at", t.UTC().Format(utc)) }

// ago is a time that the script turns into the span since, or until.
func ago(t time.Time) g.Node {
	return timeNode(t, "ago", t.UTC().Format(utc))
}

// due is a time at which something is to happen.
func due(t *time.Time) g.Node {
	if t == nil || t.IsZero() {
		return g.Text("\u2013")
	}
	return timeNode(*t, "due", t.UTC().Format(utc))
}

// agoOr is ago of a time that may be missing.
func agoOr(t *time.Time, missing string) g.Node {
	if t == nil || t.IsZero() {
		return h.Span(h.Class("quiet"), g.Text(missing))
	}
	return ago(*t)
}

func timeNode(t time.Time, form, text string) g.Node {
	return h.Time(h.DateTime(t.UTC().Format(time.RFC3339)), g.Attr("data-form", form), g.Text(text))
}

// state is a word with a mark and a colour; the words say the same as the colour.
func state(class, word string) g.Node {
	mark := map[string]string{"good": "\u2713 ", "warn": "\u26a0 ", "bad": "\u2717 "}[class]
	return h.Span(h.Class(class), h.Span(h.Aria("hidden", "true"), g.Text(mark)), g.Text(word))
}

// section is a part of a page with its heading.
func section(id, heading string, inner ...g.Node) g.Node {
	return h.Section(h.Aria("labelledby", "h-"+id), h.H2(h.ID("h-"+id), g.Text(heading)), g.Group(inner))
}

// note is a paragraph that explains.
func note(text string) g.Node { return h.P(h.Class("quiet"), g.Text(text)) }

func codeText(s string) g.Node { return h.Code(g.Text(s)) }

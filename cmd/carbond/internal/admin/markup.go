package admin

import (
	"html"
	"strings"
)

// markup builds a page. Whatever is not fixed text of this package goes through
// text, which escapes it. There is no html/template here: it calls methods by
// name, so the linker would have to keep every exported method of the program.
type markup struct{ strings.Builder }

// fixed is markup of this package. The type keeps strings that come from
// elsewhere from being passed where nothing escapes them.
type fixed string

// raw adds markup as it is.
func (m *markup) raw(parts ...fixed) {
	for _, p := range parts {
		m.WriteString(string(p))
	}
}

// text adds text that may come from anywhere; it is safe between tags and in
// quoted attributes.
func (m *markup) text(s string) { m.WriteString(html.EscapeString(s)) }

// wrap adds text between two pieces of markup.
func (m *markup) wrap(before fixed, s string, after fixed) {
	m.raw(before)
	m.text(s)
	m.raw(after)
}

// column is the head of a table's column.
type column struct {
	name    fixed
	numeric bool
}

// table begins a table; rows and endTable follow.
func (m *markup) table(caption fixed, columns ...column) {
	m.raw("<table>\n<caption>", caption, "</caption>\n<thead><tr>")
	for _, c := range columns {
		m.raw(`<th scope="col"`)
		if c.numeric {
			m.raw(` class="num"`)
		}
		m.raw(">", c.name, "</th>")
	}
	m.raw("</tr></thead>\n<tbody>\n")
}

func (m *markup) endTable() { m.raw("</tbody>\n</table>\n") }

// section begins a section with its heading; end it with endSection.
func (m *markup) section(id, heading fixed) {
	m.raw(`<section aria-labelledby="`, id, "\">\n<h2 id=\"", id, `">`, heading, "</h2>\n")
}

func (m *markup) endSection() { m.raw("</section>\n") }

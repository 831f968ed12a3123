package admin

import (
	"html"
	"strconv"
	"strings"
	"time"
)

// markup builds a page. Whatever is not fixed text of this package goes through
// text, which escapes it. There is no html/template here: it calls methods by
// name, so the linker would have to keep every exported method of the program.
type markup struct {
	strings.Builder
	now     time.Time // that ages are told from
	columns []column  // of the table at hand
	empty   bool      // it has no row yet
}

// fixed is markup of this package. The type keeps strings that come from
// elsewhere from being passed where nothing escapes them.
type fixed string

// raw adds markup as it is. Copies of it at every call would make the program
// 20 kB larger.
//
//go:noinline
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

// column is a column of a table: the words at its head and how its cells look.
type column struct {
	name fixed
	kind kind
}

// kind is how a cell looks.
type kind uint8

const (
	plain  kind = iota
	head        // names the row
	num         // a figure
	long        // text that may break anywhere
	remark      // a state, which begins with good, warn or bad
)

// What begins the cells of a remark. The words behind them say the same, so that
// nothing hangs on the colour.
const good, warn, bad = "\u2713 ", "\u26a0 ", "\u2717 "

// starts is the tags before a cell of a kind.
var starts = [...]fixed{plain: "<td><bdi>", head: `<th scope="row"><bdi>`, num: `<td class="num"><bdi>`, long: `<td class="long"><bdi>`, remark: "<td><bdi>"}

// row adds a row; each value belongs to the column at its place.
func (m *markup) row(values ...string) {
	m.empty = false
	m.raw("<tr>")
	for i, v := range values {
		k := m.columns[i].kind
		start, end := starts[k], fixed("</bdi></td>")
		switch {
		case k == head:
			end = "</bdi></th>"
		case k != remark:
		case strings.HasPrefix(v, good):
			start = `<td class="good"><bdi>`
		case strings.HasPrefix(v, warn):
			start = `<td class="warn"><bdi>`
		case strings.HasPrefix(v, bad):
			start = `<td class="bad"><bdi>`
		}
		m.wrap(start, v, end)
	}
	m.raw("</tr>\n")
}

// table begins a table; rows and endTable follow. A table that is wider than the
// window scrolls in a box of its own, which the keyboard reaches.
func (m *markup) table(caption fixed, columns ...column) {
	m.columns, m.empty = columns, true
	m.raw(`<div class="wide" role="region" tabindex="0" aria-label="`, caption, "\">\n<table>\n<caption>", caption, "</caption>\n<thead><tr>")
	for _, c := range columns {
		m.raw(`<th scope="col"`)
		if c.kind == num {
			m.raw(` class="num"`)
		}
		m.raw(">", c.name, "</th>")
	}
	m.raw("</tr></thead>\n<tbody>\n")
}

// endTable ends a table. One without rows says so.
func (m *markup) endTable() {
	if m.empty {
		m.wrap("<tr><td colspan=\"", strconv.Itoa(len(m.columns)), "\">none yet</td></tr>\n")
	}
	m.raw("</tbody>\n</table>\n</div>\n")
}

// section begins a section with its heading, whose content the script may
// exchange; end it with endSection.
func (m *markup) section(id, heading fixed) {
	m.raw(`<section aria-labelledby="h-`, id, "\">\n<h2 id=\"h-", id, `">`, heading, "</h2>\n<div id=\"", id, "\" data-live>\n")
}

func (m *markup) endSection() { m.raw("</div>\n</section>\n") }

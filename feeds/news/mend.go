package news

import (
	"bytes"
	"html"
	"regexp"
	"strings"
)

// mend rewrites a document that is no good XML into one that is, item by item:
// what is broken in one item stays in it. It knows only what feeds are made of:
// containers, fields in them, and text, markup included, in the fields. cut
// reports that the document ends too early; the item that it ends in is left
// out. ok is false when there is no feed in it.
func mend(b []byte) (out []byte, cut, ok bool) {
	at := rootTag.FindIndex(b)
	if at == nil {
		return nil, false, false
	}
	m := mender{src: b[at[0]:]}
	for len(m.src) > 0 && !m.closed {
		n := bytes.IndexByte(m.src, '<')
		if n != 0 {
			if n < 0 {
				n = len(m.src)
			}
			m.write(entity.ReplaceAllStringFunc(string(m.src[:n]), html.UnescapeString))
			m.src = m.src[n:]
			continue
		}
		m.markup()
	}
	return m.finish()
}

// rootTag finds where the feed begins, behind warnings, comments and blank lines.
var rootTag = regexp.MustCompile(`(?i)<(?:rss|feed|rdf:rdf|channel|rdf)[\s>]`)

// tagForm is one tag, with quoted values that may hold ">".
var tagForm = regexp.MustCompile(`^<(/?)([A-Za-z_][\w:.-]*)((?:[^<>"']|"[^"]*"|'[^']*')*)>`)

// attrForm is one attribute, quoted or not.
var attrForm = regexp.MustCompile(`([A-Za-z_][\w:.-]*)\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+)`)

// entity is a reference that ends as it should; others are text.
var entity = regexp.MustCompile(`&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});`)

// containers hold fields, all others hold text.
var containers = map[string]bool{"rss": true, "feed": true, "rdf:rdf": true, "rdf": true, "channel": true, "item": true, "entry": true}

// mender is a document while it is rewritten.
type mender struct {
	src    []byte
	out    bytes.Buffer // complete items and what stands around them
	item   bytes.Buffer // the open item
	open   []string     // containers
	inItem bool
	field  string // open field, "" for none
	attrs  string // of it
	text   strings.Builder
	closed bool // the end of the root was seen
}

// markup takes what begins with "<".
func (m *mender) markup() {
	if rest, ok := bytes.CutPrefix(m.src, []byte("<![CDATA[")); ok {
		n := bytes.Index(rest, []byte("]]>"))
		if n < 0 {
			m.src = nil
			return
		}
		m.write(string(rest[:n]))
		m.src = rest[n+3:]
		return
	}
	for _, p := range [][2]string{{"<!--", "-->"}, {"<?", "?>"}, {"<!", ">"}} {
		if bytes.HasPrefix(m.src, []byte(p[0])) {
			n := bytes.Index(m.src, []byte(p[1]))
			if n < 0 {
				m.src = nil
				return
			}
			m.src = m.src[n+len(p[1]):]
			return
		}
	}
	t := tagForm.FindSubmatch(m.src)
	if t == nil {
		m.write("<")
		m.src = m.src[1:]
		return
	}
	m.src = m.src[len(t[0]):]
	m.tag(string(t[0]), strings.ToLower(string(t[2])), string(t[3]), len(t[1]) > 0)
}

// tag takes one tag: of a container, of a field, or markup in a field.
func (m *mender) tag(raw, name, attrs string, end bool) {
	switch {
	case containers[name]:
		m.endField()
		if end {
			m.pop(name)
		} else {
			m.push(name, attrs)
		}
	case m.field == "" && !end:
		m.field, m.attrs = name, attributes(attrs)
		if strings.HasSuffix(strings.TrimSpace(attrs), "/") {
			m.endField()
		}
	case m.field == name && end:
		m.endField()
	case m.field == "title" && !end && simple[name]:
		// The title was never closed.
		m.endField()
		m.tag(raw, name, attrs, false)
	default:
		m.write(raw)
	}
}

// simple are fields that no title holds.
var simple = map[string]bool{"link": true, "guid": true, "pubdate": true, "description": true, "id": true, "updated": true, "published": true, "summary": true}

// write adds text to the open field. Text between fields means nothing.
func (m *mender) write(s string) {
	if m.field != "" {
		m.text.WriteString(s)
	}
}

// to is where the document goes on.
func (m *mender) to() *bytes.Buffer {
	if m.inItem {
		return &m.item
	}
	return &m.out
}

func (m *mender) endField() {
	if m.field == "" {
		return
	}
	w := m.to()
	w.WriteString("<" + m.field + m.attrs + ">" + html.EscapeString(strings.Map(allowed, m.text.String())) + "</" + m.field + ">")
	m.field, m.attrs = "", ""
	m.text.Reset()
}

func allowed(r rune) rune {
	if forbidden(r) {
		return -1
	}
	return r
}

func (m *mender) push(name, attrs string) {
	if name == "item" || name == "entry" {
		m.endItem()
		if strings.HasSuffix(strings.TrimSpace(attrs), "/") {
			return
		}
		m.inItem = true
		m.item.Reset()
		m.item.WriteString("<" + name + attributes(attrs) + ">")
		m.open = append(m.open, name)
		return
	}
	if len(m.open) == 0 || name == "channel" && len(m.open) == 1 {
		m.out.WriteString("<" + name + attributes(attrs) + ">")
		m.open = append(m.open, name)
	}
}

// endItem ends the open item, if any, and keeps it.
func (m *mender) endItem() {
	if !m.inItem {
		return
	}
	name := m.open[len(m.open)-1]
	m.open = m.open[:len(m.open)-1]
	m.item.WriteString("</" + name + ">")
	m.inItem = false
	m.out.Write(m.item.Bytes())
}

func (m *mender) pop(name string) {
	if m.inItem {
		m.endItem()
		if name == "item" || name == "entry" {
			return
		}
	}
	for i := len(m.open) - 1; i >= 0; i-- {
		if m.open[i] == name {
			for ; len(m.open) > i; m.open = m.open[:len(m.open)-1] {
				m.out.WriteString("</" + m.open[len(m.open)-1] + ">")
			}
			break
		}
	}
	m.closed = len(m.open) == 0
}

// finish closes what is open. An item that the document ends in is left out.
func (m *mender) finish() (out []byte, cut, ok bool) {
	if m.inItem {
		m.inItem = false
		m.open = m.open[:len(m.open)-1]
		m.field = ""
	}
	cut = !m.closed
	for i := len(m.open) - 1; i >= 0; i-- {
		m.out.WriteString("</" + m.open[i] + ">")
	}
	return m.out.Bytes(), cut, true
}

// attributes writes attributes as XML wants them: quoted, each once.
func attributes(raw string) string {
	var b strings.Builder
	seen := map[string]bool{}
	for _, a := range attrForm.FindAllStringSubmatch(raw, maxAttrs+1) {
		if seen[a[1]] {
			continue
		}
		seen[a[1]] = true
		value := entity.ReplaceAllStringFunc(strings.Trim(a[2], `"'`), html.UnescapeString)
		b.WriteString(" " + a[1] + `="` + html.EscapeString(strings.Map(allowed, value)) + `"`)
	}
	return b.String()
}

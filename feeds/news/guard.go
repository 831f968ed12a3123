package news

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of a feed document. The largest feeds in use have a few hundred items
// of some thirty elements each, nested seven deep.
const (
	maxDepth    = 100
	maxElements = 200_000
	maxDocItems = 5_000
	maxAttrs    = 256
	maxPieces   = 1_000     // runs of text inside one element
	maxBindings = 1_000_000 // namespace bindings that must be copied while reading
	maxObjects  = 50_000    // objects of a JSON document
)

// survey is what a look at the tokens of an XML document finds out before the
// feed parser, which recurses and copies per element, gets it.
type survey struct {
	items    int
	elements int
	depth    int
	pieces   int
	scopes   []int // namespace bindings in force, per open element
	copied   int
	root     string
	closed   bool // the end tag of the root was seen
}

// look walks over the document once, in constant space, and refuses what no
// real feed has.
func look(body []byte) (survey, error) {
	d := xml.NewDecoder(bytes.NewReader(body))
	d.Strict = false
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	var s survey
	for {
		tok, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return s, syntax(err)
		}
		if err := s.take(tok); err != nil {
			return s, err
		}
	}
	switch s.root {
	case "":
		return s, fmt.Errorf("%w: no element", ErrNotFeed)
	case "rss", "rdf", "feed":
	case "html":
		return s, ErrHTML
	default:
		return s, fmt.Errorf("%w: another kind of XML document", ErrNotFeed)
	}
	if !s.closed {
		return s, ErrTruncated
	}
	return s, nil
}

// syntax names an error of the tokenizer.
func syntax(err error) error {
	var se *xml.SyntaxError
	if !errors.As(err, &se) {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if strings.Contains(se.Msg, "unexpected EOF") {
		return fmt.Errorf("%w on line %d", ErrTruncated, se.Line)
	}
	return fmt.Errorf("%w on line %d", ErrMalformed, se.Line)
}

func (s *survey) take(tok xml.Token) error {
	switch t := tok.(type) {
	case xml.StartElement:
		return s.open(t)
	case xml.EndElement:
		s.pieces = 0
		s.depth = max(s.depth-1, 0)
		if len(s.scopes) > 0 {
			s.scopes = s.scopes[:len(s.scopes)-1]
		}
		if strings.EqualFold(t.Name.Local, s.root) {
			s.closed = true
		}
	default:
		// Text, CDATA and comments: each piece is appended to the one before.
		if s.pieces++; s.pieces > maxPieces && s.root != "" {
			return fmt.Errorf("%w: text in more than %d pieces", ErrTooComplex, maxPieces)
		}
	}
	return nil
}

func (s *survey) open(t xml.StartElement) error {
	name := strings.ToLower(t.Name.Local)
	if s.root == "" {
		s.root = name
	}
	s.pieces = 0
	s.elements++
	s.depth++
	if name == "item" || name == "entry" {
		s.items++
	}
	s.bind(t.Attr)
	switch {
	case s.depth > maxDepth:
		return fmt.Errorf("%w: deeper than %d", ErrTooComplex, maxDepth)
	case s.elements > maxElements:
		return fmt.Errorf("%w: more than %d elements", ErrTooComplex, maxElements)
	case s.items > maxDocItems:
		return fmt.Errorf("%w: more than %d items", ErrTooComplex, maxDocItems)
	case len(t.Attr) > maxAttrs:
		return fmt.Errorf("%w: more than %d attributes", ErrTooComplex, maxAttrs)
	case s.copied > maxBindings:
		return fmt.Errorf("%w: too many namespaces", ErrTooComplex)
	}
	return nil
}

// bind counts namespaces: the parser copies all bindings in force whenever an
// element adds one, so their product is what must stay small.
func (s *survey) bind(attrs []xml.Attr) {
	inForce, own := 0, 0
	if n := len(s.scopes); n > 0 {
		inForce = s.scopes[n-1]
	}
	for _, a := range attrs {
		if a.Name.Space == "xmlns" || a.Name.Local == "xmlns" {
			own++
		}
	}
	if own > 0 {
		s.copied += inForce + own
	}
	s.scopes = append(s.scopes, inForce+own)
}

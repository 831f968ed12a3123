package webhook

import (
	"fmt"
	"strconv"
	"strings"

	"carbond/rpc/internal/search"
	"carbond/store/change"
)

// Rule says which changes a hook wants. The zero Rule wants all.
type Rule struct {
	Text  string // as it was written
	kind  byte   // 'c' a field changes, '<' and '>' a number crosses, 'w' words appear, 0 any
	field string
	limit float64
	words search.Words
}

// ParseRule reads a rule for a view: "any", "changes FIELD", "FIELD<NUMBER", "FIELD>NUMBER"
// or "words WORD...".
func ParseRule(view *change.ViewDef, text string) (r Rule, err error) {
	r.Text = text
	switch name, rest, _ := strings.Cut(text, " "); {
	case text == "" || text == "any":
		return r, nil
	case name == "changes":
		r.kind, r.field = 'c', strings.TrimSpace(rest)
	case name == "words":
		r.kind, r.words = 'w', search.Parse(rest)
		if len(r.words) == 0 {
			return r, fmt.Errorf("%q has no words", text)
		}
		return r, nil
	default:
		i := strings.IndexAny(text, "<>")
		if i < 0 {
			return r, fmt.Errorf("%q is not any, changes FIELD, FIELD<NUMBER, FIELD>NUMBER or words WORD", text)
		}
		r.kind, r.field = text[i], strings.TrimSpace(text[:i])
		if r.limit, err = strconv.ParseFloat(strings.TrimSpace(text[i+1:]), 64); err != nil || r.limit != r.limit {
			return r, fmt.Errorf("%q has no number behind %c", text, r.kind)
		}
	}
	f := view.Field(r.field)
	if f == nil {
		return r, fmt.Errorf("%q is not a field of %s; those are %s", r.field, view.Name, strings.Join(view.Names(), ", "))
	}
	if r.kind != 'c' && (f.Type == change.OIDText || f.Type == change.OIDBool) {
		return r, fmt.Errorf("field %s of %s is not a number", r.field, view.Name)
	}
	return r, nil
}

// Matches reports whether the rule wants a change of a row; nil is no row.
func (r Rule) Matches(view *change.ViewDef, before, after any) bool {
	switch r.kind {
	case 'c':
		return before != nil && after != nil && cell(view, before, r.field) != cell(view, after, r.field)
	case '<', '>':
		return r.beyond(view, after) && !r.beyond(view, before)
	case 'w':
		return r.found(view, after) && !r.found(view, before)
	}
	return true
}

func (r Rule) beyond(view *change.ViewDef, row any) bool {
	if row == nil {
		return false
	}
	n, err := strconv.ParseFloat(cell(view, row, r.field), 64)
	return err == nil && (r.kind == '<' && n < r.limit || r.kind == '>' && n > r.limit)
}

func (r Rule) found(view *change.ViewDef, row any) bool {
	if row == nil {
		return false
	}
	var texts []string
	for i := range view.Fields {
		if s, ok := view.Value(row, i).(*string); ok {
			texts = append(texts, *s)
		}
	}
	return r.words.In(strings.Join(texts, "\n"))
}

// cell is a field as text, "NULL" for NULL.
func cell(view *change.ViewDef, row any, name string) string {
	for i := range view.Fields {
		if view.Fields[i].Name != name {
			continue
		}
		if view.Null(row).Has(i) {
			return "NULL"
		}
		switch x := view.Value(row, i).(type) {
		case *string:
			return *x
		case *float64:
			return strconv.FormatFloat(*x, 'g', -1, 64)
		case *int32:
			return strconv.Itoa(int(*x))
		case *int64:
			return strconv.FormatInt(*x, 10)
		case *bool:
			return strconv.FormatBool(*x)
		}
	}
	return ""
}

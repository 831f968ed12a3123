// Package mask hides columns of tables without a view before anything is written: what
// every row passes on its way to the changelog, whether a copy or the stream
// brought it.
package mask

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"carbond/store/change"
)

// The ways to hide a column.
const (
	Hash    = "hash"    // HMAC-SHA256 with the secret, in hexadecimal: equal values stay equal
	Null    = "null"    // NULL
	Last4   = "last4"   // **** and the last four characters, of values of eight and more
	Exclude = "exclude" // the topic lacks the column
)

// Rules says how columns are hidden.
type Rules struct {
	tables map[string]map[string]string // by schema.table and column
	secret []byte
}

// Parse reads rules given by schema.table.column. That of a schema has no point, as in
// postgres.tables, and that of a column none either.
func Parse(masks map[string]string, secret string) (*Rules, error) {
	r := &Rules{tables: map[string]map[string]string{}, secret: []byte(secret)}
	for _, name := range slices.Sorted(maps.Keys(masks)) {
		how, i := masks[name], strings.LastIndexByte(name, '.')
		if i < 0 || name[i+1:] == "" || !strings.Contains(name[:i], ".") {
			return nil, fmt.Errorf("%q is not schema.table.column", name)
		}
		switch how {
		case Null, Last4, Exclude:
		case Hash:
			if len(secret) < 16 {
				return nil, fmt.Errorf("%s is to be hashed: that needs a postgres.mask_secret of 16 bytes or more, or the values could be guessed", name)
			}
		default:
			return nil, fmt.Errorf("%s: %q is none of hash, null, last4, exclude", name, how)
		}
		table := name[:i]
		if r.tables[table] == nil {
			r.tables[table] = map[string]string{}
		}
		r.tables[table][name[i+1:]] = how
	}
	return r, nil
}

// Tables lists the tables that have rules, as schema.table.
func (r *Rules) Tables() []string { return slices.Sorted(maps.Keys(r.tables)) }

// Columns lists the columns of a table that have rules.
func (r *Rules) Columns(schema, table string) []string {
	return slices.Sorted(maps.Keys(r.tables[schema+"."+table]))
}

// Text is the rules of a table in one line, "" for none.
func (r *Rules) Text(schema, table string) string {
	var out []string
	for _, c := range r.Columns(schema, table) {
		out = append(out, c+":"+r.tables[schema+"."+table][c])
	}
	return strings.Join(out, ",")
}

// Sink is what takes the transactions.
type Sink interface {
	Position() change.Position
	Apply(ctx context.Context, txns []change.Txn) error
	Advance(ctx context.Context, lsn change.LSN) error
}

// Before returns a sink that hides columns and hands the rest to next.
func (r *Rules) Before(next Sink) Sink {
	if len(r.tables) == 0 {
		return next
	}
	return &masker{Sink: next, rules: r, shapes: map[*change.Relation]*shape{}}
}

// masker is used by one goroutine, that which calls the sink.
type masker struct {
	Sink
	rules  *Rules
	shapes map[*change.Relation]*shape // nil for a table without rules
	build  change.RowBuilder
	sum    []byte
}

// shape is how one version of a table is hidden.
type shape struct {
	out *change.Relation
	how []string // of each column of the source, "" for as it is
}

// Apply changes the transactions in place: nobody else has them.
func (m *masker) Apply(ctx context.Context, txns []change.Txn) error {
	for _, t := range txns {
		for i := range t.Changes {
			c := &t.Changes[i]
			if !c.Relation.Plain {
				continue
			}
			s, known := m.shapes[c.Relation]
			if !known {
				s = m.shape(c.Relation)
				m.shapes[c.Relation] = s
			}
			if s != nil {
				c.Relation, c.Before, c.After = s.out, m.row(s, c.Before), m.row(s, c.After)
			}
		}
	}
	return m.Sink.Apply(ctx, txns)
}

// shape makes the shape of a table, and forgets those of its earlier versions. Of a table that
// lacks a column with a rule, which may just have another name now, nothing but the key is shown.
func (m *masker) shape(rel *change.Relation) *shape {
	maps.DeleteFunc(m.shapes, func(r *change.Relation, _ *shape) bool { return r.Schema == rel.Schema && r.Name == rel.Name })
	rules := m.rules.tables[rel.Schema+"."+rel.Name]
	if len(rules) == 0 {
		return nil
	}
	lost := slices.ContainsFunc(m.rules.Columns(rel.Schema, rel.Name), func(c string) bool { return rel.Index(c) < 0 })
	s := &shape{out: &change.Relation{Schema: rel.Schema, Name: rel.Name, Plain: rel.Plain}, how: make([]string, len(rel.Columns))}
	for i, c := range rel.Columns {
		how := rules[c.Name]
		if lost && !c.Key && how == "" {
			how = Null
		}
		s.how[i] = how
		switch how {
		case Exclude:
			continue
		case Hash, Last4:
			c.Type = change.OIDText
		}
		s.out.Columns = append(s.out.Columns, c)
	}
	return s
}

func (m *masker) row(s *shape, r change.Row) change.Row {
	if r == "" {
		return ""
	}
	m.build.Reset(len(s.out.Columns))
	for i, v := range r.All() {
		switch how := s.how[i]; {
		case how == Exclude:
		case how == Null:
			m.build.Null()
		case how == "" || v.Kind != change.Text:
			m.build.Value(v)
		case how == Last4:
			m.build.Text(last4(v.Text))
		default:
			h := hmac.New(sha256.New, m.rules.secret)
			h.Write([]byte(v.Text))
			m.sum = hex.AppendEncode(m.sum[:0], h.Sum(nil))
			m.build.Bytes(m.sum)
		}
	}
	return m.build.Row()
}

// last4 tells nothing of a short value, of which four characters are nearly all.
func last4(s string) string {
	if utf8.RuneCountInString(s) < 8 {
		return "****"
	}
	at := len(s)
	for range 4 {
		_, n := utf8.DecodeLastRuneInString(s[:at])
		at -= n
	}
	return "****" + s[at:]
}

package server

import (
	"fmt"
	"slices"
	"strings"
)

// Pattern names tables that no view reads: one, or all of a schema.
type Pattern struct{ Schema, Name string }

// ParsePattern reads "schema.table" or "schema.*". Names are as Postgres has them,
// without quotes; that of a schema has no point.
func ParsePattern(s string) (Pattern, error) {
	schema, name, ok := strings.Cut(s, ".")
	if !ok || schema == "" || name == "" || len(schema) > 63 || len(name) > 63 {
		return Pattern{}, fmt.Errorf("%q is not schema.table or schema.*", s)
	}
	return Pattern{schema, name}, nil
}

// Matches reports whether a table is meant.
func (p Pattern) Matches(schema, name string) bool {
	return p.Schema == schema && (p.Name == name || p.Name == "*")
}

// Patterns are those of Tables, which Validate has read.
func (o *Options) Patterns() []Pattern {
	out := make([]Pattern, 0, len(o.Tables))
	for _, t := range o.Tables {
		if p, err := ParsePattern(t); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// GroupsTable is where a fleet keeps its consumer groups. It is not for the changelog: what is
// committed there would be changes to consume.
const GroupsTable = "carbond_groups"

// KeepsPlain reports whether a table is one of Tables that no view reads.
func (o *Options) KeepsPlain(schema, name string) bool {
	return !o.Keeps(schema, name) && name != GroupsTable && slices.ContainsFunc(o.Patterns(), func(p Pattern) bool { return p.Matches(schema, name) })
}

package replicate

import (
	"context"
	"fmt"
	"strings"

	"carbond/store/change"
)

// intern resolves the types of a relation and returns an equal, earlier one when
// there is one, so that a reconnect does not look like a change of the table.
func (s *session) intern(ctx context.Context, rel *change.Relation) (*change.Relation, error) {
	rel, err := s.resolve(ctx, rel)
	if err != nil {
		return nil, err
	}
	if old := s.shapes[rel.Name]; old != nil && old.Equal(rel) {
		return old, nil
	}
	s.shapes[rel.Name] = rel
	return rel, nil
}

// shape notes the description of a relation.
func (r *Replicator) shape(rel *change.Relation, kept bool) {
	name := rel.Schema + "." + rel.Name
	if !kept {
		if !r.ignored[name] {
			r.ignored[name] = true
			r.log.Info("ignoring a table of the publication that carbond does not keep", "table", name)
		}
		return
	}
	if missing := missingColumns(rel); len(missing) > 0 {
		text := fmt.Sprintf("table %s has no column %s: the views show NULL in its place", name, strings.Join(missing, ", "))
		r.st.warn(text)
		r.log.Warn("a table lost columns that the views need", "table", name, "columns", missing)
	}
}

// missingColumns lists the columns of our tables that rel lacks.
func missingColumns(rel *change.Relation) []string {
	table := change.TableOf(rel.Name)
	if table == nil {
		return nil
	}
	var out []string
	for _, c := range table.Columns {
		if rel.Index(c.Name) < 0 && !c.Serial { // a number for people: nothing reads it
			out = append(out, c.Name)
		}
	}
	return out
}

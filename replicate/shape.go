package replicate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"carbond/replicate/schema"
	"carbond/store/change"
)

// intern resolves the types of a relation and returns an equal, earlier one when
// there is one, so that a reconnect does not look like a change of the table.
func (s *session) intern(ctx context.Context, rel *change.Relation) (*change.Relation, error) {
	rel, err := s.resolve(ctx, rel)
	if err != nil {
		return nil, err
	}
	topic := rel.Topic()
	if old := s.r.relations[topic]; old != nil && old.Equal(rel) {
		return old, nil
	}
	s.r.relations[topic] = rel
	return rel, nil
}

// checkRelation notes the description of a relation.
func (r *Replicator) checkRelation(rel *change.Relation, kept bool) {
	name := rel.Schema + "." + rel.Name
	if !kept {
		if !r.ignored[name] {
			r.ignored[name] = true
			r.log.Info("ignoring a table of the publication that carbond does not keep", "table", name)
		}
		return
	}
	if rel.Plain {
		return
	}
	missing := slices.DeleteFunc(schema.MissingColumns(rel), func(c string) bool { return change.TableOf(rel.Name).Column(c).Added })
	if len(missing) > 0 {
		text := fmt.Sprintf("table %s has no column %s: the views show NULL in its place", name, strings.Join(missing, ", "))
		r.st.warn(text)
		r.log.Warn("a table lost columns that the views need", "table", name, "columns", missing)
	}
}

// resolve returns the relation with base types in the place of domains. The
// stream gives the number of a domain alone, so a new one is asked for.
func (s *session) resolve(ctx context.Context, rel *change.Relation) (*change.Relation, error) {
	if s.r.domains.Lacks(rel) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		err := s.ctl.Do(ctx, s.r.domains.Load)
		if err != nil {
			return nil, s.opt.Classify(err)
		}
	}
	return s.r.domains.Resolve(rel), nil
}

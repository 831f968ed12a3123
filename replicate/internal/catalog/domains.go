package catalog

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"carbond/store/change"
)

// Domains maps the number of each type that is not built in to that of the type
// that it stands for: a domain's base type, which never changes, else itself.
type Domains map[uint32]uint32

// firstUserType is where the numbers begin that initdb and users give out.
const firstUserType = 10000

// Load adds the domains of the database.
func (b Domains) Load(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `
WITH RECURSIVE d AS (
  SELECT oid AS domain, typbasetype AS base FROM pg_catalog.pg_type WHERE typtype = 'd'
  UNION ALL SELECT d.domain, t.typbasetype FROM d JOIN pg_catalog.pg_type t ON t.oid = d.base WHERE t.typtype = 'd')
SELECT d.domain, d.base FROM d JOIN pg_catalog.pg_type t ON t.oid = d.base WHERE t.typtype <> 'd'`)
	if err != nil {
		return fmt.Errorf("read the domains: %w", err)
	}
	var domain, base uint32
	_, err = pgx.ForEachRow(rows, []any{&domain, &base}, func() error {
		b[domain] = base
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the domains: %w", err)
	}
	return nil
}

// Lacks reports whether a type of the relation is not known.
func (b Domains) Lacks(rel *change.Relation) bool {
	return slices.ContainsFunc(rel.Columns, func(c change.Column) bool {
		_, known := b[c.Type]
		return c.Type >= firstUserType && !known
	})
}

// Resolve returns the relation with base types in the place of domains.
func (b Domains) Resolve(rel *change.Relation) *change.Relation {
	out := *rel
	out.Columns = slices.Clone(rel.Columns)
	for i := range out.Columns {
		c := &out.Columns[i]
		if c.Type < firstUserType {
			continue
		}
		if base, ok := b[c.Type]; ok {
			c.Type = base
		} else {
			b[c.Type] = c.Type // no domain, or one that is gone by now
		}
	}
	return &out
}

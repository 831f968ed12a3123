package schema

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/replicate/internal/server"
	"carbond/store/change"
)

// FindUnencodable looks for a text in our tables that the server cannot convert to
// UTF-8, and says where it is, "" for nowhere. The search runs in the server, as
// nothing of such a row comes out of it.
func FindUnencodable(ctx context.Context, conn *pgx.Conn, opt *server.Options) (place string, err error) {
	tables, err := ReadTables(ctx, conn, opt)
	if err != nil {
		return "", err
	}
	for _, name := range opt.Viewed() {
		t := tables[name]
		if t == nil || !t.selects || len(t.columns) == 0 {
			continue
		}
		_, err := conn.Exec(ctx, t.searchSQL(opt))
		if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == foundCode {
			return pe.Message, nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", nil
}

// foundCode is the SQLSTATE with which the search ends when it has found a row.
const foundCode = "CB001"

// searchSQL is a block that ends in an error of foundCode at the first text of
// the table that has no UTF-8 form.
func (t *tableInfo) searchSQL(opt *server.Options) string {
	var values, names []string
	for _, c := range t.columns {
		values, names = append(values, server.Ident(c)+"::pg_catalog.text"), append(names, server.Literal(c))
	}
	key := "'row'"
	if k := change.KeyColumns(t.name)[0]; strings.Contains(strings.Join(names, ","), server.Literal(k)) {
		key = server.Ident(k) + "::pg_catalog.text"
	}
	bad := "untranslatable_character OR character_not_in_repertoire"
	return strings.NewReplacer("$values", strings.Join(values, ", "), "$names", strings.Join(names, ", "), "$key", key,
		"$table", server.Ident(opt.Schema, t.name), "$title", server.Literal(opt.Schema+"."+t.name), "$code", server.Literal(foundCode), "$bad", bad).Replace(`
DO $search$
#variable_conflict use_column
DECLARE
  r record;
  names pg_catalog.text[] := ARRAY[$names];
  id pg_catalog.text;
BEGIN
  FOR r IN SELECT ctid AS place, $key AS key, ARRAY[$values] AS vals FROM $table LOOP
    BEGIN
      PERFORM pg_catalog.convert_to(pg_catalog.array_to_string(r.vals, ''), 'UTF8');
    EXCEPTION WHEN $bad THEN
      FOR i IN 1 .. pg_catalog.array_length(names, 1) LOOP
        BEGIN
          PERFORM pg_catalog.convert_to(r.vals[i], 'UTF8');
        EXCEPTION WHEN $bad THEN
          BEGIN
            PERFORM pg_catalog.convert_to(r.key, 'UTF8');
            id := pg_catalog.quote_literal(r.key);
          EXCEPTION WHEN $bad THEN
            id := 'its key';
          END;
          RAISE EXCEPTION USING ERRCODE = $code, MESSAGE = pg_catalog.format('column %s of %s, in the row %s (ctid %s)', names[i], $title, id, r.place);
        END;
      END LOOP;
    END;
  END LOOP;
END $search$`)
}

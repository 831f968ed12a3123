package replicate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/store/change"
)

// stuck is a change that the server could not send, or that could not be read.
type stuck struct {
	at   change.LSN // the durable position before it
	what string     // SQLSTATE
}

// again reports trouble with what the server sends. The same trouble twice in a
// row at one position would come for ever: that is a gap like any other.
func (s *session) again(err error, what string) error {
	now := stuck{s.sink.Position().LSN, what}
	if s.stuck != now {
		s.stuck = now
		return err
	}
	message, repair := fmt.Sprintf("the stream ends the same way each time behind %s", now.at), resnapshotAdvice
	if encoding(what) {
		place := s.unencodable()
		if place == "" {
			place = "one that is gone or was corrected since"
		} else {
			repair = "correct or delete that row; then " + repair
		}
		message = "the server cannot send a text that has no UTF-8 form: " + place
	}
	return fault(KindUndecodable, repair, err, "%s", message)
}

// refused says what an error in the stream means.
func (s *session) refused(pe *pgconn.PgError) error {
	err := s.opt.classify(fmt.Errorf("stream: %w", pe))
	if kindOf(err) != KindServer || len(pe.Code) != 5 {
		return err
	}
	switch pe.Code[:2] {
	case "08", "53", "57", "58": // connection, resources, operator, system: they pass
		return err
	}
	return s.again(err, pe.Code)
}

// uncopied says what an error of the copy means. There it needs no second time:
// the copy has the row itself.
func (s *session) uncopied(err error) error {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || !encoding(pe.Code) {
		return s.opt.classify(err)
	}
	place := s.unencodable()
	if place == "" {
		place = "which one is not known"
	}
	return fault(KindUndecodable, "correct or delete that row; the copy is tried again by itself", err, "the server cannot send a text that has no UTF-8 form: %s", place)
}

// encoding reports whether an SQLSTATE is about a text that cannot be converted:
// character_not_in_repertoire or untranslatable_character.
func encoding(code string) bool { return code == "22021" || code == "22P05" }

// unencodable finds a text in our tables that the server cannot convert, and says
// where it is, "" for nowhere: its error names the bytes alone. The search runs
// in the server, as nothing of such a row comes out of it.
func (s *session) unencodable() (place string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := s.ctl.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		tables, err := readTables(ctx, conn, &s.opt)
		if err != nil {
			return err
		}
		for _, name := range change.Tables() {
			t := tables[name]
			if t == nil || !t.selects || len(t.columns) == 0 {
				continue
			}
			_, err := conn.Exec(ctx, t.searchSQL(&s.opt))
			if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == foundCode {
				place = pe.Message
				return nil
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.log.Warn("the search for the row does not work", "error", err)
	}
	return place
}

// foundCode is the SQLSTATE with which the search ends when it has found a row.
const foundCode = "CB001"

// searchSQL is a block that ends in an error of foundCode at the first text of
// the table that has no UTF-8 form.
func (t *tableInfo) searchSQL(opt *Options) string {
	var values, names []string
	for _, c := range t.columns {
		values, names = append(values, ident(c)+"::pg_catalog.text"), append(names, literal(c))
	}
	key := "'row'"
	if k := change.KeyColumns(t.name)[0]; strings.Contains(strings.Join(names, ","), literal(k)) {
		key = ident(k) + "::pg_catalog.text"
	}
	bad := "untranslatable_character OR character_not_in_repertoire"
	return strings.NewReplacer("$values", strings.Join(values, ", "), "$names", strings.Join(names, ", "), "$key", key,
		"$table", ident(opt.Schema, t.name), "$title", literal(opt.Schema+"."+t.name), "$code", literal(foundCode), "$bad", bad).Replace(`
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

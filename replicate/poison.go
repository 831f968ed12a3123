package replicate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/replicate/pgerr"
	"carbond/replicate/schema"
	"carbond/store/change"
)

// stuck is a change that the server could not send, or that could not be read.
type stuck struct {
	at   change.LSN // the durable position before it
	what string     // SQLSTATE
}

// repeated reports trouble with what the server sends. The same trouble twice in a
// row at one position would come for ever: that is a gap like any other.
func (s *session) repeated(err error, what string) error {
	now := stuck{s.sink.Position().LSN, what}
	if s.r.stuck != now {
		s.r.stuck = now
		return err
	}
	message, repair := fmt.Sprintf("the stream ends the same way each time behind %s", now.at), pgerr.Resnapshot
	if encoding(what) {
		place := s.unencodable()
		if place == "" {
			place = "one that is gone or was corrected since"
		} else {
			repair = "correct or delete that row; then " + repair
		}
		message = "the server cannot send a text that has no UTF-8 form: " + place
	}
	return pgerr.New(pgerr.KindUndecodable, repair, err, "%s", message)
}

// streamError says what an error in the stream means.
func (s *session) streamError(pe *pgconn.PgError) error {
	err := s.opt.Classify(fmt.Errorf("stream: %w", pe))
	if pgerr.KindOf(err) != pgerr.KindServer || len(pe.Code) != 5 {
		return err
	}
	switch pe.Code[:2] {
	case "08", "53", "57", "58": // connection, resources, operator, system: they pass
		return err
	}
	return s.repeated(err, pe.Code)
}

// copyError says what an error of the copy means. There it needs no second time:
// the copy has the row itself.
func (s *session) copyError(err error) error {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || !encoding(pe.Code) {
		return s.opt.Classify(err)
	}
	place := s.unencodable()
	if place == "" {
		place = "which one is not known"
	}
	return pgerr.New(pgerr.KindUndecodable, "correct or delete that row; the copy is tried again by itself", err, "the server cannot send a text that has no UTF-8 form: %s", place)
}

// encoding reports whether an SQLSTATE is about a text that cannot be converted:
// character_not_in_repertoire or untranslatable_character.
func encoding(code string) bool { return code == "22021" || code == "22P05" }

// unencodable finds a text in our tables that the server cannot convert, and says
// where it is, "" for nowhere: its error names the bytes alone.
func (s *session) unencodable() (place string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := s.ctl.Do(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		place, err = schema.FindUnencodable(ctx, conn, s.opt)
		return err
	})
	if err != nil {
		s.log.Warn("the search for the row does not work", "error", err)
	}
	return place
}

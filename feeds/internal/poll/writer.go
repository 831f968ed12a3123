package poll

import (
	"context"
	"time"

	"carbond/store/change"
)

// Writer stores what the feeds bring: a Postgres (feeds/postgres) or the store.
type Writer interface {
	// Write makes the tables hold what edits want, in one transaction. Rows
	// that already are as wanted are not touched, so that a poll without news
	// leaves no trace. A column that an Edit does not name keeps its value, and
	// is NULL in a new row. Keys are unique within an Edit.
	Write(ctx context.Context, edits []change.Edit) (change.Written, error)
	// Preview returns what Write would do, and the edits without the rows and
	// deletes that would change nothing. It writes nothing.
	Preview(ctx context.Context, edits []change.Edit) ([]change.Edit, change.Written, error)
	// Prune deletes history older than before and returns the number of rows:
	// of finance by timestamp, except the newest row of each ticker, of news by
	// published_at. Other tables are refused.
	Prune(ctx context.Context, table string, before time.Time) (int, error)
	// Rows returns the named columns of every stored row, in any order. Errors: ErrNoTable.
	Rows(ctx context.Context, table string, columns []string) ([]change.Row, error)
}

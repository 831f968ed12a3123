package rpc_test

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// noSQL stands for a Postgres that cannot be reached.
type noSQL struct{}

func (noSQL) Query(context.Context, string, ...any) (pgx.Rows, error) {
	return nil, errors.New("dial tcp 10.0.0.1:5432: user=carbon password=hunter2: connection refused")
}

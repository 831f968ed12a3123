package postgres_test

import (
	"testing"

	"go.uber.org/goleak"

	"carbond/replicate/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Wrap(m)) }

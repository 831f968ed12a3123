package feedse2e_test

import (
	"testing"

	"go.uber.org/goleak"

	"carbond/cmd/carbond/internal/programtest"
	"carbond/replicate/pgtest"
)

// program is what these tests run, with the race detector where they run under it.
var program = programtest.Program{Env: []string{"CARBOND_LOG_LEVEL=debug"}, Race: underRace}

func TestMain(m *testing.M) { goleak.VerifyTestMain(program.Wrap(pgtest.Wrap(m))) }

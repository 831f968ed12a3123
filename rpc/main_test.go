package rpc_test

import (
	"testing"

	"go.uber.org/goleak"

	"carbond/replicate/pgtest"
	"carbond/rpc"
)

// zipped is the compressor of every server and client of the tests.
var zipped *rpc.Gzip

func TestMain(m *testing.M) {
	zipped = rpc.RegisterGzip()
	goleak.VerifyTestMain(pgtest.Wrap(m))
}

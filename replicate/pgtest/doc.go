// Package pgtest gives tests a real, private Postgres.
//
// Start makes a throw-away cluster (initdb in a temporary folder, a unix socket
// in that folder and a free port of 127.0.0.1) that ends with the test. Shared
// gives one cluster per test binary, started at first use; wrap the binary's
// TestMain with Wrap so that it is stopped at the end:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Wrap(m)) }
//
// Programs are looked for in CARBOND_TEST_PGBIN, beside initdb in PATH and in
// /usr/lib/postgresql/*/bin (newest first). Without them the test is skipped,
// unless CARBOND_TEST_REQUIRE=1 makes that a failure. CARBOND_TEST_DSN names a
// running superuser-reachable server that Shared uses in place of its own.
//
// Postgres refuses to run as root, so a test that runs as root starts it as the
// user postgres.
package pgtest

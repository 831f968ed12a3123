package pgtest

import "testing"

// Unseen gives a table a child named TABLE_unseen, by inheritance. SQL over the
// table has the child's rows too, while the publication has only the table's:
// what is written there is a change that replication never tells of, and nothing
// in the catalog of the table or of the publication has changed.
func Unseen(tb testing.TB, url, table string) {
	tb.Helper()
	Exec(tb, url, "CREATE TABLE "+table+"_unseen () INHERITS ("+table+")")
}

// Vanish takes rows out of a table's pages. Unlike DELETE it is not in the part
// of the WAL that is decoded.
func Vanish(tb testing.TB, url, table, where string) {
	tb.Helper()
	Exec(tb, url, "CREATE EXTENSION IF NOT EXISTS pg_surgery",
		"SELECT heap_force_kill('"+table+"'::regclass, ARRAY(SELECT ctid FROM ONLY "+table+" WHERE "+where+"))")
}

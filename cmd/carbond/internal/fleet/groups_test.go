package fleet_test

import (
	"net/url"
	"strings"
	"testing"

	"carbond/cmd/carbond/internal/fleet"
	"carbond/replicate/pgconf"
	"carbond/replicate/pgtest"
)

// TestGroups keeps texts in a real Postgres, and says what helps a role that may not make
// the table.
func TestGroups(t *testing.T) {
	cluster := pgtest.Start(t)
	owner := cluster.Database(t)
	u, err := url.Parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, owner, "CREATE ROLE fleet_test LOGIN PASSWORD 'x'; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	t.Cleanup(func() { pgtest.Exec(t, owner, "DROP OWNED BY fleet_test; DROP ROLE fleet_test") })
	groups := func(url, name string) *fleet.Groups {
		pool, err := pgconf.NewPool(t.Context(), pgconf.Source{URL: url}, 2, false)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		g := fleet.NewGroups(name)
		if _, err := g.Get("desk"); err == nil {
			t.Error("asked without a connection")
		}
		g.Use(pool)
		return g
	}
	plain := groups(cluster.UserURL("fleet_test", "x", strings.TrimPrefix(u.Path, "/")), "one")
	if _, err := plain.All(t.Context()); err == nil || !strings.Contains(err.Error(), "CREATE TABLE IF NOT EXISTS public.carbond_groups") || !strings.Contains(err.Error(), "GRANT SELECT") {
		t.Errorf("without rights: %v", err)
	}
	g := groups(owner, "one")
	if all, err := g.All(t.Context()); err != nil || len(all) != 0 { // makes the table
		t.Fatalf("%v, %v", all, err)
	}
	pgtest.Exec(t, owner, "GRANT SELECT, INSERT, UPDATE, DELETE ON public.carbond_groups TO fleet_test")

	other := groups(owner, "two")
	for i, c := range []struct {
		g         *fleet.Groups
		old, text string
		want      bool
		is        string // in fleet one
	}{
		{plain, "", "a", true, "a"},
		{g, "", "b", false, "a"}, // it is there already
		{g, "x", "b", false, "a"},
		{g, "a", "b", true, "b"},
		{other, "", "z", true, "b"}, // of another fleet
		{plain, "a", "", false, "b"},
		{plain, "b", "", true, ""},
		{g, "", "", true, ""},
		{g, "b", "c", false, ""},
	} {
		done, err := c.g.Swap("desk", c.old, c.text)
		if err != nil || done != c.want {
			t.Errorf("%d: %v, %v", i, done, err)
		}
		if is, err := g.Get("desk"); err != nil || is != c.is {
			t.Errorf("%d: %q, %v", i, is, err)
		}
	}
	// All connections of the pool end, as with a restart.
	pgtest.Exec(t, owner, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	if all, err := other.All(t.Context()); err != nil || all["desk"] != "z" || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

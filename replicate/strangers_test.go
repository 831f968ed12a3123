package replicate_test

import (
	"fmt"
	"strings"
	"testing"

	"carbond/replicate"
	"carbond/replicate/pgtest"
	"carbond/replicate/schema"
)

// strangers are objects that anybody with CREATE on a schema can make, and that
// fit our SQL better than, or come before, those of pg_catalog. What runs leaves
// its mark in the table loot.
func strangers(schema string) []string {
	mark := " LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.loot VALUES (current_user || ' %s'); RETURN %s; END $$"
	f := func(signature, returns, result string) string {
		return "CREATE FUNCTION " + schema + "." + signature + " RETURNS " + returns + fmt.Sprintf(mark, strings.ReplaceAll(signature, "'", ""), result)
	}
	op := func(name, left, right, function string) string {
		return fmt.Sprintf("CREATE OPERATOR %s.%s (leftarg = %s, rightarg = %s, function = %s.%s)", schema, name, left, right, schema, function)
	}
	return []string{
		"CREATE TABLE public.loot (who text)", "GRANT ALL ON public.loot TO public",
		f("glue(oid, text)", "text", "''"), op("||", "oid", "text", "glue"),
		f("same(name, text)", "bool", "true"), op("=", "name", "text", "same"),
		f("same(text, varchar)", "bool", "true"), op("=", "text", "varchar", "same"),
		f("same(varchar, text)", "bool", "true"), op("=", "varchar", "text", "same"),
		f("same(\"char\", text)", "bool", "true"), op("=", "\"char\"", "text", "same"),
		f("same(bigint, int)", "bool", "true"), op("=", "bigint", "int", "same"),
		f("to_regclass(text)", "regclass", "NULL"), f("has_table_privilege(oid, text)", "bool", "true"),
		f("pg_advisory_lock(bigint)", "bool", "true"), f("pg_drop_replication_slot(text)", "bool", "true"),
		"CREATE VIEW " + schema + ".pg_class AS SELECT * FROM pg_catalog.pg_class WHERE false",
		"CREATE VIEW " + schema + ".pg_replication_slots AS SELECT * FROM pg_catalog.pg_replication_slots WHERE false",
		"CREATE VIEW " + schema + ".pg_publication_tables AS SELECT * FROM pg_catalog.pg_publication_tables WHERE false",
		"CREATE VIEW " + schema + ".pg_stat_activity AS SELECT * FROM pg_catalog.pg_stat_activity WHERE false",
	}
}

// TestStrangersCode makes such objects where the search path of the role finds
// them, after or before pg_catalog, and follows carbond through its life.
func TestStrangersCode(t *testing.T) {
	for name, path := range map[string]string{
		"public, after pg_catalog":  "",
		"named before pg_catalog":   "evil, pg_catalog, public",
		"of the user, as by $user":  `"$user", public, pg_catalog`,
		"named after it explicitly": "pg_catalog, evil",
	} {
		t.Run(name, func(t *testing.T) {
			c := pgtest.Shared(t)
			db := c.Database(t)
			dbname := pgtest.Text(t, db, "SELECT current_database()")[0][0]
			home := "evil"
			switch {
			case path == "":
				home = "public"
			case strings.Contains(path, "$user"):
				home = pgtest.Text(t, db, "SELECT quote_ident(current_user)")[0][0]
			}
			sql := strangers(home)
			if home != "public" {
				sql = append([]string{"CREATE SCHEMA " + home}, sql...)
			}
			pgtest.Exec(t, db, sql...)
			if path != "" {
				pgtest.Exec(t, db, "ALTER DATABASE "+dbname+" SET search_path = "+path)
			}
			opt := options(db)
			if err := schema.Migrate(t.Context(), opt); err != nil {
				t.Fatal(err)
			}
			r := run(t, newSink(), opt)
			r.level()
			pgtest.Exec(t, db, "INSERT INTO public.news(guid) VALUES ('a')")
			r.level()
			if findings, err := schema.Preflight(t.Context(), opt); err != nil || len(findings) == 0 {
				t.Errorf("doctor: %v, %v", findings, err)
			}
			e, err := replicate.ExportSnapshot(t.Context(), opt)
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Close(t.Context()); err != nil {
				t.Error(err)
			}
			r.stop()
			if _, err := schema.Teardown(t.Context(), opt); err != nil {
				t.Fatal(err)
			}
			if loot := pgtest.Text(t, db, "SELECT DISTINCT who FROM public.loot"); len(loot) > 0 {
				t.Errorf("somebody else's code ran: %v", loot)
			}
		})
	}
}

// TestSettingsOfTheRole gives the role, by name and in its database, settings
// that would break the copy, the stream or a migration.
func TestSettingsOfTheRole(t *testing.T) {
	c := pgtest.Shared(t)
	if c.External() {
		t.Skip("needs a server with a known password")
	}
	db := c.Database(t)
	name := pgtest.Text(t, db, "SELECT current_database()")[0][0]
	role := name + "_set"
	pgtest.Exec(t, db, "CREATE ROLE "+role+" LOGIN REPLICATION PASSWORD 'secret'", "GRANT ALL ON SCHEMA public TO "+role, "GRANT CREATE ON DATABASE "+name+" TO "+role)
	t.Cleanup(func() { pgtest.Exec(t, db, "DROP OWNED BY "+role, "DROP ROLE "+role) })
	settings := []string{
		"statement_timeout = 1", "lock_timeout = 1", "idle_in_transaction_session_timeout = 1", "idle_session_timeout = 1",
		"default_transaction_read_only = on", "default_transaction_isolation = serializable", "default_transaction_deferrable = on",
		"standard_conforming_strings = off", "array_nulls = off", "datestyle = 'German'", "timezone = 'Asia/Tokyo'",
		"intervalstyle = 'iso_8601'", "bytea_output = 'escape'", "extra_float_digits = -15", "client_encoding = 'LATIN1'",
		"client_min_messages = debug5", "search_path = ''", "row_security = off", "quote_all_identifiers = on",
	}
	if version(t, db) >= 17 {
		settings = append(settings, "transaction_timeout = '5s'") // it counts from the SET on that ends it
	}
	for i, s := range settings {
		in := ""
		if i%2 == 1 {
			in = " IN DATABASE " + name
		}
		pgtest.Exec(t, db, "ALTER ROLE "+role+in+" SET "+s)
	}
	opt := options(c.UserURL(role, "secret", name))
	r := run(t, newSink(), opt)
	r.level()
	pgtest.Exec(t, db, `INSERT INTO verra(project_id, project_name, supply, updated_at) VALUES ('é\''', 'ж', 0.1, '2024-02-03 04:05:06+00')`)
	r.level()
	r.sink.sameAsSQL(t, db)
}

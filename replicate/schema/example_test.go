package schema_test

import (
	"fmt"

	"carbond/replicate"
	"carbond/replicate/schema"
)

// Who may not create roles hands this to who may.
func ExampleRoleSQL() {
	fmt.Print(schema.RoleSQL(replicate.Options{URL: "postgres://carbond@db.example:5432/market"}))
	// Output:
	// -- Run as superuser in database market, after the tables exist.
	// CREATE ROLE "carbond" LOGIN REPLICATION PASSWORD 'choose one';
	// GRANT CONNECT ON DATABASE "market" TO "carbond";
	// GRANT USAGE ON SCHEMA "public" TO "carbond";
	// GRANT SELECT ON "public"."verra", "public"."carbonmark", "public"."finance", "public"."news", "public"."vintages" TO "carbond";
	// CREATE PUBLICATION "carbond" FOR TABLE ONLY "public"."verra", ONLY "public"."carbonmark", ONLY "public"."finance", ONLY "public"."news", ONLY "public"."vintages" WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true);
	// -- Only if carbond's feeds write the tables:
	// GRANT INSERT, UPDATE, DELETE ON "public"."verra", "public"."carbonmark", "public"."finance", "public"."news", "public"."vintages" TO "carbond";
	// GRANT USAGE ON ALL SEQUENCES IN SCHEMA "public" TO "carbond";
	// -- Only if carbond itself creates and upgrades tables and publication (it must own the tables then):
	// -- GRANT CREATE ON DATABASE "market" TO "carbond";
	// -- GRANT CREATE ON SCHEMA "public" TO "carbond";
}

package replicate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"carbond/replicate/pgtest"
	"carbond/replicate/schema"
	"carbond/store/change"
)

// topic prints what came of a topic: operation, row before, row after.
func (m *memSink) topic(name string) (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.plain[name] {
		out = append(out, strings.TrimSpace(c.Op.String()+" "+rowText(c.Before)+rowText(c.After)))
	}
	return out
}

func rowText(r change.Row) string {
	if r == "" {
		return ""
	}
	var parts []string
	for _, v := range r.All() {
		switch v.Kind {
		case change.Null:
			parts = append(parts, "-")
		case change.Unchanged:
			parts = append(parts, "unchanged")
		default:
			parts = append(parts, v.Text)
		}
	}
	return "(" + strings.Join(parts, ",") + ")"
}

func (m *memSink) relation(topic string) *change.Relation {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.plain[topic]
	return all[len(all)-1].Relation
}

func keyOf(r *change.Relation) (out []string) {
	for _, c := range r.Columns {
		if c.Key {
			out = append(out, c.Name)
		}
	}
	return out
}

// TestPlain copies and streams tables that no view reads, of each kind of replica
// identity.
func TestPlain(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	long := "repeat('x', 3000)"
	pgtest.Exec(t, url,
		"CREATE SCHEMA shop", `CREATE SCHEMA "Odd schema"`,
		"CREATE TABLE shop.keyed (id int PRIMARY KEY, name text, note text); ALTER TABLE shop.keyed ALTER note SET STORAGE EXTERNAL",
		"CREATE TABLE shop.whole (a int, note text); ALTER TABLE shop.whole REPLICA IDENTITY FULL; ALTER TABLE shop.whole ALTER note SET STORAGE EXTERNAL",
		"CREATE TABLE shop.indexed (id int PRIMARY KEY, code text NOT NULL UNIQUE); ALTER TABLE shop.indexed REPLICA IDENTITY USING INDEX indexed_code_key",
		"CREATE TABLE shop.none (a int)",
		"CREATE TABLE shop.parted (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day); CREATE TABLE shop.parted_1 PARTITION OF shop.parted FOR VALUES FROM ('2020-01-01') TO ('2030-01-01')",
		`CREATE TABLE "Odd schema"."ta ble" (id int PRIMARY KEY, v int GENERATED ALWAYS AS (id * 2) STORED)`,
		"CREATE TABLE public.other (id int PRIMARY KEY)", // not wanted
		"CREATE TABLE shop.news (guid int PRIMARY KEY)",  // a name of ours in another schema
		"INSERT INTO shop.keyed VALUES (1, 'one', "+long+")", "INSERT INTO shop.whole VALUES (1, "+long+")",
		"INSERT INTO shop.indexed VALUES (1, 'a')", "INSERT INTO shop.parted VALUES (1, '2024-01-01')",
		`INSERT INTO "Odd schema"."ta ble" VALUES (1)`, "INSERT INTO shop.news VALUES (7)",
	)
	sink, opt := newSink(), options(url)
	opt.Tables = []string{"shop.*", "Odd schema.ta ble"}
	r := run(t, sink, opt)
	r.level()
	pgtest.Exec(t, url,
		"UPDATE shop.keyed SET name = 'two'", "UPDATE shop.keyed SET id = 2", "DELETE FROM shop.keyed",
		"UPDATE shop.whole SET a = 2", "DELETE FROM shop.whole",
		"UPDATE shop.indexed SET code = 'b'", "UPDATE shop.indexed SET id = 9", "DELETE FROM shop.indexed",
		"UPDATE shop.parted SET day = '2025-01-01'", "TRUNCATE shop.parted",
		`UPDATE "Odd schema"."ta ble" SET id = 3`, "INSERT INTO shop.none VALUES (1)", "INSERT INTO public.other VALUES (1)",
		"ALTER TABLE shop.news ADD COLUMN more text DEFAULT 'x'", "INSERT INTO shop.news VALUES (8, 'y')",
	)
	r.level()
	x := strings.Repeat("x", 3000)
	for topic, want := range map[string][]string{
		"carbon.shop.keyed":        {"r (1,one," + x + ")", "u (1,two,unchanged)", "u (1,-,-)(2,two,unchanged)", "d (2,-,-)"},
		"carbon.shop.whole":        {"r (1," + x + ")", "u (1," + x + ")(2,unchanged)", "d (2," + x + ")"},
		"carbon.shop.indexed":      {"r (1,a)", "u (-,a)(1,b)", "u (9,b)", "d (-,b)"},
		"carbon.shop.parted":       {"r (1,2024-01-01)", "u (1,2024-01-01)(1,2025-01-01)", "t"},
		"carbon.Odd_schema.ta_ble": {"r (1)", "u (1)(3)"},
		"carbon.shop.none":         nil,
		"carbon.public.other":      nil,
		"carbon.shop.news":         {"r (7)", "c (8,y)"},
	} {
		if got := sink.topic(topic); !slices.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", topic, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	for topic, want := range map[string]string{"keyed": "[id]", "whole": "[]", "indexed": "[code]", "parted": "[id day]"} {
		if got := fmt.Sprint(keyOf(sink.relation("carbon.shop." + topic))); got != want {
			t.Errorf("the key of %s is %s, not %s", topic, got, want)
		}
	}
	findings, err := schema.Preflight(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	told := ""
	for _, f := range findings {
		told += fmt.Sprintln(f.OK, f.Detail, f.Repair)
	}
	for _, want := range []string{
		"true table shop.keyed is kept as topic carbon.shop.keyed", "carbon.shop.whole, whose records have no key",
		"false table shop.none has no primary key and no replica identity", "does not show column v",
	} {
		if !strings.Contains(told, want) {
			t.Errorf("nothing says %q in\n%s", want, told)
		}
	}
	sink.sameAsSQL(t, url)
}

// TestMaskedKey leaves a table out whose key a mask would hide, and refuses masks that can hide nothing.
func TestMaskedKey(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	pgtest.Exec(t, url, "CREATE SCHEMA shop", "CREATE TABLE shop.keyed (id int PRIMARY KEY, name text)", "INSERT INTO shop.keyed VALUES (1, 'one')")
	sink, opt := newSink(), options(url)
	opt.Tables, opt.Masks = []string{"shop.*"}, map[string]string{"shop.keyed.id": "null"}
	r := run(t, sink, opt)
	r.level()
	pgtest.Exec(t, url, "INSERT INTO shop.keyed VALUES (2, 'two')")
	r.level()
	if got := sink.topic("carbon.shop.keyed"); got != nil {
		t.Errorf("rows without their key are kept: %v", got)
	}
	if told := fmt.Sprint(r.Status().Warnings); !strings.Contains(told, "postgres.masks hides column id of shop.keyed, which is part of its key") {
		t.Errorf("the warnings are %s", told)
	}
	for mask, want := range map[string]string{
		"public.verra.country": "is a table of a view", "public.other.name": "postgres.tables does not name public.other", "shop.keyed.name": "",
	} {
		opt.Masks = map[string]string{mask: "last4"}
		if err := opt.Validate(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", mask, err, want)
		}
	}
}

package replicate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"carbond/replicate"
	"carbond/replicate/pgerr"
	"carbond/replicate/pgtest"
	"carbond/replicate/schema"
	"carbond/store/change"
)

// TestDomains: copy and stream name the type that a domain stands for, also of
// one that is made while the stream runs.
func TestDomains(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	pgtest.Exec(t, url,
		"CREATE DOMAIN short AS char(8)", "CREATE DOMAIN shorter AS short CHECK (value <> '')", "CREATE DOMAIN amount AS real", "CREATE TYPE mood AS ENUM ('ok')",
		"CREATE TABLE verra (project_id shorter PRIMARY KEY, project_name text, project_link text, project_summary text, registry_status text, country text, vintage information_schema.cardinal_number, supply amount, updated_at timestamptz, m mood)",
		"INSERT INTO verra (project_id) VALUES ('copied')")
	r := run(t, newSink(), options(url))
	r.level()
	types := func(op change.Op) map[string]uint32 {
		out := map[string]uint32{}
		for _, txn := range r.sink.transactions() {
			for _, c := range txn.Changes {
				if c.Op == op && c.Relation.Name == change.Verra {
					for _, col := range c.Relation.Columns {
						out[col.Name] = col.Type
					}
				}
			}
		}
		return out
	}
	check := func(op change.Op, want map[string]uint32) {
		t.Helper()
		got := types(op)
		for name, oid := range want {
			if got[name] != oid {
				t.Errorf("%s: column %s is of type %d, want %d", op, name, got[name], oid)
			}
		}
		if got["m"] < 10000 {
			t.Errorf("%s: an enum became %d", op, got["m"])
		}
	}
	want := map[string]uint32{"project_id": change.OIDBPChar, "vintage": change.OIDInt4, "supply": change.OIDFloat4, "country": change.OIDText}
	check(change.Read, want)
	pgtest.Exec(t, url, "INSERT INTO verra (project_id) VALUES ('streamed')")
	r.level()
	check(change.Create, want)
	pgtest.Exec(t, url, "CREATE DOMAIN part AS amount", "BEGIN; ALTER TABLE verra ADD more part; UPDATE verra SET more = 1; COMMIT")
	r.level()
	want["more"] = change.OIDFloat4
	check(change.Update, want)
}

// TestTextWithoutUTF8 has texts that the server cannot convert. It ends the
// stream at each of them for ever, so that it is a gap: named with table, column
// and row, and healed by a copy once the row is gone.
func TestTextWithoutUTF8(t *testing.T) {
	c := pgtest.Shared(t)
	if c.External() {
		t.Skip("creates databases of other encodings")
	}
	for encoding, bad := range map[string]string{"WIN1252": `\x63616681`, "SQL_ASCII": `\xe9`} {
		for _, action := range []replicate.GapAction{replicate.GapStop, replicate.GapResnapshot} {
			t.Run(encoding+" "+string(action), func(t *testing.T) {
				admin := c.Database(t)
				name := strings.ToLower(fmt.Sprintf("enc_%s_%s", encoding, action))
				pgtest.Exec(t, admin, "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING '"+encoding+"' LC_COLLATE 'C' LC_CTYPE 'C'")
				url := c.URL(name)
				opt := options(url)
				opt.OnGap = action
				t.Cleanup(func() {
					dropSlots(t, admin, "database = '"+name+"'")
					pgtest.Exec(t, admin, "DROP DATABASE "+name)
				})
				r := run(t, newSink(), opt)
				r.level()
				pgtest.Exec(t, url, "INSERT INTO verra (project_id) VALUES ('fine')",
					"INSERT INTO news (guid, title) VALUES ('it''s', convert_from('"+bad+"', '"+encoding+"'))")
				s := r.trouble(pgerr.KindUndecodable)
				for _, says := range []string{"column title of public.news", "correct or delete that row"} {
					if !strings.Contains(s.Reason, says) {
						t.Errorf("the reason does not say %q: %s", says, s.Reason)
					}
				}
				if !strings.Contains(s.Reason, `'it''s'`) {
					t.Errorf("the reason does not name the row: %s", s.Reason)
				}
				pgtest.Exec(t, url, "DELETE FROM news", "INSERT INTO news (guid) VALUES ('after')")
				if action == replicate.GapStop {
					r.stop()
					opt.OnGap = replicate.GapResnapshot
					r = run(t, r.sink, opt)
				}
				r.level()
				r.sink.sameAsSQL(t, url+"&client_encoding=UTF8")
			})
		}
	}
}

// TestColumnFindings: what the views cannot answer as SQL does is named, and the
// advice takes the finding away.
func TestColumnFindings(t *testing.T) {
	for name, tt := range map[string]struct {
		breaks []string
		says   string // "": nothing is found
		fault  bool   // not a warning
		mends  []string
	}{
		"money":             {breaks: []string{"ALTER TABLE finance ALTER price TYPE money USING price::numeric::money"}, says: "column price of public.finance is money"},
		"a domain of money": {breaks: []string{"CREATE DOMAIN cash AS money", "ALTER TABLE finance ALTER price TYPE cash USING price::numeric::cash"}, says: "column price of public.finance is public.cash"},
		"oid":               {breaks: []string{"ALTER TABLE verra ALTER vintage TYPE oid"}, says: "column vintage of public.verra is oid"},
		"time":              {breaks: []string{"ALTER TABLE news ALTER published_at TYPE time"}, says: "column published_at of public.news is time"},
		"a fine domain":     {breaks: []string{"CREATE DOMAIN amount AS real CHECK (value >= 0)", "ALTER TABLE finance ALTER price TYPE amount"}},
		"wide, but fits":    {breaks: []string{"ALTER TABLE verra ALTER vintage TYPE bigint", "INSERT INTO verra (project_id, vintage) VALUES ('a', 2147483647)"}},
		"too large": {
			breaks: []string{"ALTER TABLE verra ALTER vintage TYPE bigint", "INSERT INTO verra (project_id, vintage) VALUES ('a', 2147483648)"}, says: "1 rows of public.verra have a vintage that is no int",
			mends: []string{"DELETE FROM verra"},
		},
		"NaN": {
			breaks: []string{"ALTER TABLE finance ALTER volume TYPE float8", "INSERT INTO finance (ticker, timestamp, volume) VALUES ('a', 1, 'NaN')"}, says: "1 rows of public.finance have a volume that is no bigint",
			mends: []string{"DELETE FROM finance"},
		},
		"a fraction in a key": {
			breaks: []string{"ALTER TABLE finance ALTER timestamp TYPE numeric", "INSERT INTO finance (ticker, timestamp) VALUES ('a', 5.5), ('a', 6.00)"}, says: "1 rows of public.finance have a timestamp that is no bigint", fault: true,
			mends: []string{"DELETE FROM finance WHERE timestamp = 5.5"},
		},
		"collation": {
			breaks: []string{"CREATE COLLATION folds (provider = icu, locale = 'und-u-ks-level2', deterministic = false)", "ALTER TABLE verra ALTER country TYPE text COLLATE folds"},
			says:   "column country of public.verra is text of a nondeterministic collation",
		},
		"collation of a title":   {breaks: []string{"CREATE COLLATION folds (provider = icu, locale = 'und-u-ks-level2', deterministic = false)", "ALTER TABLE news ALTER title TYPE text COLLATE folds"}},
		"rows without a key":     {breaks: []string{"ALTER TABLE verra DROP CONSTRAINT verra_pkey", "ALTER TABLE verra REPLICA IDENTITY FULL"}, says: "rows of public.verra can share a key (project_id) or lack it"},
		"NULL beside uniqueness": {breaks: []string{"ALTER TABLE verra DROP CONSTRAINT verra_pkey", "ALTER TABLE verra ALTER project_id DROP NOT NULL", "CREATE UNIQUE INDEX ON verra (project_id)", "ALTER TABLE verra REPLICA IDENTITY FULL"}, says: "rows of public.verra can share a key (project_id) or lack it"},
		"unique for some":        {breaks: []string{"ALTER TABLE verra DROP CONSTRAINT verra_pkey", "CREATE UNIQUE INDEX ON verra (project_id) WHERE country = 'x'", "ALTER TABLE verra REPLICA IDENTITY FULL"}, says: "rows of public.verra can share a key (project_id) or lack it"},
		"a unique index will do": {breaks: []string{"ALTER TABLE verra DROP CONSTRAINT verra_pkey", "CREATE UNIQUE INDEX ON verra (project_id) INCLUDE (country)", "ALTER TABLE verra REPLICA IDENTITY FULL"}},
		"deferrable": {
			breaks: []string{"ALTER TABLE verra DROP CONSTRAINT verra_pkey", "ALTER TABLE verra ADD PRIMARY KEY (project_id) DEFERRABLE"}, says: "UPDATE and DELETE of public.verra would not carry its key", fault: true,
		},
		"another key": {
			breaks: []string{"ALTER TABLE verra DROP CONSTRAINT verra_pkey", "ALTER TABLE verra ADD PRIMARY KEY (id)"}, says: "UPDATE and DELETE of public.verra would not carry its key", fault: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Shared(t).Database(t)
			opt := options(url)
			if err := schema.Migrate(t.Context(), opt); err != nil {
				t.Fatal(err)
			}
			pgtest.Exec(t, url, tt.breaks...)
			bad := trouble(t, opt)
			if tt.says == "" {
				if len(bad) > 0 {
					t.Fatalf("found %+v", bad)
				}
				return
			}
			if len(bad) != 1 || !strings.Contains(bad[0].Detail, tt.says) || bad[0].Warning == tt.fault || bad[0].Repair == "" {
				t.Fatalf("found %+v, want %q", bad, tt.says)
			}
			pgtest.Exec(t, url, append(slices.Clone(bad[0].SQL), tt.mends...)...)
			if bad := trouble(t, opt); len(bad) > 0 {
				t.Fatalf("after the remedy: %+v", bad)
			}
		})
	}
}

// trouble returns the findings that are not fine.
func trouble(t *testing.T, opt replicate.Options) []schema.Finding {
	t.Helper()
	all, err := schema.Preflight(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(f schema.Finding) bool { return f.OK })
}

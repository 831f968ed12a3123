package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"carbond/store/change"
)

// compareHTTP compares the lists of the HTTP API with SQL, NULL included, and the totals
// with what adding up in SQL gives. Nobody writes meanwhile.
func compareHTTP(ctx context.Context, t testing.TB, conn *pgx.Conn, d *daemon, lsn change.LSN) {
	t.Helper()
	for _, v := range viewSpecs() {
		want, err := nullableRows(ctx, conn, v.sql, v.kinds)
		if err != nil {
			t.Fatalf("%s: %v", v.sql, err)
		}
		b, err := d.get(ctx, "/v1/"+v.name+"?format=ndjson&min_lsn="+url.QueryEscape(lsn.String()))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range bytes.Lines(b) {
			row, err := jsonRow(line, v.kinds)
			if err != nil {
				t.Fatalf("%s: %s: %v", v.name, line, err)
			}
			got = append(got, row)
		}
		if d := firstDifference(got, want); d != "" {
			t.Fatalf("%s by HTTP: %s", v.name, d)
		}
	}
	for by, column := range map[string]string{"all": "''", "country": "COALESCE(country, '')", "status": "COALESCE(registry_status, '')", "vintage": "COALESCE(vintage::text, '')"} {
		compareTotals(ctx, t, conn, d, by, column)
	}
}

// compareTotals: counts equal, sums within 1e-9 of what they are made of.
func compareTotals(ctx context.Context, t testing.TB, conn *pgx.Conn, d *daemon, by, column string) {
	t.Helper()
	const finite = "FILTER (WHERE supply NOT IN ('NaN', 'Infinity', '-Infinity'))"
	rows, err := conn.Query(ctx, "SELECT "+column+" AS g, count(*), count(*) FILTER (WHERE supply IS NULL), count(*) FILTER (WHERE supply = 'NaN'), "+
		"count(*) FILTER (WHERE supply IN ('Infinity', '-Infinity')), COALESCE(sum(supply::text::numeric) "+finite+", 0)::text, COALESCE(sum(abs(supply)::text::numeric) "+finite+", 0)::text "+
		`FROM (SELECT country, registry_status, vintage::int4, supply::float8 FROM verra) v GROUP BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	type total struct {
		Group                                              string
		Projects, SupplyUnknown, SupplyNaN, SupplyInfinite int64
		Supply                                             json.RawMessage
	}
	b, err := d.get(ctx, "/v1/totals?by="+by)
	if err != nil {
		t.Fatal(err)
	}
	var reply struct{ Items []total }
	if err := json.Unmarshal(b, &reply); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	got := map[string]total{}
	for _, i := range reply.Items {
		got[i.Group] = i
	}
	for rows.Next() {
		var want total
		var sum, size string
		if err := rows.Scan(&want.Group, &want.Projects, &want.SupplyUnknown, &want.SupplyNaN, &want.SupplyInfinite, &sum, &size); err != nil {
			t.Fatal(err)
		}
		g := got[want.Group]
		delete(got, want.Group)
		have, _ := strconv.ParseFloat(strings.Trim(string(g.Supply), `"`), 64)
		exact, _ := strconv.ParseFloat(sum, 64)
		room, _ := strconv.ParseFloat(size, 64)
		g.Supply = nil
		if fmt.Sprint(g) != fmt.Sprint(want) || have != exact && !(math.Abs(have-exact) <= 1e-9*room) {
			t.Fatalf("totals by %s of %q: %+v with supply %v, want %+v with %v", by, want.Group, g, have, want, exact)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if len(got) > 0 {
		t.Fatalf("totals by %s: no such groups: %+v", by, got)
	}
}

// nullableRows is sqlRows of a whole view, with null for NULL.
func nullableRows(ctx context.Context, conn *pgx.Conn, sql, kinds string) (out []string, err error) {
	rows, err := conn.Query(ctx, sql, "")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var cells []string
		for i, v := range rows.RawValues() {
			if v == nil {
				cells = append(cells, "null")
			} else {
				cells = append(cells, strconv.Quote(canonical(kinds[i], v)))
			}
		}
		out = append(out, strings.Join(cells, " "))
	}
	return out, rows.Err()
}

// jsonRow gives an object the form of nullableRows: its first values, in order.
func jsonRow(line []byte, kinds string) (string, error) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	if _, err := dec.Token(); err != nil {
		return "", err
	}
	var cells []string
	for i := 0; dec.More() && i < len(kinds); i++ {
		if _, err := dec.Token(); err != nil { // the name
			return "", err
		}
		v, err := dec.Token()
		if err != nil {
			return "", err
		}
		switch x := v.(type) {
		case nil:
			cells = append(cells, "null")
			continue
		case bool:
			v = map[bool]string{true: "t", false: "f"}[x]
		}
		cells = append(cells, strconv.Quote(canonical(kinds[i], []byte(fmt.Sprint(v)))))
	}
	return strings.Join(cells, " "), nil
}

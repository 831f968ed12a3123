package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// The values that the writers draw from: few keys, so that they collide, and
// every value that one may get wrong.
var (
	projectIDs = append(series("VCS-%d", 40), "", "Ä", "日本", "a b", "A", "A\x01", "A\x7f", "A\u00ff", "Z", "vcs-1", "🌳")
	countries  = []string{"Brazil", "Kenya", "brazil", "Côte d'Ivoire", "ブラジル", "Br", "Brazil ", ""}
	tickers    = []string{"KRBN", "GRN", "NEE", "A", "A\x01", "ä", "krbn", ""}
	outlets    = []string{"Reuters", "BBC", "Le Monde é", "reuters", ""}
	guids      = append(series("guid-%d", 260), "", "Ω", "guid-1 ", "GUID-1", "\x01")
	markIDs    = append(series("c%d", 70), "", "ÿ", "C1", "c1\x02")
	currencies = []string{"USD", "EUR", "GBp", "ZAc", ""}
	truths     = []string{"t", "f"}
	registries = []string{"Verra", "Gold Standard", "verra", ""}
	dates      = []string{"2015-01-31", "infinity", "-infinity", "0044-03-15 BC", "10000-01-01", "1969-12-31"}
	statuses   = []string{"ACTIVE", "RETIRED", "UNDER_VALIDATION", "anything"}
	floats     = []string{"0", "-0", "1.5", "NaN", "Infinity", "-Infinity", "1e308", "5e-324", "0.1", "123456789.123456789", "-7", "1e15", "1e-5"}
	times      = []string{
		"2024-05-01 10:00:00+00", "2024-05-01 10:00:00.5+00", "2024-05-01 10:00:00.000001+00", "2024-05-01 12:00:00+02",
		"2023-01-01 00:00:00+00", "2025-12-31 23:59:59.999999+00", "infinity", "-infinity", "0044-03-15 00:00:00+00 BC",
		"294276-12-31 23:59:59.999999+00", "1969-12-31 23:59:59.5+00", "0001-01-01 00:00:00+00", "9999-12-31 23:59:59+00", "10000-01-01 00:00:00+00",
	}
	ints    = []string{"0", "1", "-1", "2020", "2147483647", "-2147483648"}
	bigints = []string{"0", "1", "-1", "100", "9223372036854775807", "-9223372036854775808", "1700000000"}
)

func series(format string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(format, i)
	}
	return out
}

// random draws values; it belongs to one goroutine.
type random struct{ *rand.Rand }

func (r random) one(list []string) string { return list[r.IntN(len(list))] }

// maybe is NULL now and then.
func (r random) maybe(v string) any {
	if r.IntN(8) == 0 {
		return nil
	}
	return v
}

func (r random) float() any {
	if r.IntN(2) == 0 {
		return r.maybe(strconv.FormatFloat(r.NormFloat64()*1000, 'g', -1, 64))
	}
	return r.maybe(r.one(floats))
}

// time is often one of few, so that there are ties.
func (r random) time() any {
	if r.IntN(3) == 0 {
		return r.maybe(fmt.Sprintf("2024-%02d-%02d %02d:%02d:%02d.%06d+00", 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1e6)))
	}
	return r.maybe(r.one(times))
}

// text is short, or long enough to be stored outside the row.
func (r random) text() any {
	switch r.IntN(10) {
	case 0:
		return ""
	case 1:
		return "tab\tnewline\n quote' back\\slash \"{json}\" ünïcode 日本 🌍"
	case 2, 3:
		var b strings.Builder
		for want := 2500 + r.IntN(8000); b.Len() < want; {
			fmt.Fprintf(&b, "%016x", r.Uint64())
		}
		return b.String()
	}
	return r.maybe(fmt.Sprintf("text %d", r.IntN(1000)))
}

// column is one column with a value for it.
type column struct {
	name, typ string
	value     any // string or nil
}

// columns draws the columns of a row that are not its key.
func (r random) columns(table string) []column {
	switch table {
	case "verra":
		return []column{
			{"project_name", "text", r.text()},
			{"project_link", "text", r.maybe("https://example.org/" + strconv.Itoa(r.IntN(99)))},
			{"project_summary", "text", r.text()},
			{"registry_status", "text", r.maybe(r.one(statuses))},
			{"country", "text", r.maybe(r.one(countries))},
			{"vintage", "int", r.maybe(r.one(ints))},
			{"supply", "float8", r.float()},
			{"updated_at", "timestamptz", r.time()},
			{"registry", "text", r.maybe(r.one(registries))},
			{"methodology", "text", r.text()},
			{"project_type", "text", r.maybe(r.one(statuses))},
			{"region", "text", r.maybe(r.one(countries))},
			{"proponent", "text", r.text()},
			{"crediting_start", "date", r.maybe(r.one(dates))},
			{"crediting_end", "date", r.maybe(r.one(dates))},
			{"annual_estimate", "float8", r.float()},
			{"latitude", "float8", r.float()},
			{"longitude", "float8", r.float()},
			{"first_issued", "date", r.maybe(r.one(dates))},
		}
	case "carbonmark":
		return []column{
			{"project_id", "text", r.maybe(r.one(projectIDs))},
			{"project_name", "text", r.text()},
			{"vintage", "int", r.maybe(r.one(ints))},
			{"amount", "float8", r.float()},
			{"updated_at", "timestamptz", r.time()},
			{"price_usd", "float8", r.float()},
			{"listed", "float8", r.float()},
		}
	case "finance":
		return []column{
			{"price", "float8", r.float()},
			{"volume", "bigint", r.maybe(r.one(bigints))},
			{"market_cap", "float8", r.float()},
			{"change_percent", "float8", r.float()},
			{"currency", "text", r.maybe(r.one(currencies))},
		}
	case "vintages":
		return []column{
			{"issued", "float8", r.float()},
			{"retired", "float8", r.float()},
			{"cancelled", "float8", r.float()},
			{"available", "float8", r.float()},
			{"updated_at", "timestamptz", r.time()},
		}
	}
	return []column{
		{"title", "text", r.text()},
		{"link", "text", r.maybe("https://example.org/n")},
		{"published", "text", r.maybe("Wed, 01 May 2024 10:00:00 GMT")},
		{"published_at", "timestamptz", r.time()},
		{"source", "text", r.maybe(r.one(outlets))},
		{"summary", "text", r.text()},
		{"published_estimated", "bool", r.maybe(r.one(truths))},
	}
}

// key draws a key.
func (r random) key(table string) []column {
	switch table {
	case "verra":
		return []column{{"project_id", "text", r.one(projectIDs)}}
	case "carbonmark":
		return []column{{"id", "text", r.one(markIDs)}}
	case "finance":
		at := strconv.Itoa(1_700_000_000 + r.IntN(60) - 20)
		if r.IntN(6) == 0 {
			at = r.one(bigints)
		}
		return []column{{"ticker", "text", r.one(tickers)}, {"timestamp", "bigint", at}}
	case "vintages":
		return []column{{"project_id", "text", r.one(projectIDs)}, {"vintage", "int", r.one(ints)}}
	}
	return []column{{"guid", "text", r.one(guids)}}
}

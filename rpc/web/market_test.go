package web_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"carbond/store/change"
)

// TestTotals: the totals of groups, now and as of then.
func TestTotals(t *testing.T) {
	w := newWorld(t, setup{})
	w.market(t)
	then := w.Position().Offset
	for path, want := range map[string]string{
		"/v1/totals?format=csv": "group,projects,supply,supply_unknown,supply_nan,supply_infinite,news\r\n\"\",1,0,1,0,0,0\r\nBrazil,2,70,0,1,0,0\r\nIndonesia,1,1500.5,0,0,0,0\r\n",
		"/v1/totals?by=all":     `{"items":[{"group":"","projects":4,"supply":1570.5,"supplyUnknown":1,"supplyNan":1,"supplyInfinite":0,"news":0}]}` + "\n",
		"/v1/totals?by=source&format=ndjson": `{"group":"BBC","projects":0,"supply":0,"supplyUnknown":0,"supplyNan":0,"supplyInfinite":0,"news":1}` + "\n" +
			`{"group":"Reuters","projects":0,"supply":0,"supplyUnknown":0,"supplyNan":0,"supplyInfinite":0,"news":1}` + "\n",
	} {
		if a := w.get(t, path); a.body != want {
			t.Errorf("%s: %d\n got %q\nwant %q", path, a.status, a.body, want)
		}
	}
	w.put(t, change.Verra, "project_id supply", row("VCS-1", "1"))
	if a := w.get(t, fmt.Sprint("/v1/totals?by=all&as_of=", then)); !strings.Contains(a.body, `"supply":1570.5`) {
		t.Errorf("as of then: %s", a.body)
	}
	if a := w.get(t, "/v1/totals?by=all"); !strings.Contains(a.body, `"supply":71,`) {
		t.Errorf("now: %s", a.body)
	}
	if a := w.get(t, "/v1/totals?by=colour"); a.status != 400 {
		t.Errorf("by colour: %d %s", a.status, a.body)
	}
}

// TestPriceHistory: rows, buckets, bounds and pages of a ticker.
func TestPriceHistory(t *testing.T) {
	w := newWorld(t, setup{})
	var rows [][]change.Value
	for i, price := range []string{"10", "12", "9", "NaN", "11", "20"} {
		at := 1_700_000_000 + i*25 // 1,700,000,000 is 20 s into a minute
		if i == 5 {
			at = 1_700_100_000
		}
		rows = append(rows, row("T", price, fmt.Sprint(i), fmt.Sprint(at)))
	}
	rows = append(rows, row("TT", "1", "1", "1700000000"))
	w.put(t, change.Finance, "ticker price volume timestamp", rows...)
	const head = "timestamp,open,high,low,close,volume,count\r\n"
	for query, want := range map[string]string{
		"bucket=raw&to=1700000030":      "1700000000,10,10,10,10,0,1\r\n1700000025,12,12,12,12,1,1\r\n",
		"bucket=1m&to=1700000125":       "1699999980,10,12,10,12,1,2\r\n1700000040,9,9,9,NaN,3,2\r\n1700000100,11,11,11,11,4,1\r\n",
		"bucket=1d":                     "1699920000,10,12,9,11,4,5\r\n1700092800,20,20,20,20,5,1\r\n",
		"from=2023-11-15T12:00:00Z":     "1700100000,20,20,20,20,5,1\r\n",
		"from=1700000025&to=1700000025": "",
	} {
		if a := w.get(t, "/v1/finance/T/history?format=csv&"+query); a.body != head+want {
			t.Errorf("%s: %d\n got %q\nwant %q", query, a.status, a.body, head+want)
		}
		// The same by pages of one.
		paged, next := "", "/v1/finance/T/history?format=csv&page_size=1&"+query
		for next != "" {
			a := w.get(t, next)
			paged += strings.TrimPrefix(a.body, head)
			next, _, _ = strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
		}
		if paged != want {
			t.Errorf("%s by pages:\n got %q\nwant %q", query, paged, want)
		}
	}
}

// TestNewsArchive: all news by pages, beyond the newest 100, while others come.
func TestNewsArchive(t *testing.T) {
	w := newWorld(t, setup{})
	var rows [][]change.Value
	for i := range 250 {
		at := fmt.Sprintf("2023-01-%02d %02d:00:00+00", 1+i/24, i%24)
		if i%50 == 7 {
			at = "NULL"
		}
		rows = append(rows, row(fmt.Sprintf("g%03d", i), fmt.Sprint("story ", i), []string{"BBC", "Reuters"}[i%2], at))
	}
	w.put(t, change.News, "guid title source published_at", rows...)
	read := func(query string, meanwhile bool) (guids []string) {
		next := "/v1/news?" + query
		for next != "" {
			a := w.get(t, next)
			var page struct{ Items []struct{ GUID string } }
			if err := json.Unmarshal([]byte(a.body), &page); err != nil {
				t.Fatalf("%s: %v", a.body, err)
			}
			for _, i := range page.Items {
				guids = append(guids, i.GUID)
			}
			if meanwhile {
				w.put(t, change.News, "guid title source published_at", row("new"+fmt.Sprint(len(guids)), "x", "BBC", "2024-01-01 00:00:00+00"))
			}
			next, _, _ = strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
		}
		return guids
	}
	all := read("", true)
	if len(all) != 250 || all[0] != "g249" || all[244] != "g000" {
		t.Errorf("%d items, from %s", len(all), all[0])
	}
	for query, want := range map[string]int{
		"page_size=7&source=Reuters": 125, "since=2023-01-02T00:00:00Z&until=2023-01-03T00:00:00Z": 24, "q=STORY+24&source=BBC&until=2023-12-01T00:00:00Z": 8, "until=2023-01-01T01:00:00Z": 1,
	} {
		if got := read(query, false); len(got) != want {
			t.Errorf("%s: %d items %v, want %d", query, len(got), got, want)
		}
	}
}

// TestProjectHistory: the changes of a project and of the rows that name it.
func TestProjectHistory(t *testing.T) {
	w := newWorld(t, setup{})
	for i := range 5 {
		w.put(t, change.Verra, "project_id supply", row("P1", fmt.Sprint(i)), row("P2", fmt.Sprint(i)))
	}
	w.put(t, change.Carbonmark, "id project_id project_name", row("c1", "P1", "Name"))
	w.put(t, change.Carbonmark, "id project_id project_name", row("c1", "P2", "Name"))
	if _, err := w.Write(t.Context(), []change.Edit{{Table: change.Verra, Columns: []string{"project_id"}, Delete: []change.Row{change.NewRow(change.T("P1"))}}}); err != nil {
		t.Fatal(err)
	}
	var ops []string
	next := "/v1/projects/P1/history?page_size=3"
	for next != "" {
		a := w.get(t, next)
		var page struct {
			Items []struct {
				Offset        uint64
				Op, Topic     string
				Before, After map[string]any
			}
		}
		if err := json.Unmarshal([]byte(a.body), &page); err != nil {
			t.Fatalf("%s: %v", a.body, err)
		}
		for _, i := range page.Items {
			ops = append(ops, fmt.Sprintf("%s %v>%v", i.Op, i.Before["supply"], i.After["supply"]))
			if i.Topic == change.TopicName(change.Carbonmark) {
				ops[len(ops)-1] = fmt.Sprintf("%s %v>%v", i.Op, i.Before["project_id"], i.After["project_id"])
			}
		}
		next, _, _ = strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
	}
	if got, want := strings.Join(ops, ", "), "c <nil>>0, u 0>1, u 1>2, u 2>3, u 3>4, c <nil>>P1, u P1>P2, d 4><nil>"; got != want {
		t.Errorf("history\n got %s\nwant %s", got, want)
	}
	w.put(t, change.Verra, "project_id supply", row("watch", "1")) // the address without the slash is the stream
	for _, path := range []string{"/v1/projects/watch/", "/v1/projects/watch/?format=csv", "/v1/projects/watch/history", "/v1/projects/P2/"} {
		if a := w.get(t, path); a.status != 200 || strings.Contains(a.header.Get("Content-Type"), "event-stream") || !strings.Contains(a.body, strings.Split(path, "/")[3]) {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if a := w.get(t, "/v1/projects//"); a.status == 200 {
		t.Errorf("no id: %d %s", a.status, a.body)
	}
	if a := w.get(t, "/v1/projects/"+url.PathEscape("no such")+"/history"); a.status != 200 || !strings.HasPrefix(a.body, `{"items":[],`) {
		t.Errorf("no such project: %d %s", a.status, a.body)
	}
}

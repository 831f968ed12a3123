package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// TestProjectPriceHistory follows a price from the marketplace to the API: each value
// that it had is in the history of the project, and the last one is the project's.
func TestProjectPriceHistory(t *testing.T) {
	prices := []string{"5.25", "5", "0", "6.75"} // 0 is none
	var at atomic.Int32
	market := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/prices") {
			fmt.Fprint(w, "[]")
			return
		}
		fmt.Fprintf(w, `{"items":[{"key":"GS-7","name":"Invented","country":"Kenya","registry":"GS","price":%q,"vintages":["2021"],"stats":{"totalSupply":10}}],"itemsCount":1}`, prices[at.Load()])
	}))
	defer market.Close()
	p := start(t, append(embedded(t), "CARBOND_FEEDS_ENABLED=carbonmark", "CARBOND_FEEDS_INTERVAL=200ms", "CARBOND_FEEDS_CARBONMARK_URL="+market.URL), "serve")
	for i, price := range prices {
		at.Store(int32(i))
		want := `"priceUsd":` + price + ","
		if price == "0" {
			want = `"priceUsd":null,`
		}
		p.until("a price of "+price, func() bool {
			_, body := p.get("/v1/projects/GS-7")
			return strings.Contains(body, want) && strings.Contains(body, `"registry":"Gold Standard"`)
		})
	}
	_, body := p.get("/v1/projects/GS-7/history")
	var history struct {
		Items []struct {
			Topic string
			After map[string]any
		}
	}
	if err := json.Unmarshal([]byte(body), &history); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	var got []string
	for _, c := range history.Items {
		if c.Topic == "carbon.public.carbonmark" {
			got = append(got, fmt.Sprint(c.After["price_usd"]))
		}
	}
	if want := []string{"5.25", "5", "<nil>", "6.75"}; !slices.Equal(got, want) {
		t.Errorf("prices %q, want %q: %s", got, want, body)
	}
}

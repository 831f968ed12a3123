package finance

import (
	"fmt"
	"testing"
	"time"
)

// Hours and holidays of an exchange are what its answers say.
func TestSessions(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse("2006-01-02 15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	answer := func(start, end string) map[string]Session {
		body := fmt.Sprintf(`{"spark":{"result":[{"symbol":"ORSTED.CO","response":[{"meta":{"currency":"DKK","exchangeName":"CPH","exchangeTimezoneName":"Europe/Copenhagen",
			"regularMarketPrice":310,"regularMarketTime":%d,"currentTradingPeriod":{"regular":{"start":%d,"end":%d}}}}]}]}}`, at(start).Unix(), at(start).Unix(), at(end).Unix())
		res, err := ParseSpark([]byte(body), "", Ask{Symbols: []string{"ORSTED.CO"}, Now: at(end)})
		if err != nil || len(res.Rows) != 1 || res.Rows[0].Currency != "DKK" {
			t.Fatalf("%+v, %v", res, err)
		}
		return res.Sessions
	}
	var x exchanges
	x.take(answer("2026-11-23 08:00", "2026-11-23 16:00"))
	only := []string{"ORSTED.CO"}
	for s, want := range map[string]bool{"2026-11-23 07:59": false, "2026-11-23 08:00": true, "2026-11-23 15:59": true, "2026-11-23 16:30": false, "2026-11-24 09:00": true} {
		if open, _ := x.open(only, at(s)); open != want {
			t.Errorf("open at %s: %v", s, open)
		}
	}
	if _, next := x.open(only, at("2026-11-23 17:00")); !next.Equal(at("2026-11-24 08:00")) {
		t.Errorf("opens %v", next)
	}
	if open, _ := x.open([]string{"ORSTED.CO", "KRBN"}, at("2026-11-23 20:00")); !open {
		t.Error("New York is open")
	}
	// A holiday of a week: the exchange had no session, so nothing is silent.
	x.take(answer("2026-12-07 08:00", "2026-12-07 16:00"))
	if x.silent("ORSTED.CO", at("2026-11-23 16:00"), at("2026-12-07 12:00")) {
		t.Error("called delisted over a holiday")
	}
	for day := 8; day <= 12; day++ {
		x.take(answer(fmt.Sprintf("2026-12-%02d 08:00", day), fmt.Sprintf("2026-12-%02d 16:00", day)))
	}
	if !x.silent("ORSTED.CO", at("2026-11-23 16:00"), at("2026-12-12 17:00")) {
		t.Error("six sessions without a price are not noticed")
	}
}

// Prices that are all from the future are the fault of this machine's clock.
func TestClockIsNamed(t *testing.T) {
	now := time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)
	for ahead, want := range map[time.Duration]bool{15 * time.Minute: true, 50 * time.Minute: true, time.Minute: false} {
		body := fmt.Sprintf(`{"spark":{"result":[{"symbol":"KRBN","response":[{"meta":{"regularMarketPrice":30,"regularMarketTime":%d}}]}]}}`, now.Add(ahead).Unix())
		_, err := ParseSpark([]byte(body), "", Ask{Symbols: []string{"KRBN"}, Now: now})
		if (err != nil) != want || err != nil && err.Error() != fmt.Sprintf("parse spark: prices are ahead of this machine's clock by %s: set this machine's clock", ahead) {
			t.Errorf("%v ahead: %v", ahead, err)
		}
	}
}

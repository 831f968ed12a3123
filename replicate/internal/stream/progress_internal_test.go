package stream

// White box: the ack rule is unexported on purpose.

import (
	"testing"

	"pgregory.net/rapid"

	"carbond/store/change"
)

// TestAckRule runs random sessions against a model of what is safe: a position
// may be confirmed when every kept transaction that ends at or before it is
// durable, and it was made durable itself.
func TestAckRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			wal     = change.LSN(rapid.Uint64Range(1, 1000).Draw(t, "start"))
			durable = wal // what the sink has on disk
			p       = Progress{Durable: durable, Received: durable}
			pending []change.LSN // ends of kept transactions that the sink has not taken
			open    bool
			acked   change.LSN
		)
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			wal += change.LSN(rapid.Uint64Range(1, 50).Draw(t, "bytes"))
			switch rapid.SampledFrom([]string{"begin", "commit", "commit", "keepalive", "apply", "advance", "fail"}).Draw(t, "event") {
			case "begin":
				if !open {
					open = true
					p.Begin()
				}
			case "commit":
				if open {
					open = false
					kept := rapid.Bool().Draw(t, "kept")
					p.Commit(wal, kept)
					if kept {
						pending = append(pending, wal)
					}
				}
			case "keepalive": // may be old: the server repeats itself
				p.Keepalive(wal - change.LSN(rapid.Uint64Range(0, min(60, uint64(wal))).Draw(t, "age")))
			case "apply":
				if n := rapid.IntRange(0, len(pending)).Draw(t, "taken"); n > 0 {
					durable = max(durable, pending[n-1])
					pending = pending[n:]
					p.Persisted(durable)
				}
			case "advance":
				if lsn := p.Advanceable(); lsn > 0 {
					if open || len(pending) > 0 || lsn <= durable || lsn > wal {
						t.Fatalf("may advance to %s: open %t, pending %v, durable %s, WAL %s", lsn, open, pending, durable, wal)
					}
					durable = lsn
					p.Persisted(durable)
				}
			case "fail": // the sink reports an old position again
				p.Persisted(durable - min(durable, 5))
			}
			got := p.Confirmable()
			if got == 0 || got < acked || got != durable {
				t.Fatalf("confirms %s after %s with %s durable", got, acked, durable)
			}
			acked = got
			if s := p.Settled(); s < durable || s > wal || (open || len(pending) > 0) && s != durable {
				t.Fatalf("settled at %s: durable %s, WAL %s, open %t, pending %v", s, durable, wal, open, pending)
			}
		}
	})
}

// TestNothingIsConfirmedBeforeTheFirstCopy covers the zero position.
func TestNothingIsConfirmedBeforeTheFirstCopy(t *testing.T) {
	var p Progress
	p.Keepalive(100)
	if p.Confirmable() != 0 || p.Advanceable() != 0 {
		t.Fatalf("confirms %s, advances to %s with nothing durable", p.Confirmable(), p.Advanceable())
	}
}

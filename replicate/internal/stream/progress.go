package stream

import "carbond/store/change"

// Progress is what one streaming session knows about positions, and the rule
// that says what may be confirmed to Postgres. It is pure: events in, positions
// out, no clock and no I/O.
//
// The rule: what is confirmed is what the sink has reported as durable, and
// nothing else. An idle position (a keepalive's) is confirmed only after the
// sink has made it durable like a transaction, so that the slot can never be
// ahead of the changelog. It follows that the confirmed LSN is never above the
// durable one, never moves backwards, and is never zero on the wire.
type Progress struct {
	Durable  change.LSN // the sink's position
	Received change.LSN // end of the last transaction handed to the sink
	idle     change.LSN // the server has sent everything up to here
	Open     bool       // between BEGIN and COMMIT
	// held is the slot's position while the server has to prove that its history
	// is ours: nothing beyond it is confirmed, so that a refusal leaves the slot
	// as it was. 0 afterwards.
	Held change.LSN
}

// Begin notes the BEGIN of a transaction.
func (p *Progress) Begin() { p.Open = true }

// Commit notes the COMMIT of a transaction that ends at end. kept says whether
// anything of it goes to the sink; one of which nothing is kept is like a
// keepalive.
func (p *Progress) Commit(end change.LSN, kept bool) {
	p.Open = false
	if kept {
		p.Received = max(p.Received, end)
	} else {
		p.idle = max(p.idle, end)
	}
}

// Keepalive notes that the server says to have sent everything up to lsn. In
// the middle of a transaction that says nothing about its end: ignored.
func (p *Progress) Keepalive(lsn change.LSN) {
	if !p.Open {
		p.idle = max(p.idle, lsn)
	}
}

// Persisted notes the sink's position.
func (p *Progress) Persisted(lsn change.LSN) { p.Durable = max(p.Durable, lsn) }

// Confirmable returns the LSN to confirm as written, flushed and applied; 0
// means that nothing may be sent yet.
func (p *Progress) Confirmable() change.LSN {
	if p.Held > 0 {
		return min(p.Held, p.Durable)
	}
	return p.Durable
}

// Quiet reports whether no transaction is open and none waits for the sink.
func (p *Progress) Quiet() bool { return !p.Open && p.Received <= p.Durable }

// Advanceable returns the idle position that the sink should make durable, or 0
// when there is none or when a transaction is on its way.
func (p *Progress) Advanceable() change.LSN {
	if p.Held == 0 && p.Quiet() && p.Durable > 0 && p.idle > p.Durable {
		return p.idle
	}
	return 0
}

// Settled returns the LSN up to which everything is durable or known to be
// empty. It may be ahead of what is confirmable.
func (p *Progress) Settled() change.LSN {
	if p.Held > 0 {
		return p.Confirmable()
	}
	if p.Quiet() {
		return max(p.Durable, p.idle)
	}
	return p.Durable
}

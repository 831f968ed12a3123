package replicate

import "carbond/store/change"

// progress is what one streaming session knows about positions, and the rule
// that says what may be confirmed to Postgres. It is pure: events in, positions
// out, no clock and no I/O.
//
// The rule: what is confirmed is what the sink has reported as durable, and
// nothing else. An idle position (a keepalive's) is confirmed only after the
// sink has made it durable like a transaction, so that the slot can never be
// ahead of the changelog. It follows that the confirmed LSN is never above the
// durable one, never moves backwards, and is never zero on the wire.
type progress struct {
	durable  change.LSN // the sink's position
	received change.LSN // end of the last transaction handed to the sink
	idle     change.LSN // the server has sent everything up to here
	open     bool       // between BEGIN and COMMIT
	// held is the slot's position while the server has to prove that its history
	// is ours: nothing beyond it is confirmed, so that a refusal leaves the slot
	// as it was. 0 afterwards.
	held change.LSN
}

// begin notes the BEGIN of a transaction.
func (p *progress) begin() { p.open = true }

// commit notes the COMMIT of a transaction that ends at end. kept says whether
// anything of it goes to the sink; one of which nothing is kept is like a
// keepalive.
func (p *progress) commit(end change.LSN, kept bool) {
	p.open = false
	if kept {
		p.received = max(p.received, end)
	} else {
		p.idle = max(p.idle, end)
	}
}

// keepalive notes that the server says to have sent everything up to lsn. In
// the middle of a transaction that says nothing about its end: ignored.
func (p *progress) keepalive(lsn change.LSN) {
	if !p.open {
		p.idle = max(p.idle, lsn)
	}
}

// persisted notes the sink's position.
func (p *progress) persisted(lsn change.LSN) { p.durable = max(p.durable, lsn) }

// confirmable returns the LSN to confirm as written, flushed and applied; 0
// means that nothing may be sent yet.
func (p *progress) confirmable() change.LSN {
	if p.held > 0 {
		return min(p.held, p.durable)
	}
	return p.durable
}

// quiet reports whether no transaction is open and none waits for the sink.
func (p *progress) quiet() bool { return !p.open && p.received <= p.durable }

// advanceable returns the idle position that the sink should make durable, or 0
// when there is none or when a transaction is on its way.
func (p *progress) advanceable() change.LSN {
	if p.held == 0 && p.quiet() && p.durable > 0 && p.idle > p.durable {
		return p.idle
	}
	return 0
}

// settled returns the LSN up to which everything is durable or known to be
// empty. It may be ahead of what is confirmable.
func (p *progress) settled() change.LSN {
	if p.held > 0 {
		return p.confirmable()
	}
	if p.quiet() {
		return max(p.durable, p.idle)
	}
	return p.durable
}

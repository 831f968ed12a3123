package replicate

import (
	"slices"
	"sync"
	"time"

	"carbond/replicate/internal/stream"
	"carbond/replicate/pgerr"
	"carbond/store/change"
)

// Phase is what a Replicator does at the moment.
type Phase string

// The phases.
const (
	PhaseIdle         Phase = "idle"          // Run has not begun
	PhaseConnecting   Phase = "connecting"    // opening connections
	PhaseChecking     Phase = "checking"      // preflight and migrations
	PhaseCreatingSlot Phase = "creating_slot" // waits for older transactions to end
	PhaseCopying      Phase = "copying"       // initial copy
	PhaseStreaming    Phase = "streaming"     // tailing the WAL
	PhaseWaiting      Phase = "waiting"       // after trouble, before the next attempt
	PhaseStopped      Phase = "stopped"       // Run has returned
)

// Status is a Replicator's condition at one moment.
type Status struct {
	Connected bool // the replication stream is established
	Phase     Phase
	Kind      pgerr.Kind // class of the trouble in Reason, "" when there is none
	Reason    string     // why it is not streaming, or why rows are wrong although it is; "" when all is well
	Warnings  []string   // things to look at that do not stop it, such as a missing view column

	LastEvent time.Time // last message from the server, or last success of the sink
	LastLevel time.Time // everything committed on the server before this moment is durable here

	DurableLSN  change.LSN // the sink's position
	ReceivedLSN change.LSN // everything up to here has been received
	AckedLSN    change.LSN // last position confirmed to Postgres by this process
	ServerLSN   change.LSN // the server's WAL end at the last probe

	LagBytes   uint64  // WAL between the server's end and what is durable or known to be empty
	LagSeconds float64 // for how long something committed on the server has not been durable here; 0 while level

	Copy       *CopyStatus // the copy of one table beside the stream, nil for none
	CopiedRows uint64      // rows of the initial copy under way or last done

	SlotRetained int64  // bytes of WAL that the slot keeps on the server, -1 unknown
	SlotLimit    int64  // bytes of WAL that it may keep before Warnings tells of it, 0 for no limit
	SlotSafe     int64  // bytes of WAL that may still be written before the slot is lost, -1 unlimited or unknown
	WALStatus    string // reserved, extended, unreserved, lost, or "" unknown

	// SlotLoss is when the slot will be lost if WAL goes on to pile up as it did
	// lately; 0 while it does not, or when Postgres has no limit.
	SlotLoss time.Duration
}

// CopyStatus is how far the copy of one table is.
type CopyStatus struct {
	Table    string // with its schema
	Rows     uint64
	Expected int64 // as the server last counted, -1 unknown
}

// state is what a Status is made of. The receiver, the goroutine that calls the
// sink and the probe write it.
type state struct {
	now   func() time.Time
	blind time.Duration // without a probe for so long, being level is not known any more

	mu       sync.Mutex // guards all below
	status   Status
	progress stream.Progress
	probes   []probe           // looks at the server that are not reached yet, oldest first
	reserves []reserve         // of the slot, oldest first
	remarks  map[string]string // warnings by topic
	blamed   *pgerr.Error      // why the rows are wrong although the stream goes on, nil when they are right
}

// probe says that the server's WAL ended at end at the given time.
type probe struct {
	at  time.Time
	end change.LSN
}

// reserve says how many bytes of WAL could still be written at a time before the slot
// is lost.
type reserve struct {
	at   time.Time
	safe int64
}

const (
	// reserveEvery and reserveFor are between which times the rate is measured at
	// which the reserve shrinks.
	reserveEvery, reserveFor = 15 * time.Second, 15 * time.Minute
	// lossSoon is how long before it is lost a slot is worth a warning.
	lossSoon = 4 * time.Hour
)

// maxProbes bounds the memory of a long catch-up; beyond it every second probe
// is forgotten, which costs precision of the lag only.
const maxProbes = 128

func newState(now func() time.Time, blind time.Duration) *state {
	return &state{now: now, blind: blind, remarks: map[string]string{}, status: Status{Phase: PhaseIdle, Reason: "not started", SlotRetained: -1, SlotSafe: -1}}
}

// Status returns the present condition. It is cheap and safe for concurrent use.
func (r *Replicator) Status() Status { return r.st.snapshot() }

func (s *state) snapshot() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.status
	out.Warnings = append([]string(nil), s.status.Warnings...)
	settled := s.progress.Settled()
	out.DurableLSN = s.progress.Durable
	out.ReceivedLSN = max(s.progress.Received, settled)
	if out.ServerLSN > settled {
		out.LagBytes = uint64(out.ServerLSN - settled)
	}
	switch {
	case !out.Connected && !out.LastLevel.IsZero():
		out.LagSeconds = max(0, s.now().Sub(out.LastLevel).Seconds())
	case out.Connected && len(s.probes) > 0:
		out.LagSeconds = max(0, s.now().Sub(s.probes[0].at).Seconds())
	case out.Connected && !out.LastLevel.IsZero() && s.now().Sub(out.LastLevel) > s.blind:
		// Nobody could look at the server, so nobody knows whether we are level.
		out.LagSeconds = s.now().Sub(out.LastLevel).Seconds()
	}
	return out
}

func (s *state) setCopy(c *CopyStatus) { s.update(func(st *Status) { st.Copy = c }) }

func (s *state) update(f func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.status)
}

// enter begins a phase. Reasons of an earlier one stay until the stream runs.
func (s *state) enter(p Phase, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Phase = p
	if reason != "" && s.status.Kind == "" {
		s.status.Reason = reason
	}
}

// streaming begins the streaming phase at the durable position, with a slot that
// is confirmed up to held when the server's history has to be compared.
func (s *state) streaming(durable, held change.LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Phase, s.status.Connected = PhaseStreaming, true
	s.status.Kind, s.status.Reason = "", ""
	if s.blamed != nil {
		s.status.Kind, s.status.Reason = s.blamed.Kind, s.blamed.Error()
	}
	s.status.LastEvent = s.now()
	s.progress = stream.Progress{Durable: durable, Received: durable, Held: held}
}

// broken ends a session.
func (s *state) broken(kind pgerr.Kind, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Phase, s.status.Connected = PhaseWaiting, false
	s.status.Kind, s.status.Reason = kind, err.Error()
	s.progress.Open = false
}

// setTrouble says why the rows are wrong although the stream goes on, nil when they
// are right again.
func (s *state) setTrouble(e *pgerr.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.blamed
	s.blamed = e
	switch {
	case s.status.Phase != PhaseStreaming:
	case e != nil:
		s.status.Kind, s.status.Reason = e.Kind, e.Error()
	case was != nil:
		s.status.Kind, s.status.Reason = "", ""
	}
}

func (s *state) stopped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Phase, s.status.Connected = PhaseStopped, false
	if s.status.Reason == "" {
		s.status.Reason = "stopped"
	}
}

// move applies f to the positions and looks whether that makes us level.
func (s *state) move(f func(*stream.Progress)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.progress)
	s.checkLevel()
}

// positions returns a copy of the positions.
func (s *state) positions() stream.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress
}

// alive notes a sign of life.
func (s *state) alive(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.After(s.status.LastEvent) {
		s.status.LastEvent = at
	}
}

// reserved notes the reserve of the slot, negative for none, and returns when it is
// used up at the rate of the last quarter of an hour, 0 for never.
func (s *state) reserved(at time.Time, safe int64) (loss time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if safe < 0 {
		s.reserves = nil
	} else if n := len(s.reserves); n == 0 || at.Sub(s.reserves[n-1].at) >= reserveEvery {
		s.reserves = append(slices.DeleteFunc(s.reserves, func(r reserve) bool { return at.Sub(r.at) > reserveFor }), reserve{at, safe})
	}
	if len(s.reserves) > 0 {
		if first := s.reserves[0]; at.Sub(first.at) >= reserveEvery && safe < first.safe {
			// In floating point, and no later than a year.
			seconds := float64(safe) / float64(first.safe-safe) * at.Sub(first.at).Seconds()
			loss = max(time.Second, time.Duration(min(seconds, 365*24*3600))*time.Second)
		}
	}
	s.status.SlotLoss = loss
	return loss
}

// probed notes that the server's WAL ended at end when asked at the given time.
func (s *state) probed(at time.Time, end change.LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.ServerLSN = end
	// A server that was restored ends before an earlier look: that is never
	// reached, or means something else when it is.
	s.probes = slices.DeleteFunc(s.probes, func(p probe) bool { return p.end > end })
	if len(s.probes) >= maxProbes {
		kept := s.probes[:0]
		for i := 0; i < len(s.probes); i += 2 {
			kept = append(kept, s.probes[i])
		}
		s.probes = kept
	}
	s.probes = append(s.probes, probe{at, end})
	s.checkLevel()
}

// checkLevel drops the probes that have been reached.
func (s *state) checkLevel() {
	if len(s.probes) == 0 {
		return
	}
	settled := s.progress.Settled()
	n := 0
	for n < len(s.probes) && s.probes[n].end <= settled {
		if s.probes[n].at.After(s.status.LastLevel) {
			s.status.LastLevel = s.probes[n].at
		}
		n++
	}
	s.probes = s.probes[:copy(s.probes, s.probes[n:])]
}

// warn keeps one warning, once.
func (s *state) warn(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.status.Warnings {
		if w == text {
			return
		}
	}
	s.status.Warnings = append(s.status.Warnings, text)
}

// setWarning keeps the one warning about a topic: the last, or none with "".
func (s *state) setWarning(topic, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.remarks[topic]; old != text {
		s.status.Warnings = slices.DeleteFunc(s.status.Warnings, func(w string) bool { return w == old })
		if text != "" && !slices.Contains(s.status.Warnings, text) {
			s.status.Warnings = append(s.status.Warnings, text)
		}
		s.remarks[topic] = text
	}
}

// clearWarnings forgets all warnings; the next preflight and stream find those that stay.
func (s *state) clearWarnings() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Warnings = nil
	clear(s.remarks)
}

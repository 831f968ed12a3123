package replicate

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"

	"carbond/replicate/internal/catalog"
	"carbond/replicate/internal/note"
	"carbond/replicate/internal/server"
	"carbond/replicate/pgerr"
	"carbond/store/change"
)

// Sink keeps source transactions durably. One goroutine calls it.
type Sink interface {
	// Position is what is durable now.
	Position() change.Position
	// Apply returns when every complete transaction of txns is durable and
	// visible, and an incomplete one is staged, but invisible. Transactions
	// whose EndLSN <= Position().LSN are dropped whole by the sink
	// (redelivery); the parts of an initial copy never are. A part with First
	// set discards whatever is staged: its transaction was cut off by a lost
	// connection and comes again. After an error the staged part is discarded
	// too; the caller reconnects and restarts at Position().LSN.
	Apply(ctx context.Context, txns []change.Txn) error
	// Advance makes an idle position durable: there is nothing to store up to
	// lsn. It does nothing if lsn is not ahead.
	Advance(ctx context.Context, lsn change.LSN) error
	// Marks returns what the marks of copies last said, by topic.
	Marks() map[string]string
	// Since gives, one after the other, the transactions that are durable and
	// end behind lsn, oldest first, and io.EOF behind the last. from is where
	// the list begins: lsn, or a later position when the sink has forgotten
	// what was before, or holds it as a copy only.
	Since(ctx context.Context, lsn change.LSN) (from change.LSN, next func() (change.TxnID, error), err error)
}

// Replicator tails one database into a Sink.
type Replicator struct {
	sink    Sink
	opt     server.Options
	log     *slog.Logger
	st      *state
	metrics *metrics
	note    *note.File // what outlives a restart beside the changelog

	// Used by one goroutine of one session at a time.
	begun     bool                        // a session has found the server fit: tables are not altered any more
	finished  bool                        // later columns and indexes were made, or cannot be
	recopy    bool                        // a gap was found while streaming, and the gap action is resnapshot
	relations map[string]*change.Relation // last shape of each kept table by topic, over connections
	ignored   map[string]bool             // tables of the publication that were reported as ignored
	domains   catalog.Domains             // what domains stand for
	wanted    *wanted                     // tables to be copied again
	visible   bool                        // a copy has seen all that was open at its start
	passed    passedXIDs                  // that snapshots have to see
	copied    time.Time                   // when a copy of all was done by this process
	stuck     stuck                       // the last trouble with a change that the server sends
}

// New makes a Replicator. It starts nothing; call Run.
func New(sink Sink, opt server.Options) *Replicator {
	opt = opt.WithDefaults()
	r := &Replicator{
		sink: sink, opt: opt, log: opt.Logger, st: newState(time.Now, max(10*time.Second, 3*opt.ProbeInterval)),
		relations: map[string]*change.Relation{}, ignored: map[string]bool{}, domains: catalog.Domains{},
		note: note.At(opt.SourcePath), wanted: newWanted(),
	}
	r.metrics = newMetrics(opt.Registerer, opt, r.st)
	return r
}

// Run copies and streams until ctx ends, whatever goes wrong in between: it
// reports trouble by Status, log and metrics, waits and tries again. When ctx
// ends it lets the sink finish what it has begun, confirms the durable position
// to Postgres for the last time and returns nil. Call it once.
func (r *Replicator) Run(ctx context.Context) error {
	defer r.st.stopped()
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = 200 * time.Millisecond
	wait.MaxInterval = r.opt.MaxBackoff
	complain := errorLog{log: r.log}
	for {
		s := newSession(r, func() {
			wait.Reset()
			complain.recovered()
		})
		err := s.run(ctx)
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, context.Canceled) {
				r.log.Warn("replication stopped uncleanly", "error", err)
			}
			return nil
		}
		kind := pgerr.KindOf(err)
		if errors.Is(err, pgerr.ErrGap) && r.opt.OnGap == server.GapResnapshot {
			r.recopy = true
		}
		if e, ok := errors.AsType[*pgerr.Error](err); ok && kind == pgerr.KindServerBehind {
			if cerr := r.recordVerdict(e); cerr != nil {
				err = errors.Join(err, cerr)
			}
		}
		r.metrics.errors.WithLabelValues(string(kind)).Inc()
		pause := wait.NextBackOff()
		r.st.broken(kind, err)
		complain.about(kind, err, pause)
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		r.metrics.reconnects.Inc()
	}
}

// errorLog logs a lasting trouble without filling the log: a kind of trouble
// at once, its repetition once a minute.
type errorLog struct {
	log   *slog.Logger
	kind  pgerr.Kind
	count int
	first time.Time
	last  time.Time
}

func (c *errorLog) about(kind pgerr.Kind, err error, pause time.Duration) {
	now := time.Now()
	if c.count == 0 {
		c.first = now
	}
	c.count++
	if kind == c.kind && c.count > 1 && now.Sub(c.last) < time.Minute {
		return
	}
	c.kind, c.last = kind, now
	c.log.Error("replication interrupted", "kind", string(kind), "error", err, "attempts", c.count, "retry_in", pause)
}

func (c *errorLog) recovered() {
	if c.count > 0 {
		c.log.Info("replication recovered", "kind", string(c.kind), "attempts", c.count, "after", time.Since(c.first))
	}
	c.count = 0
}

package replicate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/replicate/internal/note"
	"carbond/replicate/internal/server"
	"carbond/replicate/internal/stream"
	"carbond/replicate/pgerr"
	"carbond/replicate/schema"
	"carbond/store/change"
)

// session is one attempt: connect, check, copy when needed, stream until
// something breaks or the context ends.
type session struct {
	r       *Replicator
	sink    Sink
	opt     *Options
	log     *slog.Logger
	st      *state
	metrics *metrics
	ctl     server.Control
	started func() // called once the stream has proved to work

	id      pglogrepl.IdentifySystemResult // of the replication connection
	srv     server.Info                    // of the ordinary one
	old     *server.Slot                   // that a copy has to replace, nil for none
	survey  *survey                        // of the catalog, by prepare or the copy; nil while nothing is known
	plain   atomic.Pointer[plainTables]    // tables without a view, as of the last look
	later   map[string]bool                // tables of the views that were never copied here
	pieces  chan *piece                    // of tables that are copied beside the stream
	covered map[string]snapshot            // by topic that was copied in one piece, what that has shown; of the receiver
	ask     atomic.Bool                    // the server is to say at once how far it has sent
	flaw    atomic.Pointer[error]          // what the probe has found to end the session
	eager   atomic.Bool                    // commits wait for us: each durable position is confirmed at once
	repl    *pgconn.PgConn
	wire    *stream.Wire
	pipe    *stream.Pipe

	adopting bool         // the copy goes over the rows of another cluster or database
	lacks    string       // what keeps the slot from being a failover slot
	pending  *pgerr.Error // the pending verdict that the server's history is another one, nil for none
	proof    *proof       // while the server's history is compared, else nil
}

func newSession(r *Replicator, started func()) *session {
	opt := r.opt // which tables there are is found out by each
	return &session{
		r: r, sink: r.sink, opt: &opt, log: r.log, st: r.st, metrics: r.metrics,
		ctl: server.Control{Opt: &opt}, started: started, pieces: make(chan *piece, 1), covered: coveredBy(r.sink),
	}
}

// run works until ctx ends or something breaks. It returns when every goroutine
// it has started has ended.
func (s *session) run(ctx context.Context) error {
	s.st.enter(PhaseConnecting, "connecting to Postgres")
	s.st.clearWarnings()
	defer s.ctl.Close()
	var err error
	if s.repl, s.wire, err = s.opt.ConnectReplication(ctx); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.repl.Close(ctx) // a hijacked or broken connection says so; nothing to do
	}()
	// First of all it has to prove that it replicates. It also says who the
	// server is, which an ordinary connection may not be allowed to ask.
	if s.id, err = s.opt.Identify(ctx, s.repl); err != nil {
		return err
	}
	plan, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	if err := s.sameServer(ctx, plan); err != nil {
		return err
	}
	if plan == planCopy {
		if err := s.clearSlot(ctx); err != nil {
			return err
		}
	}

	if s.lacks != "" {
		s.failover(ctx, plan)
	}

	// The sink may finish what it has begun when ctx ends.
	sinkCtx, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	pipeCtx, stopPipe := context.WithCancel(ctx)
	defer stopPipe()
	var broke sync.Once
	failed := make(chan struct{})
	s.pipe = stream.NewPipe(s.opt.MaskRules().Before(s.sink), s.opt.QueueBytes, s.applied, func() {
		broke.Do(func() { close(failed) })
		s.wire.Interrupt()
	})
	go s.pipe.Run(pipeCtx, sinkCtx)

	if err = s.work(ctx, plan, failed); errors.Is(err, errSinkFailed) {
		err = s.pipe.Err()
	}
	stopPipe()
	select {
	case <-s.pipe.Done:
	case <-time.After(s.opt.StopTimeout):
		giveUp()
		<-s.pipe.Done
	}
	s.finalAck()
	return err
}

// errSinkFailed says that the pipe holds the error of the sink.
var errSinkFailed = errors.New("the sink failed")

// work copies when needed and streams.
func (s *session) work(ctx context.Context, p plan, failed <-chan struct{}) error {
	if p == planCopy {
		s.survey = nil
		seen, err := s.copyAll(ctx, failed)
		if err != nil {
			return err
		}
		s.survey, s.r.recopy, s.r.copied = newSurvey(seen, nil), false, s.st.now()
	}
	if err := s.startStream(ctx, s.sink.Position().LSN); err != nil {
		return err
	}
	probeCtx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.probeLoop(probeCtx) })
	wg.Go(func() { s.copyTables(probeCtx) })
	if s.opt.Migrate && !s.r.finished {
		wg.Go(func() { s.finishTables(probeCtx) })
	}
	defer wg.Wait()
	defer stop()
	return newReceiver(s, failed).run(ctx)
}

// prepare checks the server, migrates when told to, and decides what to do.
func (s *session) prepare(ctx context.Context) (p plan, err error) {
	err = s.ctl.Do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		s.st.enter(PhaseChecking, "checking the server")
		// A URL that leads astray must not get tables made there. A server that
		// does not tell who it is fails in the checks below, with a reason.
		pos := s.sink.Position()
		n, err := s.r.readNote(pos)
		if err != nil {
			return err
		}
		if srv, err := server.ReadInfo(ctx, conn, s.id.SystemID); err == nil {
			s.srv = srv
			if s.adopting, err = s.checkAdoption(pos, srv, n); err != nil {
				return err
			}
		}
		s.opt.Held = s.held(pos)
		extended, err := s.check(ctx, conn)
		if err != nil {
			return err
		}
		if s.srv, err = server.ReadInfo(ctx, conn, s.id.SystemID); err != nil {
			return err
		}
		slot, err := server.ReadSlot(ctx, conn, s.opt.Slot)
		if err != nil {
			return err
		}
		if err := s.r.domains.Load(ctx, conn); err != nil {
			return err
		}
		s.lacks = s.opt.FailoverLacks(slot)
		if slot, err = s.dropGivenUp(ctx, n, pos, slot); err != nil {
			return err
		}
		opt, held := *s.opt, pos
		if s.adopting { // of this server the changelog holds nothing, and a slot of our name came with it
			opt.TakeOver, held = true, change.Position{}
		}
		if p, err = decide(&opt, held, s.srv, slot, n.Copying); err != nil {
			return err
		}
		if p == planStream {
			if p, err = s.applyVerdict(n, pos); err != nil {
				return err
			}
		}
		if p == planStream {
			s.later = s.neverCopied(pos)
			if p, err = s.compare(ctx, conn, n, pos); err != nil {
				return err
			}
		}
		if p == planStream && s.r.recopy {
			p = planCopy
		}
		if p == planStream && extended {
			// What was in the table before it was published is not in the stream.
			if s.opt.OnGap != server.GapResnapshot {
				return s.report(pgerr.New(pgerr.KindPublicationChange, pgerr.Resnapshot, nil, "tables were added to publication %q after the copy was made", s.opt.Publication))
			}
			p = planCopy
		}
		if p == planCopy {
			s.old = slot
		}
		return nil
	})
	return p, s.opt.Classify(err)
}

// check runs the preflight, and the migrations when they are wanted and needed.
// It reports whether an existing publication got more tables.
func (s *session) check(ctx context.Context, conn *pgx.Conn) (extended bool, err error) {
	findings, err := schema.Check(ctx, conn, s.opt)
	if err != nil {
		return false, err
	}
	if s.opt.Migrate {
		var done bool
		if extended, done, err = s.migrate(ctx, conn, findings); err != nil {
			return false, err
		}
		if done {
			if findings, err = schema.Check(ctx, conn, s.opt); err != nil {
				return false, err
			}
		}
	}
	for _, f := range findings {
		if !f.OK && f.Warning {
			s.st.warn(f.Detail)
			s.log.Warn("preflight warning", "check", f.Name, "detail", f.Detail, "repair", f.Repair)
		}
	}
	if err := schema.FirstFault(findings); err != nil {
		return extended, err
	}
	s.r.begun = true
	return extended, nil
}

// migrate does at a start what Migrate does. Tables are made for the first copy
// only, and a daemon that has begun does not alter them any more: a table that is
// missing later is one that somebody is about to replace or restore, and an empty
// one in its place would be in his way, and in the views.
func (s *session) migrate(ctx context.Context, conn *pgx.Conn, findings []schema.Finding) (extended, done bool, err error) {
	if err := schema.Prerequisites(findings); err != nil {
		return false, false, err
	}
	pos := s.sink.Position()
	m := &schema.Migration{Conn: conn, Opt: s.opt, Later: s.neverCopied(pos), Alter: !s.r.begun, Create: !s.r.begun && (!pos.Copied || pos.Source.Embedded())}
	m.Wait = func(who string) {
		if who != "" {
			s.st.update(func(st *Status) { st.Reason = who })
			s.log.Warn("a migration waits", "for", who)
		}
	}
	if !m.Create {
		tables, err := schema.ReadTables(ctx, conn, s.opt)
		if err != nil {
			return false, false, err
		}
		for _, name := range s.opt.Viewed() {
			if tables[name] == nil && s.neverCopied(pos)[name] {
				m.Create = true // it cannot be missed, and is made
			} else if tables[name] == nil {
				return false, false, pgerr.New(pgerr.KindTables, "bring it back under this name; when it is gone for good, run carbond migrate, which makes an empty one", nil,
					"table %s.%s does not exist, and nothing is made in its place while its rows are held here", s.opt.Schema, name)
			}
		}
	}
	if done, err = m.Needed(ctx, findings); err != nil || !done {
		return false, false, err
	}
	if err := s.checkPublicationLoss(findings); err != nil {
		return false, false, err
	}
	s.log.Info("creating or upgrading tables and publication", "schema", s.opt.Schema, "publication", s.opt.Publication)
	extended, err = m.Run(ctx, findings)
	return extended, true, err
}

// checkPublicationLoss says that the publication has lost something since the copy was made.
// What was written meanwhile is not in the stream. Unless the tables may be
// copied again, the publication is not mended: the next attempt would find it
// whole, and go on as if nothing were missing.
func (s *session) checkPublicationLoss(findings []schema.Finding) error {
	pos := s.sink.Position()
	if s.opt.OnGap == server.GapResnapshot || !pos.Copied || pos.Source.Embedded() {
		return nil
	}
	if pos.Source.SystemID != s.srv.SystemID || pos.Source.Database != s.srv.Database {
		return nil // the copy is of another database: decide tells
	}
	never := s.neverCopied(pos)
	for _, f := range findings {
		switch pgerr.Kind(f.Name) {
		case pgerr.KindPublication, pgerr.KindPublicationTables, pgerr.KindPublicationOps:
			if !f.OK && !f.Warning && !never[f.Table] {
				return s.report(pgerr.New(pgerr.KindPublicationChange, pgerr.Resnapshot, nil, "%s, but it was whole when the copy was made: changes may be missing", f.Detail))
			}
		}
	}
	return nil
}

// sameServer makes sure that both connections lead to the same place: behind a
// list of hosts or a proxy they need not. A stream can only go on in the history
// that it is part of; a copy begins again.
func (s *session) sameServer(ctx context.Context, p plan) error {
	id := s.id
	if id.SystemID != s.srv.SystemID || id.DBName != s.srv.Database {
		return pgerr.New(pgerr.KindConnect, "give one host, or target_session_attrs=read-write", nil,
			"two connections lead to different servers (%s/%s and %s/%s)", s.srv.SystemID, s.srv.Database, id.SystemID, id.DBName)
	}
	now, err := timelineOf(ctx, s.repl, id)
	if err != nil {
		return s.opt.Classify(err)
	}
	if p == planStream {
		pos := s.sink.Position()
		n, err := s.r.readNote(pos)
		if err == nil {
			err = checkTimeline(n.Timeline, now, pos.LSN)
		}
		if err != nil {
			return err
		}
		if was := n.Timeline; was.SystemID == now.SystemID && was.Timeline != now.Timeline {
			s.log.Info("the server goes on under a new timeline", "timeline", now.Timeline, "before", was.Timeline, "durable_lsn", pos.LSN.String())
		}
	}
	return s.r.saveNote(func(n *note.Note) { n.Timeline = now })
}

// startStream starts the stream where the slot stands, and finds out what comes
// again of what is durable at pos. The slot may be ahead of pos: Postgres 15 and
// later would silently start there.
func (s *session) startStream(ctx context.Context, pos change.LSN) error {
	args := []string{"proto_version '1'", "publication_names " + server.Literal(server.Ident(s.opt.Publication))}
	err := pglogrepl.StartReplication(ctx, s.repl, s.opt.Slot, 0, pglogrepl.StartReplicationOptions{PluginArgs: args})
	if err != nil {
		return s.opt.Classify(fmt.Errorf("start the stream: %w", err))
	}
	held := change.LSN(0)
	err = s.ctl.Do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		slot, err := server.ReadSlot(ctx, conn, s.opt.Slot)
		switch {
		case err != nil:
			return err
		case slot == nil:
			return s.opt.SlotMissing(nil)
		case slot.Confirmed > pos:
			return slotAhead(s.opt, pos, slot.Confirmed)
		}
		s.synchrony(slot)
		if err := s.guardWAL(s.st.now(), slot); err != nil {
			return err
		}
		if slot.Confirmed < pos {
			held = slot.Confirmed
			return s.startProof(ctx, held, pos)
		}
		return s.clearVerdict(true) // the slot is as old as the server's WAL
	})
	if err != nil {
		return s.opt.Classify(err)
	}
	hijacked, err := s.repl.Hijack()
	if err != nil {
		return fmt.Errorf("take over the replication connection: %w", err)
	}
	s.wire.TakeOver(hijacked.Conn)
	s.st.streaming(pos, held)
	s.log.Info("streaming", "slot", s.opt.Slot, "publication", s.opt.Publication, "from_lsn", pos.String())
	return nil
}

// applied notes what the sink has taken. It runs on the goroutine of the pipe.
func (s *session) applied(txns []change.Txn, pos change.Position) {
	s.st.move(func(p *stream.Progress) { p.Persisted(pos.LSN) })
	s.st.alive(s.st.now())
	s.metrics.applied(txns)
	if len(txns) == 0 || s.eager.Load() {
		// An idle position is durable: the receiver may confirm it at once.
		s.wire.Interrupt()
	}
}

// synchrony notes whether commits wait for us.
func (s *session) synchrony(slot *server.Slot) {
	text := ""
	if schema.Listed(slot.Synchronous, slot.Application) {
		text = schema.Synchronous(slot.Synchronous)
	}
	s.eager.Store(slot.Synchronous != "") // whoever is named: that may change, and costs little
	s.st.setWarning("synchronous", text)
}

// finalAck confirms the durable position for the last time and ends the stream.
// The connection may be broken already; then the slot stays where it was, and
// what was durable is dropped when it comes again.
func (s *session) finalAck() {
	conn := s.wire.Conn
	if conn == nil {
		return
	}
	defer conn.Close()
	lsn := s.sink.Position().LSN
	if held := s.st.positions().Held; held > 0 {
		lsn = held
	}
	if lsn == 0 {
		return
	}
	now := time.Now()
	if err := s.wire.SetFinalDeadline(now.Add(time.Second)); err != nil {
		return
	}
	msg := stream.AppendStatus(nil, lsn, now, false)
	msg = append(msg, 'c', 0, 0, 0, 4) // CopyDone
	if _, err := conn.Write(msg); err != nil {
		return
	}
	s.st.update(func(st *Status) { st.AckedLSN = max(st.AckedLSN, lsn) })
	// Closing with unread data would reset the connection and could destroy
	// the status on its way. Read until the server has answered.
	for {
		kind, _, want, err := s.wire.Next()
		if err == nil && want > 0 {
			err = s.wire.More(want)
		}
		if err != nil {
			return
		}
		if want == 0 && (kind == 'c' || kind == 'Z') { // 'Z': an error had ended the stream
			_, _ = conn.Write([]byte{'X', 0, 0, 0, 4}) // Terminate; it ends either way
			return
		}
	}
}

// probeLoop looks at the server's WAL end and the slot from time to time.
func (s *session) probeLoop(ctx context.Context) {
	t := time.NewTicker(s.opt.ProbeInterval)
	defer t.Stop()
	quiet := false
	for {
		err := s.probe(ctx)
		if err != nil && ctx.Err() == nil && !quiet {
			s.log.Warn("the probe of the server's WAL position does not work", "error", err)
		}
		quiet = err != nil
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (s *session) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.ctl.Do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		at := s.st.now()
		slot, err := server.ReadSlot(ctx, conn, s.opt.Slot)
		if err != nil || slot == nil {
			return err
		}
		s.synchrony(slot)
		s.st.update(func(st *Status) {
			st.SlotRetained, st.SlotLimit, st.SlotSafe, st.WALStatus, st.ServerLSN = slot.Retained(), s.opt.MaxRetained, slot.Safe, slot.WalStatus, slot.Server
		})
		if err := s.guardWAL(at, slot); err != nil {
			s.flaw.CompareAndSwap(nil, &err)
			s.wire.Interrupt()
			return nil
		}
		// The catalog first: who is level lacks nothing.
		if fine, err := s.checkCatalog(ctx, conn); err != nil || !fine {
			return err
		}
		s.st.probed(at, slot.Server)
		return s.watchChildren(ctx, conn)
	})
}

// guardWAL warns of a slot that keeps much on the server, and of one that Postgres
// will drop WAL of. Where the slot is to be given up, that is an error, and dropGivenUp
// does the rest. Not while a copy of this process was never level since: it
// would only be followed by another one.
func (s *session) guardWAL(at time.Time, slot *server.Slot) error {
	kept, loss := "", ""
	if n := slot.Retained(); s.opt.MaxRetained > 0 && n > s.opt.MaxRetained {
		if s.opt.GiveUpSlot && !s.st.snapshot().LastLevel.Before(s.r.copied) {
			return s.report(pgerr.New(pgerr.KindSlotGivenUp, pgerr.Resnapshot, nil,
				"replication slot %q kept %d MiB of WAL on the server, more than the %d MiB of postgres.max_retained_wal, and was given up: changes are missing", s.opt.Slot, n>>20, s.opt.MaxRetained>>20))
		}
		kept = fmt.Sprintf("replication slot %q keeps %d MiB of WAL on the server, more than the %d MiB of postgres.max_retained_wal: see what slows carbond, or run `carbond teardown` if it is to go", s.opt.Slot, n>>20, s.opt.MaxRetained>>20)
	}
	if left := s.st.reserved(at, slot.Safe); left > 0 && left < lossSoon {
		loss = fmt.Sprintf("replication slot %q is lost in %d minutes if WAL piles up as it does: raise max_slot_wal_keep_size and reload Postgres, or see what slows carbond", s.opt.Slot, int(left.Minutes()))
	}
	s.st.setWarning("retained WAL", kept)
	s.st.setWarning("loss of the slot", loss)
	return nil
}

// watchChildren warns of tables that inherit from ours since the start.
func (s *session) watchChildren(ctx context.Context, conn *pgx.Conn) error {
	children, err := schema.ReadChildren(ctx, conn, s.opt)
	if err != nil {
		return err
	}
	for _, table := range s.opt.Viewed() {
		text := ""
		if list := children[table]; list != nil {
			text = schema.Inherited(s.opt, table, list)
		}
		s.st.setWarning("children of "+table, text)
	}
	return nil
}

// finishTables makes what the start of this process has left to do beside the
// stream: columns that it can do without, and indexes. Both may have to wait for
// transactions that last for hours.
func (s *session) finishTables(ctx context.Context) {
	conn, err := s.opt.Connect(ctx)
	if err == nil {
		defer conn.Close(context.WithoutCancel(ctx))
		m := &schema.Migration{Conn: conn, Opt: s.opt, Alter: true, Wait: func(who string) { s.st.setWarning("tables", who) }}
		if err = m.AddColumns(ctx); err == nil {
			err = m.Indexes(ctx)
		}
	}
	refused, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case err != nil && (!ok || strings.HasPrefix(refused.Code, "57") || ctx.Err() != nil):
		return // no connection, or the end: the next session goes on
	case err != nil:
		s.log.Warn("a later column of the views, or an index of their queries, cannot be made: the column stays empty, the NonStreaming calls are slow", "error", err)
		s.st.setWarning("tables", "a column or an index cannot be made: "+err.Error())
	}
	s.r.finished = true
}

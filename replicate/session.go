package replicate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/replicate/internal/note"
	"carbond/store/change"
)

// session is one attempt: connect, check, copy when needed, stream until
// something breaks or the context ends.
type session struct {
	*Replicator
	ctl     control
	started func() // called once the stream has proved to work

	id     pglogrepl.IdentifySystemResult // of the replication connection
	srv    server                         // of the ordinary one
	old    *slotInfo                      // that a copy has to replace, nil for none
	survey *survey                        // of the catalog, by prepare or the copy; nil while nothing is known
	flaw   atomic.Pointer[error]          // what the probe has found to end the session
	eager  atomic.Bool                    // commits wait for us: each durable position is confirmed at once
	repl   *pgconn.PgConn
	wire   *wire
	pipe   *pipe

	adopting bool   // the copy goes over the rows of another cluster or database
	lacks    string // what keeps the slot from being a failover slot
	doubted  *Error // the pending verdict that the server's history is another one, nil for none
	proof    *proof // while the server's history is compared, else nil
}

func newSession(r *Replicator, started func()) *session {
	return &session{Replicator: r, ctl: control{opt: &r.opt}, started: started}
}

// run works until ctx ends or something breaks. It returns when every goroutine
// it has started has ended.
func (s *session) run(ctx context.Context) error {
	s.st.enter(PhaseConnecting, "connecting to Postgres")
	s.st.calm()
	defer s.ctl.close()
	var err error
	if s.repl, s.wire, err = s.opt.connectReplication(ctx); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.repl.Close(ctx) // a hijacked or broken connection says so; nothing to do
	}()
	// First of all it has to prove that it replicates. It also says who the
	// server is, which an ordinary connection may not be allowed to ask.
	if s.id, err = s.opt.identify(ctx, s.repl); err != nil {
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
	s.pipe = newPipe(s.sink, s.opt.QueueBytes, s.applied, func() {
		broke.Do(func() { close(failed) })
		s.wire.poke()
	})
	go s.pipe.run(pipeCtx, sinkCtx)

	if err = s.work(ctx, plan, failed); errors.Is(err, errSinkFailed) {
		err = s.pipe.fault()
	}
	stopPipe()
	select {
	case <-s.pipe.done:
	case <-time.After(s.opt.StopTimeout):
		giveUp()
		<-s.pipe.done
	}
	s.farewell()
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
		s.survey, s.recopy = newSurvey(seen, nil), false
	}
	if err := s.startStream(ctx, s.sink.Position().LSN); err != nil {
		return err
	}
	probeCtx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.probeLoop(probeCtx) })
	if s.opt.Migrate && !s.indexed {
		wg.Go(func() { s.buildIndexes(probeCtx) })
	}
	defer wg.Wait()
	defer stop()
	return newStream(s, failed).run(ctx)
}

// prepare checks the server, migrates when told to, and decides what to do.
func (s *session) prepare(ctx context.Context) (p plan, err error) {
	err = s.ctl.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		s.st.enter(PhaseChecking, "checking the server")
		// A URL that leads astray must not get tables made there. A server that
		// does not tell who it is fails in the checks below, with a reason.
		pos := s.sink.Position()
		n, err := s.remembered(pos)
		if err != nil {
			return err
		}
		if srv, err := readServer(ctx, conn, s.id.SystemID); err == nil {
			s.srv = srv
			if s.adopting, err = s.adopts(pos, srv, n); err != nil {
				return err
			}
		}
		extended, err := s.check(ctx, conn)
		if err != nil {
			return err
		}
		if s.srv, err = readServer(ctx, conn, s.id.SystemID); err != nil {
			return err
		}
		slot, err := readSlot(ctx, conn, s.opt.Slot)
		if err != nil {
			return err
		}
		if err := s.bases.load(ctx, conn); err != nil {
			return err
		}
		s.lacks = s.opt.failoverLacks(slot)
		opt, held := s.opt, pos
		if s.adopting { // of this server the changelog holds nothing, and a slot of our name came with it
			opt.TakeOver, held = true, change.Position{}
		}
		if p, err = opt.decide(held, s.srv, slot, n.Copying); err != nil {
			return err
		}
		if p == planStream {
			if p, err = s.judged(n, pos); err != nil {
				return err
			}
		}
		if p == planStream {
			if p, err = s.compare(ctx, conn, n, pos); err != nil {
				return err
			}
		}
		if p == planStream && s.recopy {
			p = planCopy
		}
		if p == planStream && extended {
			// What was in the table before it was published is not in the stream.
			if s.opt.OnGap != GapResnapshot {
				return s.found(fault(KindPublicationChange, resnapshotAdvice, nil, "tables were added to publication %q after the copy was made", s.opt.Publication))
			}
			p = planCopy
		}
		if p == planCopy {
			s.old = slot
		}
		return nil
	})
	return p, s.opt.classify(err)
}

// clearSlot makes room for the slot of a new copy.
func (s *session) clearSlot(ctx context.Context) error {
	if s.old == nil {
		return nil
	}
	pos := s.sink.Position()
	level, msg := slog.LevelInfo, "dropping the replication slot before a new copy"
	if !s.old.prepared && !pos.Copied {
		level, msg = slog.LevelWarn, msg+"; a data directory that used it has to be copied anew"
	}
	s.log.Log(ctx, level, msg, "slot", s.opt.Slot, "confirmed_lsn", s.old.confirmed.String(), "durable_lsn", pos.LSN.String())
	return s.opt.classify(s.opt.dropSlot(ctx, s.repl))
}

// check runs the preflight, and the migrations when they are wanted and needed.
// It reports whether an existing publication got more tables.
func (s *session) check(ctx context.Context, conn *pgx.Conn) (extended bool, err error) {
	findings, err := preflight(ctx, conn, &s.opt)
	if err != nil {
		return false, err
	}
	if s.opt.Migrate {
		var done bool
		if extended, done, err = s.migrate(ctx, conn, findings); err != nil {
			return false, err
		}
		if done {
			if findings, err = preflight(ctx, conn, &s.opt); err != nil {
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
	if err := firstFault(findings); err != nil {
		return extended, err
	}
	s.begun = true
	return extended, nil
}

// migrate does at a start what Migrate does. Tables are made for the first copy
// only, and a daemon that has begun does not alter them any more: a table that is
// missing later is one that somebody is about to replace or restore, and an empty
// one in its place would be in his way, and in the views.
func (s *session) migrate(ctx context.Context, conn *pgx.Conn, findings []Finding) (extended, done bool, err error) {
	if err := basics(findings); err != nil {
		return false, false, err
	}
	pos := s.sink.Position()
	m := &migration{conn: conn, opt: &s.opt, alter: !s.begun, create: !s.begun && (!pos.Copied || pos.Source.Embedded())}
	m.wait = func(who string) {
		if who != "" {
			s.st.update(func(st *Status) { st.Reason = who })
			s.log.Warn("a migration waits", "for", who)
		}
	}
	if !m.create {
		tables, err := readTables(ctx, conn, &s.opt)
		if err != nil {
			return false, false, err
		}
		for _, name := range change.Tables() {
			if tables[name] == nil {
				return false, false, fault(KindTables, "bring it back under this name; when it is gone for good, run carbond migrate, which makes an empty one", nil,
					"table %s.%s does not exist, and nothing is made in its place while its rows are held here", s.opt.Schema, name)
			}
		}
	}
	if done, err = m.needed(ctx, findings); err != nil || !done {
		return false, false, err
	}
	if err := s.lapse(findings); err != nil {
		return false, false, err
	}
	s.log.Info("creating or upgrading tables and publication", "schema", s.opt.Schema, "publication", s.opt.Publication)
	extended, err = m.run(ctx, findings)
	return extended, true, err
}

// lapse says that the publication has lost something since the copy was made.
// What was written meanwhile is not in the stream. Unless the tables may be
// copied anew, the publication is not mended: the next attempt would find it
// whole, and go on as if nothing were missing.
func (s *session) lapse(findings []Finding) error {
	pos := s.sink.Position()
	if s.opt.OnGap == GapResnapshot || !pos.Copied || pos.Source.Embedded() {
		return nil
	}
	if pos.Source.SystemID != s.srv.systemID || pos.Source.Database != s.srv.database {
		return nil // the copy is of another database: decide tells
	}
	for _, f := range findings {
		switch Kind(f.Name) {
		case KindPublication, KindPublicationTables, KindPublicationOps:
			if !f.OK && !f.Warning {
				return s.found(fault(KindPublicationChange, resnapshotAdvice, nil, "%s, but it was whole when the copy was made: changes may be missing", f.Detail))
			}
		}
	}
	return nil
}

// sameServer makes sure that both connections lead to the same place: behind a
// list of hosts or a proxy they need not. A stream can only go on in the history
// that it is part of; a copy begins anew.
func (s *session) sameServer(ctx context.Context, p plan) error {
	id := s.id
	if id.SystemID != s.srv.systemID || id.DBName != s.srv.database {
		return fault(KindConnect, "give one host, or target_session_attrs=read-write", nil,
			"two connections lead to different servers (%s/%s and %s/%s)", s.srv.systemID, s.srv.database, id.SystemID, id.DBName)
	}
	now, err := timelineOf(ctx, s.repl, id)
	if err != nil {
		return s.opt.classify(err)
	}
	if p == planStream {
		pos := s.sink.Position()
		n, err := s.remembered(pos)
		if err == nil {
			err = parted(n.Timeline, now, pos.LSN)
		}
		if err != nil {
			return err
		}
		if was := n.Timeline; was.SystemID == now.SystemID && was.Timeline != now.Timeline {
			s.log.Info("the server goes on under a new timeline", "timeline", now.Timeline, "before", was.Timeline, "durable_lsn", pos.LSN.String())
		}
	}
	return s.keep(func(n *note.Note) { n.Timeline = now })
}

// failover makes an existing slot one that standbys keep in step, where Postgres
// can; a copy makes its slot so. It is worth a warning, but no interruption.
func (s *session) failover(ctx context.Context, p plan) {
	why := s.lacks
	if s.srv.version >= 170000 {
		if p == planCopy {
			return
		}
		_, err := s.repl.Exec(ctx, "ALTER_REPLICATION_SLOT "+s.opt.Slot+" ( FAILOVER true )").ReadAll()
		if err == nil {
			s.log.Info("the replication slot is a failover slot now", "slot", s.opt.Slot)
			return
		}
		why += ", and cannot be made one: " + err.Error()
	}
	s.st.warn(why)
	s.log.Warn("standbys do not keep the replication slot in step", "reason", why)
}

// startStream starts the stream where the slot stands, and finds out what comes
// again of what is durable at pos. The slot may be ahead of pos: Postgres 15 and
// later would silently start there.
func (s *session) startStream(ctx context.Context, pos change.LSN) error {
	args := []string{"proto_version '1'", "publication_names " + literal(ident(s.opt.Publication))}
	err := pglogrepl.StartReplication(ctx, s.repl, s.opt.Slot, 0, pglogrepl.StartReplicationOptions{PluginArgs: args})
	if err != nil {
		return s.opt.classify(fmt.Errorf("start the stream: %w", err))
	}
	held := change.LSN(0)
	err = s.ctl.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		slot, err := readSlot(ctx, conn, s.opt.Slot)
		switch {
		case err != nil:
			return err
		case slot == nil:
			return s.opt.slotMissing(nil)
		case slot.confirmed > pos:
			return s.opt.slotAhead(pos, slot.confirmed)
		}
		s.synchrony(slot)
		if slot.confirmed < pos {
			held = slot.confirmed
			return s.doubt(ctx, held, pos)
		}
		return s.acquit(true) // the slot is as old as the server's WAL
	})
	if err != nil {
		return s.opt.classify(err)
	}
	hijacked, err := s.repl.Hijack()
	if err != nil {
		return fmt.Errorf("take over the replication connection: %w", err)
	}
	s.wire.takeOver(hijacked.Conn)
	s.st.streaming(pos, held)
	s.log.Info("streaming", "slot", s.opt.Slot, "publication", s.opt.Publication, "from_lsn", pos.String())
	return nil
}

// applied notes what the sink has taken. It runs on the goroutine of the pipe.
func (s *session) applied(txns []change.Txn, pos change.Position) {
	s.st.move(func(p *progress) { p.persisted(pos.LSN) })
	s.st.alive(s.st.now())
	s.metrics.applied(txns)
	if len(txns) == 0 || s.eager.Load() {
		// An idle position is durable: the receiver may confirm it at once.
		s.wire.poke()
	}
}

// synchrony notes whether commits wait for us.
func (s *session) synchrony(slot *slotInfo) {
	text := ""
	if listed(slot.synchronous, slot.application) {
		text = synchronous(slot.synchronous)
	}
	s.eager.Store(slot.synchronous != "") // whoever is named: that may change, and costs little
	s.st.remark("synchronous", text)
}

// farewell confirms the durable position for the last time and ends the stream.
// The connection may be broken already; then the slot stays where it was, and
// what was durable is dropped when it comes again.
func (s *session) farewell() {
	conn := s.wire.conn
	if conn == nil {
		return
	}
	defer conn.Close()
	lsn := s.sink.Position().LSN
	if held := s.st.positions().held; held > 0 {
		lsn = held
	}
	if lsn == 0 {
		return
	}
	now := time.Now()
	if err := s.wire.windUp(now.Add(time.Second)); err != nil {
		return
	}
	msg := appendStatus(nil, lsn, now, false)
	msg = append(msg, 'c', 0, 0, 0, 4) // CopyDone
	if _, err := conn.Write(msg); err != nil {
		return
	}
	s.st.update(func(st *Status) { st.AckedLSN = max(st.AckedLSN, lsn) })
	// Closing with unread data would reset the connection and could destroy
	// the status on its way. Read until the server has answered.
	for {
		kind, _, want, err := s.wire.next()
		if err == nil && want > 0 {
			err = s.wire.more(want)
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
	return s.ctl.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		at := s.st.now()
		slot, err := readSlot(ctx, conn, s.opt.Slot)
		if err != nil || slot == nil {
			return err
		}
		s.synchrony(slot)
		s.st.update(func(st *Status) {
			st.SlotRetained, st.SlotSafe, st.WALStatus, st.ServerLSN = slot.retained(), slot.safe, slot.walStatus, slot.server
		})
		// The catalog first: who is level lacks nothing.
		if fine, err := s.look(ctx, conn, slot.server); err != nil || !fine {
			return err
		}
		s.st.probed(at, slot.server)
		return s.watchChildren(ctx, conn)
	})
}

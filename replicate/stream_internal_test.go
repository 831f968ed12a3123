package replicate

// White box: drives the receiver alone against a scripted server, on a fake
// clock: silence is what the script says, not what a busy machine does.

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"carbond/replicate/internal/server"
	"carbond/replicate/internal/stream"
	"carbond/replicate/pgerr"
	"carbond/replicate/walsender"
	"carbond/store/change"
)

// scriptSink is a sink that can be held.
type scriptSink struct {
	mu   sync.Mutex
	pos  change.Position
	rows int
	hold chan struct{} // a call waits for a value, nil never
}

func (s *scriptSink) Position() change.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pos
}

func (s *scriptSink) Apply(_ context.Context, txns []change.Txn) error {
	if s.hold != nil {
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range txns {
		if t.Final && t.EndLSN > s.pos.LSN {
			s.pos.LSN = t.EndLSN
			s.rows += len(t.Changes)
		}
	}
	return nil
}

func (s *scriptSink) Advance(_ context.Context, lsn change.LSN) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pos.LSN = max(s.pos.LSN, lsn)
	return nil
}

func (s *scriptSink) Marks() map[string]string { return nil }

func (s *scriptSink) Since(_ context.Context, lsn change.LSN) (change.LSN, func() (change.TxnID, error), error) {
	return lsn, func() (change.TxnID, error) { return change.TxnID{}, io.EOF }, nil
}

// scripted runs the receiver against a scripted server.
type scripted struct {
	*walsender.Server
	t    *testing.T
	sink Sink
	end  chan error
	stop func()
	last walsender.Status
}

func script(t *testing.T, sink Sink, opt server.Options) *scripted {
	t.Helper()
	srv, conn := walsender.Start(t)
	r := New(sink, opt)
	s := newSession(r, func() {})
	s.wire = stream.NewWire(conn)
	s.wire.TakeOver(conn)
	s.srv.Timeout = 400 * time.Millisecond
	failed := make(chan struct{})
	s.pipe = stream.NewPipe(sink, r.opt.QueueBytes, s.applied, func() { close(failed) })
	r.st.streaming(sink.Position().LSN, 0)
	ctx, cancel := context.WithCancel(context.Background())
	go s.pipe.Run(ctx, context.WithoutCancel(ctx))
	out := &scripted{Server: srv, t: t, sink: sink, end: make(chan error, 1)}
	go func() {
		err := newReceiver(s, failed).run(ctx)
		cancel()
		<-s.pipe.Done
		s.finalAck()
		out.end <- err
	}()
	out.stop = sync.OnceFunc(cancel)
	t.Cleanup(out.stop)
	return out
}

// status waits for the next status that ok accepts, and checks every one: the
// three positions agree, are not zero, do not go back and are durable.
func (s *scripted) status(what string, ok func(walsender.Status) bool) {
	s.t.Helper()
	patience := time.After(10 * time.Second)
	for {
		select {
		case st := <-s.Status:
			if st.Write != st.Flush || st.Flush != st.Apply || st.Flush == 0 || st.Flush < s.last.Flush || st.Flush > s.sink.Position().LSN {
				s.t.Fatalf("status %+v after %+v with %s durable", st, s.last, s.sink.Position().LSN)
			}
			s.last = st
			if ok(st) {
				return
			}
		case <-patience:
			s.t.Fatalf("no status: %s; last %+v", what, s.last)
		}
	}
}

func at(lsn change.LSN) func(walsender.Status) bool {
	return func(s walsender.Status) bool { return s.Flush == lsn }
}

func TestScriptedStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &scriptSink{pos: change.Position{LSN: 100}, hold: make(chan struct{})}
		s := script(t, sink, server.Options{QueueBytes: 100, AdvanceInterval: 10 * time.Millisecond})
		s.News()
		for i := range 3 {
			lsn := change.LSN(200 + 100*i)
			s.Begin(lsn, uint32(i))
			s.Insert(lsn-10, "row")
			s.Keepalive(lsn-5, false) // in the middle of a transaction
			s.Commit(lsn, lsn+10)
		}
		s.Keepalive(500, true)
		// Longer than the server's patience: the statuses keep coming.
		for range 12 {
			s.status("during the stall", at(100))
		}
		close(sink.hold)
		s.status("after the stall", at(500))
		s.stop()
		if err := <-s.end; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if sink.rows != 3 {
			t.Fatalf("%d rows", sink.rows)
		}
		<-s.Done
	})
}

func TestScriptedRedeliveryAndStrays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &scriptSink{pos: change.Position{LSN: 310}}
		s := script(t, sink, server.Options{AdvanceInterval: 10 * time.Millisecond})
		s.News()
		s.Send('N', []byte{0})
		s.Send('N', []byte("SWARNING\x00VWARNING\x00C55000\x00Mreplication slot \"carbond\" of a standby does not exist\x00RStandbySlotsHaveCaughtup\x00\x00"))
		s.Data(0, []byte{'A', 0, 0, 0, 1, 0, 0, 0, 1})
		s.Data(0, []byte{'S', 0, 0, 0, 1, 1})
		s.Data(0, []byte{'M', 1, 0, 0, 0, 0, 0, 0, 0, 1, 'p', 0, 0, 0, 0, 0})
		s.Begin(300, 1)
		s.Insert(290, "again")
		s.Commit(300, 310)
		s.Begin(400, 2)
		s.Insert(390, "new")
		s.Commit(400, 410)
		s.status("of the new transaction", at(410))
		s.Keepalive(405, true) // behind what is durable
		s.status("after an old keepalive", at(410))
		if sink.rows != 1 {
			t.Fatalf("%d rows, want the new one alone", sink.rows)
		}
		s.stop()
		<-s.end
	})
}

func TestScriptedFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		script func(s *scripted)
		kind   pgerr.Kind
	}{
		"row outside a transaction": {func(s *scripted) { s.News(); s.Insert(1, "x") }, pgerr.KindProtocol},
		"BEGIN inside one":          {func(s *scripted) { s.Begin(200, 1); s.Begin(300, 2) }, pgerr.KindProtocol},
		"COMMIT outside one":        {func(s *scripted) { s.Commit(200, 210) }, pgerr.KindProtocol},
		"garbage":                   {func(s *scripted) { s.Data(1, []byte{'I', 0}) }, pgerr.KindProtocol},
		"short replication message": {func(s *scripted) { s.Send('d', []byte{'k', 1}) }, pgerr.KindProtocol},
		"empty replication message": {func(s *scripted) { s.Send('d', nil) }, pgerr.KindProtocol},
		"end of the stream":         {func(s *scripted) { s.Send('c', nil) }, pgerr.KindConnect},
		"error":                     {func(s *scripted) { s.Send('E', []byte("SERROR\x00C57P01\x00Mgoing down\x00\x00")) }, pgerr.KindConnect},
		// The text of a German server of version 18.
		"publication left out": {func(s *scripted) {
			s.Send('N', []byte("SWARNUNG\x00VWARNING\x00C55000\x00MLaden der Publikation »carbond« übersprungen\x00RLoadPublications\x00\x00"))
		}, pgerr.KindPublicationChange},
		"unreadable notice": {func(s *scripted) { s.Send('N', []byte{'S'}) }, pgerr.KindProtocol},
		"silence":           {func(*scripted) {}, pgerr.KindSilent},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := script(t, &scriptSink{pos: change.Position{LSN: 100}}, server.Options{SilenceTimeout: 500 * time.Millisecond})
				tt.script(s)
				select {
				case err := <-s.end:
					if pgerr.KindOf(err) != tt.kind {
						t.Fatalf("got %s: %v", pgerr.KindOf(err), err)
					}
				case <-time.After(10 * time.Second):
					t.Fatal("the receiver does not end")
				}
			})
		})
	}
}

func TestScriptedSilenceIsBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := script(t, &scriptSink{pos: change.Position{LSN: 100}}, server.Options{SilenceTimeout: time.Second})
		// Every question answered: the connection stays.
		for range 15 {
			s.status("that asks", func(st walsender.Status) bool { return st.Reply })
			s.Keepalive(100, false)
		}
		s.stop()
		if err := <-s.end; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
}

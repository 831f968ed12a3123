package replicate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carbond/replicate/internal/note"
	"carbond/replicate/internal/server"
	"carbond/replicate/pgerr"
	"carbond/store/change"
)

func TestDecide(t *testing.T) {
	srv := server.Info{SystemID: "7", Database: "d", Flushed: 1000}
	here := change.Source{SystemID: "7", Database: "d", Slot: "s"}
	free := func(edit func(*server.Slot)) *server.Slot {
		s := &server.Slot{Plugin: "pgoutput", Database: "d", Confirmed: 500, WalStatus: "reserved"}
		if edit != nil {
			edit(s)
		}
		return s
	}
	copied := change.Position{LSN: 600, Copied: true, Source: here}
	own := &note.SlotMarker{SystemID: "7", Database: "d", Slot: "s", Point: change.LSN(500).String()}
	for name, tt := range map[string]struct {
		pos    change.Position
		slot   *server.Slot
		marker *note.SlotMarker
		gap    server.GapAction
		take   bool
		want   plan
		kind   pgerr.Kind // of the error, "" for none
	}{
		"first start":                          {want: planCopy},
		"first start on a prepared slot":       {slot: free(func(s *server.Slot) { s.Prepared = true }), want: planCopy},
		"first start on somebody's slot":       {slot: free(nil), kind: pgerr.KindSlotForeign},
		"the same, told to copy":               {slot: free(nil), gap: server.GapResnapshot, want: planCopy},
		"the same, told to take over":          {slot: free(nil), take: true, want: planCopy},
		"take over a slot in use":              {slot: free(func(s *server.Slot) { s.Pid = 9 }), take: true, kind: pgerr.KindSlotInUse},
		"take over another plugin's":           {slot: free(func(s *server.Slot) { s.Plugin = "wal2json" }), take: true, kind: pgerr.KindSlotForeign},
		"a copy does not take over":            {pos: copied, slot: free(func(s *server.Slot) { s.Confirmed = 601 }), take: true, kind: pgerr.KindSlotAhead},
		"embedded data on somebody's slot":     {pos: change.Position{LSN: 0, Copied: true}, slot: free(nil), kind: pgerr.KindSlotForeign},
		"unfinished copy":                      {slot: free(nil), marker: own, want: planCopy},
		"crash before the answer":              {slot: free(nil), marker: &note.SlotMarker{SystemID: "7", Database: "d", Slot: "s"}, want: planCopy},
		"the marked slot is used by others":    {slot: free(func(s *server.Slot) { s.Confirmed++ }), marker: own, kind: pgerr.KindSlotForeign},
		"marker on another slot":               {slot: free(nil), marker: &note.SlotMarker{SystemID: "7", Database: "d", Slot: "t"}, kind: pgerr.KindSlotForeign},
		"marker in another cluster":            {slot: free(nil), marker: &note.SlotMarker{SystemID: "8", Database: "d", Slot: "s"}, kind: pgerr.KindSlotForeign},
		"marker in another database":           {slot: free(nil), marker: &note.SlotMarker{SystemID: "7", Database: "e", Slot: "s"}, kind: pgerr.KindSlotForeign},
		"another plugin":                       {slot: free(func(s *server.Slot) { s.Plugin = "wal2json" }), gap: server.GapResnapshot, kind: pgerr.KindSlotForeign},
		"another database":                     {slot: free(func(s *server.Slot) { s.Database = "e" }), gap: server.GapResnapshot, kind: pgerr.KindSlotForeign},
		"in use":                               {slot: free(func(s *server.Slot) { s.Pid = 9; s.Prepared = true }), gap: server.GapResnapshot, kind: pgerr.KindSlotInUse},
		"continue":                             {pos: copied, slot: free(nil), want: planStream},
		"ahead":                                {pos: copied, slot: free(func(s *server.Slot) { s.Confirmed = 601 }), kind: pgerr.KindSlotAhead},
		"ahead, told to copy":                  {pos: copied, slot: free(func(s *server.Slot) { s.Confirmed = 601 }), gap: server.GapResnapshot, want: planCopy},
		"a new copy did not end":               {pos: change.Position{LSN: 499, Copied: true, Source: here}, slot: free(nil), marker: own, kind: pgerr.KindSlotAhead},
		"the note of a copy came back":         {pos: copied, slot: free(nil), marker: own, want: planStream},
		"a new copy without an answer":         {pos: copied, slot: free(nil), marker: &note.SlotMarker{SystemID: "7", Database: "d", Slot: "s"}, kind: pgerr.KindSlotMissing},
		"the slot is older than the copy":      {pos: change.Position{LSN: 600, CopyLSN: 501, Copied: true, Source: here}, slot: free(nil), kind: pgerr.KindServerBehind},
		"the slot is as old as the copy":       {pos: change.Position{LSN: 600, CopyLSN: 500, Copied: true, Source: here}, slot: free(nil), want: planStream},
		"a named copy ended, its note did not": {pos: change.Position{LSN: 900, Copied: true, Source: change.Source{SystemID: "7", Database: "d", Copy: "x"}}, slot: free(nil), marker: &note.SlotMarker{SystemID: "7", Database: "d", Slot: "s", Point: change.LSN(500).String(), Copy: "x"}, want: planStream},
		"a named new copy did not end":         {pos: change.Position{LSN: 500, Copied: true, Source: here}, slot: free(nil), marker: &note.SlotMarker{SystemID: "7", Database: "d", Slot: "s", Point: change.LSN(500).String(), Copy: "x"}, kind: pgerr.KindSlotMissing},
		"a copy ended, its note did not":       {pos: change.Position{LSN: 500, Copied: true, Source: here}, slot: free(nil), marker: own, want: planStream},
		"gone":                                 {pos: copied, kind: pgerr.KindSlotMissing},
		"gone, and prepared again":             {pos: copied, slot: free(func(s *server.Slot) { s.Prepared = true }), kind: pgerr.KindSlotMissing},
		"lost":                                 {pos: copied, slot: free(func(s *server.Slot) { s.WalStatus = "lost" }), kind: pgerr.KindSlotLost},
		"server went back":                     {pos: change.Position{LSN: 1001, Copied: true, Source: here}, slot: free(nil), kind: pgerr.KindServerBehind},
		"another cluster":                      {pos: change.Position{LSN: 600, Copied: true, Source: change.Source{SystemID: "8", Database: "d"}}, slot: free(nil), gap: server.GapResnapshot, kind: pgerr.KindOtherCluster},
	} {
		t.Run(name, func(t *testing.T) {
			opt := server.Options{Slot: "s", OnGap: tt.gap, TakeOver: tt.take}.WithDefaults()
			got, err := decide(&opt, tt.pos, srv, tt.slot, tt.marker)
			if tt.kind == "" && (err != nil || got != tt.want) || tt.kind != "" && (err == nil || pgerr.KindOf(err) != tt.kind) {
				t.Errorf("got %v, %v", got, err)
			}
			if e, ok := errors.AsType[*pgerr.Error](err); ok && e.Repair == "" {
				t.Errorf("no remedy: %v", err)
			}
		})
	}
}

func TestSlotMarker(t *testing.T) {
	srv := server.Info{SystemID: "7", Database: "d"}
	path := filepath.Join(t.TempDir(), "source.json")
	open := func() *Replicator { return New(nil, server.Options{URL: "postgres://x", Slot: "s", SourcePath: path}) }
	markerOf := func(r *Replicator) *note.SlotMarker {
		n, err := r.readNote(change.Position{})
		if err != nil {
			t.Fatal(err)
		}
		return n.Copying
	}
	r := open()
	if markerOf(r) != nil {
		t.Fatal("a marker out of nothing")
	}
	if err := r.unmarkSlot(); err != nil { // nothing to remove
		t.Fatal(err)
	}
	for _, point := range []change.LSN{0, 500} {
		if err := r.markSlot(srv, "one", point); err != nil {
			t.Fatal(err)
		}
		if !markerFits(markerOf(open()), srv, "s", &server.Slot{Confirmed: 500}) {
			t.Errorf("the marker at %s is forgotten", point)
		}
	}
	if markerFits(markerOf(open()), srv, "s", &server.Slot{Confirmed: 501}) {
		t.Error("a slot that has moved is claimed")
	}
	if err := r.unmarkSlot(); err != nil || markerOf(r) != nil || markerOf(open()) != nil {
		t.Errorf("the marker has not ended: %v", err)
	}
	r.note = note.At(filepath.Join(path, "not", "a", "folder"))
	if err := r.markSlot(srv, "one", 0); pgerr.KindOf(err) != pgerr.KindSink || !strings.Contains(err.Error(), "writable") {
		t.Errorf("got %v", err)
	}
}

// What a note said that cannot be read may have been a verdict.
func TestUnreadableNote(t *testing.T) {
	copied := change.Position{LSN: 5, Copied: true, Source: change.Source{SystemID: "7", Database: "d", Slot: "s", Copy: "one"}}
	for name, tt := range map[string]struct {
		pos    change.Position
		gap    server.GapAction
		kind   pgerr.Kind
		recopy bool
	}{
		"before the first copy": {},
		"beside a copy":         {pos: copied, kind: pgerr.KindNote},
		"told to copy":          {pos: copied, gap: server.GapResnapshot, recopy: true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "source.json")
			if err := os.WriteFile(path, []byte("{half"), 0o600); err != nil {
				t.Fatal(err)
			}
			r := New(nil, server.Options{URL: "postgres://x", SourcePath: path, OnGap: tt.gap})
			n, err := r.readNote(tt.pos)
			if tt.kind != "" && pgerr.KindOf(err) != tt.kind || tt.kind == "" && err != nil || n.Copying != nil || r.recopy != tt.recopy {
				t.Errorf("got %+v, %v, recopy %t", n, err, r.recopy)
			}
			if _, err := note.At(path).Get(); (err != nil) != (tt.kind != "") {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// A verdict lasts over restarts, and ends with the copy of which it speaks.
func TestVerdict(t *testing.T) {
	path := filepath.Join(t.TempDir(), "source.json")
	sink := still{LSN: 5, Copied: true, Source: change.Source{SystemID: "7", Database: "d", Copy: "one"}}
	open := func() *session {
		return newSession(New(sink, server.Options{URL: "postgres://x", SourcePath: path}), nil)
	}
	s := open()
	for _, e := range []*pgerr.Error{
		pgerr.New(pgerr.KindTableChange, "", nil, "first"), pgerr.New(pgerr.KindTableChange, "", nil, "second"),
		pgerr.New(pgerr.KindPublicationChange, "", nil, "third"), pgerr.New(pgerr.KindTableChange, "", nil, "fourth"),
	} {
		if err := s.r.recordVerdict(e, "verra"); err != nil {
			t.Fatal(err)
		}
	}
	s = open()
	n, err := s.r.readNote(sink.Position())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.applyVerdict(n, sink.Position()); pgerr.KindOf(err) != pgerr.KindPublicationChange || !strings.Contains(err.Error(), "third") {
		t.Errorf("stop: %v", err)
	}
	s.opt.OnGap = server.GapResnapshot
	if p, err := s.applyVerdict(n, sink.Position()); p != planCopy || err != nil {
		t.Errorf("resnapshot: %v, %v", p, err)
	}
	again := sink
	again.Source.Copy = "two"
	if p, err := s.applyVerdict(n, again.Position()); p != planStream || err != nil {
		t.Errorf("after a copy: %v, %v", p, err)
	}
}

// still is a sink that stands still.
type still change.Position

func (p still) Position() change.Position               { return change.Position(p) }
func (still) Apply(context.Context, []change.Txn) error { return nil }
func (still) Advance(context.Context, change.LSN) error { return nil }
func (still) Marks() map[string]string                  { return nil }
func (still) Since(context.Context, change.LSN) (change.LSN, func() (change.TxnID, error), error) {
	return 0, nil, errors.ErrUnsupported
}

package replicate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carbond/replicate/internal/note"
	"carbond/store/change"
)

func TestDecide(t *testing.T) {
	srv := server{systemID: "7", database: "d", flushed: 1000}
	here := change.Source{SystemID: "7", Database: "d", Slot: "s"}
	free := func(edit func(*slotInfo)) *slotInfo {
		s := &slotInfo{plugin: "pgoutput", database: "d", confirmed: 500, walStatus: "reserved"}
		if edit != nil {
			edit(s)
		}
		return s
	}
	copied := change.Position{LSN: 600, Copied: true, Source: here}
	own := &note.Claim{SystemID: "7", Database: "d", Slot: "s", Point: change.LSN(500).String()}
	for name, tt := range map[string]struct {
		pos   change.Position
		slot  *slotInfo
		claim *note.Claim
		gap   GapAction
		take  bool
		want  plan
		kind  Kind // of the error, "" for none
	}{
		"first start":                          {want: planCopy},
		"first start on a prepared slot":       {slot: free(func(s *slotInfo) { s.prepared = true }), want: planCopy},
		"first start on somebody's slot":       {slot: free(nil), kind: KindSlotForeign},
		"the same, told to copy":               {slot: free(nil), gap: GapResnapshot, want: planCopy},
		"the same, told to take over":          {slot: free(nil), take: true, want: planCopy},
		"take over a slot in use":              {slot: free(func(s *slotInfo) { s.pid = 9 }), take: true, kind: KindSlotInUse},
		"take over another plugin's":           {slot: free(func(s *slotInfo) { s.plugin = "wal2json" }), take: true, kind: KindSlotForeign},
		"a copy does not take over":            {pos: copied, slot: free(func(s *slotInfo) { s.confirmed = 601 }), take: true, kind: KindSlotAhead},
		"embedded data on somebody's slot":     {pos: change.Position{LSN: 0, Copied: true}, slot: free(nil), kind: KindSlotForeign},
		"unfinished copy":                      {slot: free(nil), claim: own, want: planCopy},
		"crash before the answer":              {slot: free(nil), claim: &note.Claim{SystemID: "7", Database: "d", Slot: "s"}, want: planCopy},
		"the claimed slot is used by others":   {slot: free(func(s *slotInfo) { s.confirmed++ }), claim: own, kind: KindSlotForeign},
		"claim on another slot":                {slot: free(nil), claim: &note.Claim{SystemID: "7", Database: "d", Slot: "t"}, kind: KindSlotForeign},
		"claim in another cluster":             {slot: free(nil), claim: &note.Claim{SystemID: "8", Database: "d", Slot: "s"}, kind: KindSlotForeign},
		"claim in another database":            {slot: free(nil), claim: &note.Claim{SystemID: "7", Database: "e", Slot: "s"}, kind: KindSlotForeign},
		"another plugin":                       {slot: free(func(s *slotInfo) { s.plugin = "wal2json" }), gap: GapResnapshot, kind: KindSlotForeign},
		"another database":                     {slot: free(func(s *slotInfo) { s.database = "e" }), gap: GapResnapshot, kind: KindSlotForeign},
		"in use":                               {slot: free(func(s *slotInfo) { s.pid = 9; s.prepared = true }), gap: GapResnapshot, kind: KindSlotInUse},
		"continue":                             {pos: copied, slot: free(nil), want: planStream},
		"ahead":                                {pos: copied, slot: free(func(s *slotInfo) { s.confirmed = 601 }), kind: KindSlotAhead},
		"ahead, told to copy":                  {pos: copied, slot: free(func(s *slotInfo) { s.confirmed = 601 }), gap: GapResnapshot, want: planCopy},
		"a copy anew did not end":              {pos: change.Position{LSN: 499, Copied: true, Source: here}, slot: free(nil), claim: own, kind: KindSlotAhead},
		"the note of a copy came back":         {pos: copied, slot: free(nil), claim: own, want: planStream},
		"a copy anew without an answer":        {pos: copied, slot: free(nil), claim: &note.Claim{SystemID: "7", Database: "d", Slot: "s"}, kind: KindSlotMissing},
		"the slot is older than the copy":      {pos: change.Position{LSN: 600, CopyLSN: 501, Copied: true, Source: here}, slot: free(nil), kind: KindServerBehind},
		"the slot is as old as the copy":       {pos: change.Position{LSN: 600, CopyLSN: 500, Copied: true, Source: here}, slot: free(nil), want: planStream},
		"a named copy ended, its note did not": {pos: change.Position{LSN: 900, Copied: true, Source: change.Source{SystemID: "7", Database: "d", Copy: "x"}}, slot: free(nil), claim: &note.Claim{SystemID: "7", Database: "d", Slot: "s", Point: change.LSN(500).String(), Copy: "x"}, want: planStream},
		"a named copy anew did not end":        {pos: change.Position{LSN: 500, Copied: true, Source: here}, slot: free(nil), claim: &note.Claim{SystemID: "7", Database: "d", Slot: "s", Point: change.LSN(500).String(), Copy: "x"}, kind: KindSlotMissing},
		"a copy ended, its note did not":       {pos: change.Position{LSN: 500, Copied: true, Source: here}, slot: free(nil), claim: own, want: planStream},
		"gone":                                 {pos: copied, kind: KindSlotMissing},
		"gone, and prepared anew":              {pos: copied, slot: free(func(s *slotInfo) { s.prepared = true }), kind: KindSlotMissing},
		"lost":                                 {pos: copied, slot: free(func(s *slotInfo) { s.walStatus = "lost" }), kind: KindSlotLost},
		"server went back":                     {pos: change.Position{LSN: 1001, Copied: true, Source: here}, slot: free(nil), kind: KindServerBehind},
		"another cluster":                      {pos: change.Position{LSN: 600, Copied: true, Source: change.Source{SystemID: "8", Database: "d"}}, slot: free(nil), gap: GapResnapshot, kind: KindOtherCluster},
	} {
		t.Run(name, func(t *testing.T) {
			opt := Options{Slot: "s", OnGap: tt.gap, TakeOver: tt.take}.withDefaults()
			got, err := opt.decide(tt.pos, srv, tt.slot, tt.claim)
			if tt.kind == "" && (err != nil || got != tt.want) || tt.kind != "" && (err == nil || kindOf(err) != tt.kind) {
				t.Errorf("got %v, %v", got, err)
			}
			if e, ok := errors.AsType[*Error](err); ok && e.Repair == "" {
				t.Errorf("no remedy: %v", err)
			}
		})
	}
}

func TestClaim(t *testing.T) {
	srv := server{systemID: "7", database: "d"}
	path := filepath.Join(t.TempDir(), "source.json")
	open := func() *Replicator { return New(nil, Options{URL: "postgres://x", Slot: "s", SourcePath: path}) }
	claimed := func(r *Replicator) *note.Claim {
		n, err := r.remembered(change.Position{})
		if err != nil {
			t.Fatal(err)
		}
		return n.Copying
	}
	r := open()
	if claimed(r) != nil {
		t.Fatal("a claim out of nothing")
	}
	if err := r.unstake(); err != nil { // nothing to remove
		t.Fatal(err)
	}
	for _, point := range []change.LSN{0, 500} {
		if err := r.stake(srv, "one", point); err != nil {
			t.Fatal(err)
		}
		if !holds(claimed(open()), srv, "s", &slotInfo{confirmed: 500}) {
			t.Errorf("the claim at %s is forgotten", point)
		}
	}
	if holds(claimed(open()), srv, "s", &slotInfo{confirmed: 501}) {
		t.Error("a slot that has moved is claimed")
	}
	if err := r.unstake(); err != nil || claimed(r) != nil || claimed(open()) != nil {
		t.Errorf("the claim has not ended: %v", err)
	}
	r.note = note.At(filepath.Join(path, "not", "a", "folder"))
	if err := r.stake(srv, "one", 0); kindOf(err) != KindSink || !strings.Contains(err.Error(), "writable") {
		t.Errorf("got %v", err)
	}
}

// What a note said that cannot be read may have been a verdict.
func TestUnreadableNote(t *testing.T) {
	copied := change.Position{LSN: 5, Copied: true, Source: change.Source{SystemID: "7", Database: "d", Slot: "s", Copy: "one"}}
	for name, tt := range map[string]struct {
		pos    change.Position
		gap    GapAction
		kind   Kind
		recopy bool
	}{
		"before the first copy": {},
		"beside a copy":         {pos: copied, kind: KindNote},
		"told to copy":          {pos: copied, gap: GapResnapshot, recopy: true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "source.json")
			if err := os.WriteFile(path, []byte("{half"), 0o600); err != nil {
				t.Fatal(err)
			}
			r := New(nil, Options{URL: "postgres://x", SourcePath: path, OnGap: tt.gap})
			n, err := r.remembered(tt.pos)
			if tt.kind != "" && kindOf(err) != tt.kind || tt.kind == "" && err != nil || n.Copying != nil || r.recopy != tt.recopy {
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
		return newSession(New(sink, Options{URL: "postgres://x", SourcePath: path}), nil)
	}
	s := open()
	for _, e := range []*Error{
		fault(KindTableChange, "", nil, "first"), fault(KindTableChange, "", nil, "second"),
		fault(KindPublicationChange, "", nil, "third"), fault(KindTableChange, "", nil, "fourth"),
	} {
		if err := s.condemn(e, "verra"); err != nil {
			t.Fatal(err)
		}
	}
	s = open()
	n, err := s.remembered(sink.Position())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.judged(n, sink.Position()); kindOf(err) != KindPublicationChange || !strings.Contains(err.Error(), "third") {
		t.Errorf("stop: %v", err)
	}
	s.opt.OnGap = GapResnapshot
	if p, err := s.judged(n, sink.Position()); p != planCopy || err != nil {
		t.Errorf("resnapshot: %v, %v", p, err)
	}
	anew := sink
	anew.Source.Copy = "two"
	if p, err := s.judged(n, anew.Position()); p != planStream || err != nil {
		t.Errorf("after a copy: %v, %v", p, err)
	}
}

// still is a sink that stands still.
type still change.Position

func (p still) Position() change.Position               { return change.Position(p) }
func (still) Apply(context.Context, []change.Txn) error { return nil }
func (still) Advance(context.Context, change.LSN) error { return nil }
func (still) Since(context.Context, change.LSN) (change.LSN, func() (change.TxnID, error), error) {
	return 0, nil, errors.ErrUnsupported
}

package replicate

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	own := &claim{SystemID: "7", Database: "d", Slot: "s", Point: change.LSN(500).String()}
	for name, tt := range map[string]struct {
		pos   change.Position
		slot  *slotInfo
		claim *claim
		gap   GapAction
		take  bool
		want  plan
		kind  Kind // of the error, "" for none
	}{
		"first start":                        {want: planCopy},
		"first start on a prepared slot":     {slot: free(func(s *slotInfo) { s.prepared = true }), want: planCopy},
		"first start on somebody's slot":     {slot: free(nil), kind: KindSlotForeign},
		"the same, told to copy":             {slot: free(nil), gap: GapResnapshot, want: planCopy},
		"the same, told to take over":        {slot: free(nil), take: true, want: planCopy},
		"take over a slot in use":            {slot: free(func(s *slotInfo) { s.pid = 9 }), take: true, kind: KindSlotInUse},
		"take over another plugin's":         {slot: free(func(s *slotInfo) { s.plugin = "wal2json" }), take: true, kind: KindSlotForeign},
		"a copy does not take over":          {pos: copied, slot: free(func(s *slotInfo) { s.confirmed = 601 }), take: true, kind: KindSlotAhead},
		"embedded data on somebody's slot":   {pos: change.Position{LSN: 0, Copied: true}, slot: free(nil), kind: KindSlotForeign},
		"unfinished copy":                    {slot: free(nil), claim: own, want: planCopy},
		"crash before the answer":            {slot: free(nil), claim: &claim{SystemID: "7", Database: "d", Slot: "s"}, want: planCopy},
		"the claimed slot is used by others": {slot: free(func(s *slotInfo) { s.confirmed++ }), claim: own, kind: KindSlotForeign},
		"claim on another slot":              {slot: free(nil), claim: &claim{SystemID: "7", Database: "d", Slot: "t"}, kind: KindSlotForeign},
		"claim in another cluster":           {slot: free(nil), claim: &claim{SystemID: "8", Database: "d", Slot: "s"}, kind: KindSlotForeign},
		"claim in another database":          {slot: free(nil), claim: &claim{SystemID: "7", Database: "e", Slot: "s"}, kind: KindSlotForeign},
		"another plugin":                     {slot: free(func(s *slotInfo) { s.plugin = "wal2json" }), gap: GapResnapshot, kind: KindSlotForeign},
		"another database":                   {slot: free(func(s *slotInfo) { s.database = "e" }), gap: GapResnapshot, kind: KindSlotForeign},
		"in use":                             {slot: free(func(s *slotInfo) { s.pid = 9; s.prepared = true }), gap: GapResnapshot, kind: KindSlotInUse},
		"continue":                           {pos: copied, slot: free(nil), want: planStream},
		"ahead":                              {pos: copied, slot: free(func(s *slotInfo) { s.confirmed = 601 }), kind: KindSlotAhead},
		"ahead, told to copy":                {pos: copied, slot: free(func(s *slotInfo) { s.confirmed = 601 }), gap: GapResnapshot, want: planCopy},
		"a copy anew did not end":            {pos: copied, slot: free(nil), claim: own, kind: KindSlotMissing},
		"a copy ended, its note did not":     {pos: change.Position{LSN: 500, Copied: true, Source: here}, slot: free(nil), claim: own, want: planStream},
		"gone":                               {pos: copied, kind: KindSlotMissing},
		"gone, and prepared anew":            {pos: copied, slot: free(func(s *slotInfo) { s.prepared = true }), kind: KindSlotMissing},
		"lost":                               {pos: copied, slot: free(func(s *slotInfo) { s.walStatus = "lost" }), kind: KindSlotLost},
		"server went back":                   {pos: change.Position{LSN: 1001, Copied: true, Source: here}, slot: free(nil), kind: KindServerBehind},
		"another cluster":                    {pos: change.Position{LSN: 600, Copied: true, Source: change.Source{SystemID: "8", Database: "d"}}, slot: free(nil), gap: GapResnapshot, kind: KindOtherCluster},
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
	path := filepath.Join(t.TempDir(), "copying.json")
	open := func() *Replicator { return New(nil, Options{URL: "postgres://x", Slot: "s", ClaimPath: path}) }
	slot := &slotInfo{confirmed: 500}
	r := open()
	if r.claimed() != nil {
		t.Fatal("a claim out of nothing")
	}
	r.unstake() // nothing to remove
	for _, point := range []change.LSN{0, 500} {
		if err := r.stake(srv, point); err != nil {
			t.Fatal(err)
		}
		if !open().claimed().holds(srv, "s", slot) {
			t.Errorf("the claim at %s is forgotten", point)
		}
	}
	if open().claimed().holds(srv, "s", &slotInfo{confirmed: 501}) {
		t.Error("a slot that has moved is claimed")
	}
	r.unstake()
	if r.claimed() != nil || open().claimed() != nil {
		t.Error("the claim has not ended")
	}
	if err := os.WriteFile(path, []byte("{half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if open().claimed() != nil {
		t.Error("a broken note is a claim")
	}
	r.opt.ClaimPath = filepath.Join(path, "not", "a", "folder")
	if err := r.stake(srv, 0); kindOf(err) != KindSink || !strings.Contains(err.Error(), "writable") {
		t.Errorf("got %v", err)
	}
}

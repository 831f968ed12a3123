package replicate

// White box: which of two TRUNCATEs a look shows, and how far the stream has
// come at that moment, is a race that a real server cannot be made to lose.

import (
	"strconv"
	"testing"

	"carbond/replicate/internal/catalog"
	"carbond/replicate/internal/server"
	"carbond/replicate/internal/stream"
	"carbond/store/change"
)

// A look shows that a partition has another file, written by one transaction. Only
// a TRUNCATE of the table in that very one explains it: not one before it, and
// none that came before the look was waited for.
func TestTruncatesExplain(t *testing.T) {
	look := func(lsn change.LSN, xid uint32) *catalog.Marks {
		leaf := catalog.Part{OID: 2, Parent: 1, Leaf: true, File: 2 + xid, XMin: strconv.FormatUint(uint64(xid), 10), Toast: 9, Uncounted: true, Permanent: true, Keyed: true}
		return &catalog.Marks{LSN: lsn, Tables: map[string]*catalog.Table{change.Finance: {OID: 1, Parts: []catalog.Part{{OID: 1}, leaf}}}}
	}
	type step struct {
		truncate uint32     // the stream has brought this transaction's, 0 for none
		received change.LSN // the stream has come so far
		look     change.LSN // a look at the catalog here
		shows    uint32     // the transaction that wrote the partition's row
		want     string
	}
	for name, steps := range map[string][]step{
		"of the table":                        {{0, 10, 20, 7, "waits"}, {7, 20, 30, 7, "fine"}},
		"of the table, brought before":        {{7, 10, 20, 7, "fine"}},
		"of the partition":                    {{0, 10, 20, 7, "waits"}, {0, 15, 25, 7, "waits"}, {0, 20, 30, 7, "flaw"}},
		"of the table, then of the part":      {{7, 10, 20, 8, "waits"}, {0, 20, 30, 8, "flaw"}},
		"of the part while another is waited": {{0, 10, 20, 7, "waits"}, {7, 20, 30, 8, "waits"}, {0, 30, 40, 8, "flaw"}},
		"of the table, twice":                 {{0, 10, 20, 7, "waits"}, {7, 20, 30, 8, "waits"}, {8, 30, 40, 8, "fine"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := New(&scriptSink{}, Options{OnGap: server.GapResnapshot})
			s := newSession(r, nil)
			s.survey = newSurvey(look(5, 0), nil)
			for i, st := range steps {
				if st.truncate != 0 {
					if err := s.truncates(change.Finance, st.truncate, st.received); err != nil {
						t.Fatal(err)
					}
				}
				r.st.move(func(p *stream.Progress) { p.Keepalive(st.received) })
				got := "fine"
				if waits, flaw := s.weigh(s.survey, look(st.look, st.shows)); flaw != nil {
					got = "flaw"
				} else if waits {
					got = "waits"
				}
				if got != st.want {
					t.Fatalf("step %d: %s, want %s", i, got, st.want)
				}
			}
			if n, err := r.note.Get(); err != nil || (n.Verdict != nil) != (steps[len(steps)-1].want == "flaw") {
				t.Errorf("noted: %+v, %v", n.Verdict, err)
			}
		})
	}
}

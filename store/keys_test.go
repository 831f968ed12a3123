package store_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"carbond/store"
	"carbond/store/change"
)

// full returns the Relation of a table under REPLICA IDENTITY FULL.
func full(table string) *change.Relation {
	r := *change.Standard(table)
	r.Columns = slices.Clone(r.Columns)
	for i := range r.Columns {
		r.Columns[i].Key = true
	}
	return &r
}

// deferrable is a table whose primary key is looked at when a transaction ends,
// as Postgres has it: rows in the order of their places, and the events that
// REPLICA IDENTITY FULL gives.
type deferrable struct {
	rel    *change.Relation
	rows   []keyed
	lsn    change.LSN
	events []change.Change
}

type keyed struct{ key, name string }

func (d *deferrable) event(op change.Op, before, after *keyed) {
	c := change.Change{Op: op, Relation: d.rel}
	if before != nil {
		c.Before = verraRow(d.rel, before.key, before.name)
	}
	if after != nil {
		c.After = verraRow(d.rel, after.key, after.name)
	}
	d.events = append(d.events, c)
}

func (d *deferrable) txn() change.Txn {
	d.lsn += 10
	t := change.Txn{XID: uint32(d.lsn), CommitLSN: d.lsn, EndLSN: d.lsn + 5, First: true, Final: true, Changes: d.events}
	d.events = nil
	return t
}

// rekey is one UPDATE that gives rows other keys, in an order of its own.
func (d *deferrable) rekey(rng *rand.Rand, to map[string]string) {
	for _, i := range rng.Perm(len(d.rows)) {
		if k, ok := to[d.rows[i].key]; ok {
			old := d.rows[i]
			d.rows[i].key = k
			d.event(change.Update, &old, &d.rows[i])
		}
	}
}

// step does some statements of one transaction. Keys are unique at its end.
func (d *deferrable) step(rng *rand.Rand) {
	for range 1 + rng.IntN(4) {
		var keys []string
		for _, r := range d.rows {
			keys = append(keys, r.key)
		}
		rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		to := map[string]string{}
		switch n := rng.IntN(6); {
		case n == 0 && len(keys) > 0: // the key goes to a new row before the old one goes
			i := slices.IndexFunc(d.rows, func(r keyed) bool { return r.key == keys[0] })
			old, fresh := d.rows[i], keyed{keys[0], strconv.Itoa(rng.IntN(3))}
			d.event(change.Create, nil, &fresh)
			if rng.IntN(2) == 0 {
				changed := keyed{fresh.key, fresh.name + "+"}
				d.event(change.Update, &fresh, &changed)
				fresh = changed
			}
			d.event(change.Delete, &old, nil)
			d.rows[i] = fresh
		case n <= 1 || len(keys) < 3:
			fresh := keyed{"k" + strconv.Itoa(rng.IntN(20)), strconv.Itoa(rng.IntN(3))}
			if !slices.Contains(keys, fresh.key) {
				d.event(change.Create, nil, &fresh)
				d.rows = append(d.rows, fresh)
			}
		case n == 2:
			i := rng.IntN(len(d.rows))
			d.event(change.Delete, &d.rows[i], nil)
			d.rows = slices.Delete(d.rows, i, i+1)
		case n == 3: // a shift along some keys and one more
			chain := append(keys[:1+rng.IntN(len(keys))], "k"+strconv.Itoa(20+rng.IntN(20)))
			if slices.Contains(keys, chain[len(chain)-1]) {
				continue
			}
			for i := range len(chain) - 1 {
				to[chain[i]] = chain[i+1]
			}
			d.rekey(rng, to)
		default: // a permutation
			for i, k := range keys {
				to[k] = keys[(i+1)%len(keys)]
			}
			d.rekey(rng, to)
		}
	}
}

func (d *deferrable) want() map[string]string {
	out := map[string]string{}
	for _, r := range d.rows {
		out[r.key] = r.name
	}
	return out
}

func names(s *store.Snapshot) map[string]string {
	out := map[string]string{}
	for p := range s.Projects("", "") {
		out[p.ProjectID] = p.ProjectName
	}
	return out
}

// TestDeferrableKeys moves keys over each other at random and compares the view,
// the view as it was one transaction before, what a consumer rebuilds from the
// changelog by key, and a store that is opened again, with the rows.
func TestDeferrableKeys(t *testing.T) {
	sd := seed(t)
	rng := rand.New(rand.NewPCG(sd, 6))
	dir := t.TempDir()
	s := open(t, dir, store.Options{NoSync: true})
	defer func() { s.Close() }()
	d := &deferrable{rel: full(change.Verra)}
	rebuilt, next := map[string]string{}, change.Offset(1)
	for i := range 400 {
		was, at := d.want(), s.Position().Offset
		d.step(rng)
		mustApply(t, s, d.txn())
		want := d.want()
		if got := names(s.Snapshot()); !maps.Equal(got, want) {
			t.Fatalf("transaction %d: got %v, want %v", i, got, want)
		}
		past, err := s.AsOf(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		if got := names(past); !maps.Equal(got, was) {
			t.Fatalf("before transaction %d: got %v, want %v", i, got, was)
		}
		next = rebuild(t, s, next, rebuilt)
		if !maps.Equal(rebuilt, want) {
			t.Fatalf("transaction %d: a consumer has %v, want %v", i, rebuilt, want)
		}
		if rng.IntN(40) == 0 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, store.Options{NoSync: true})
			if got := names(s.Snapshot()); !maps.Equal(got, want) {
				t.Fatalf("opened again after %d: got %v, want %v", i, got, want)
			}
		}
	}
}

// rebuild applies the records from an offset on to a table by key, as a consumer
// does.
func rebuild(t *testing.T, s *store.Store, from change.Offset, table map[string]string) change.Offset {
	t.Helper()
	r := s.NewReader(from)
	for {
		recs, err := r.Read(1 << 16)
		if err != nil {
			t.Fatal(err)
		}
		if len(recs) == 0 {
			return r.Next()
		}
		for _, rec := range recs {
			id, name := rec.Relation.Index("project_id"), rec.Relation.Index("project_name")
			if rec.Op == change.Delete {
				delete(table, rec.Before.Value(id).Text)
				continue
			}
			table[rec.After.Value(id).Text] = rec.After.Value(name).Text
		}
	}
}

// Two rows that share a key when their transaction ends are two to SQL. They are
// refused with a remedy, nothing of them stays, and their end heals it.
func TestSharedKey(t *testing.T) {
	for name, tt := range map[string]struct {
		second []change.Change
	}{
		"the same row twice": {second: []change.Change{{Op: change.Create, After: verraRow(full(change.Verra), "a", "A")}}},
		"a key taken":        {second: []change.Change{{Op: change.Update, Before: verraRow(full(change.Verra), "b", "B"), After: verraRow(full(change.Verra), "a", "B")}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), store.Options{NoSync: true})
			defer s.Close()
			d := &deferrable{rel: full(change.Verra)}
			d.event(change.Create, nil, &keyed{"a", "A"})
			d.event(change.Create, nil, &keyed{"b", "B"})
			mustApply(t, s, d.txn())
			before := names(s.Snapshot())
			for i := range tt.second {
				tt.second[i].Relation = d.rel
			}
			d.events = tt.second
			err := s.Apply(t.Context(), []change.Txn{d.txn()})
			var unfit *change.UnfitError
			if !errors.As(err, &unfit) || !errors.Is(err, change.ErrDiverged) || !strings.Contains(err.Error(), `two rows of public.verra have the same key (project_id): "a"`) || !strings.Contains(unfit.Remedy, "ADD PRIMARY KEY (project_id)") {
				t.Fatalf("got %v", err)
			}
			if got := names(s.Snapshot()); !maps.Equal(got, before) {
				t.Fatalf("got %v, want %v", got, before)
			}
			d.event(change.Update, &keyed{"a", "A"}, &keyed{"a", "C"})
			mustApply(t, s, d.txn())
		})
	}
	t.Run("a copy", func(t *testing.T) {
		for _, held := range []bool{false, true} {
			s := open(t, t.TempDir(), store.Options{NoSync: true})
			defer s.Close()
			rel := full(change.Verra)
			part := change.Txn{CommitLSN: 5, EndLSN: 5, First: true, Final: true, Snapshot: &change.Snapshot{Source: change.Source{SystemID: "1"}}}
			part.Changes = []change.Change{{Op: change.Read, Relation: rel, After: verraRow(rel, "a", "A")}}
			if held {
				mustApply(t, s, part)
			}
			part.Changes = append(part.Changes, change.Change{Op: change.Read, Relation: rel, After: verraRow(rel, "a", "B")})
			if err := s.Apply(t.Context(), []change.Txn{part}); !errors.Is(err, change.ErrDiverged) {
				t.Fatalf("rows were held before: %t: got %v", held, err)
			}
		}
	})
}

// A row without a key, and a table without its key column, will not be mended by
// sending them again: they are told from trouble of the disk.
func TestUnfit(t *testing.T) {
	gone := *change.Standard(change.Verra)
	gone.Columns = slices.Clone(gone.Columns)
	gone.Columns[gone.Index("project_id")].Name = "pid"
	fin := change.Standard(change.Finance)
	price := func(ts change.Value) change.Row {
		return change.NewRow(change.T("K"), change.T("1"), change.T("2"), change.T("3"), change.T("4"), ts)
	}
	numeric := *fin
	numeric.Columns = slices.Clone(fin.Columns)
	numeric.Columns[numeric.Index("timestamp")].Type = change.OIDNumeric
	for name, tt := range map[string]struct {
		rel  *change.Relation
		row  change.Row
		says string // "": it is kept
	}{
		"NULL key":          {full(change.Verra), change.NewRow(make([]change.Value, 10)...), `a row of public.verra has NULL in key column "project_id"`},
		"no key column":     {&gone, verraRow(change.Standard(change.Verra), "a", "A"), `table public.verra has no column "project_id"`},
		"NULL second key":   {fin, price(change.Value{}), `a row of public.finance has NULL in key column "timestamp"`},
		"fraction":          {&numeric, price(change.T("5.5")), `a row of public.finance has "5.5"`},
		"NaN":               {&numeric, price(change.T("NaN")), `a row of public.finance has "NaN"`},
		"too large":         {&numeric, price(change.T("9223372036854775808")), `a row of public.finance has "9223372036854775808"`},
		"a fraction of 0":   {&numeric, price(change.T("5.000")), ""},
		"with an exponent":  {&numeric, price(change.T("1.7e+09")), ""},
		"the last of them":  {&numeric, price(change.T("9223372036854775807.0")), ""},
		"and the first one": {&numeric, price(change.T("-9223372036854775808")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), store.Options{NoSync: true})
			defer s.Close()
			for _, op := range []change.Op{change.Create, change.Read} {
				txn := change.Txn{CommitLSN: 10, EndLSN: 11, First: true, Final: true, Changes: []change.Change{{Op: op, Relation: tt.rel, After: tt.row}}}
				if op == change.Read {
					txn.Snapshot = &change.Snapshot{Source: change.Source{SystemID: "1"}}
				}
				err := s.Apply(t.Context(), []change.Txn{txn})
				if tt.says == "" {
					if err != nil {
						t.Fatal(err)
					}
					continue
				}
				var unfit *change.UnfitError
				if !errors.As(err, &unfit) || !strings.Contains(err.Error(), tt.says) || unfit.Remedy == "" || !errors.Is(err, change.ErrDiverged) {
					t.Fatalf("%s: got %v, want %s", op, err, tt.says)
				}
			}
			if n := s.Snapshot().Rows(change.Verra); n != 0 {
				t.Fatalf("%d rows stayed", n)
			}
		})
	}
}

// TestPrevious: each record says where the transaction before its own ended,
// through idle positions, large transactions and a start; the first knows none.
func TestPrevious(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, store.Options{NoSync: true})
	defer func() { s.Close() }()
	d := &deferrable{rel: full(change.Verra)}
	var want []change.LSN
	previous := change.LSN(0)
	for i := range 30 {
		rows := 1
		if i%7 == 3 {
			rows = 3000 // several blocks
		}
		for n := range rows {
			d.event(change.Create, nil, &keyed{fmt.Sprint(i, " ", n), strings.Repeat("x", 100)})
			want = append(want, previous)
		}
		txn := d.txn()
		if i%7 == 3 {
			half := txn
			half.Final, half.EndLSN, half.Changes = false, 0, txn.Changes[:1000]
			mustApply(t, s, half)
			txn.First, txn.Changes = false, txn.Changes[1000:]
		}
		mustApply(t, s, txn)
		previous = txn.EndLSN
		if i%3 == 0 {
			if err := s.Advance(t.Context(), previous+2); err != nil {
				t.Fatal(err)
			}
		}
		if i == 15 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, store.Options{NoSync: true})
		}
	}
	for _, from := range []change.Offset{1, 1500, 5000} {
		r := s.NewReader(from)
		for i := int(from) - 1; ; {
			recs, err := r.Read(1 << 16)
			if err != nil {
				t.Fatal(err)
			}
			if len(recs) == 0 {
				if i != len(want) {
					t.Fatalf("from %d: %d records, want %d", from, i, len(want))
				}
				break
			}
			for _, rec := range recs {
				if rec.Previous != want[i] {
					t.Fatalf("offset %d: the transaction before ends at %s, want %s", rec.Offset, rec.Previous, want[i])
				}
				i++
			}
		}
	}
}

package view_test

import (
	"slices"
	"testing"

	"carbond/store/change"
	"carbond/store/internal/view"
)

// typed returns the relation of a table with another type for one column.
func typed(table, column string, oid uint32) *change.Relation {
	r := *change.Standard(table)
	r.Columns = slices.Clone(r.Columns)
	r.Columns[r.Index(column)].Type = oid
	return &r
}

// entry makes the row with key "k" and one more value.
func entry(t *testing.T, rel *change.Relation, column, value string) view.Entry {
	t.Helper()
	sh, err := view.NewSchema(rel, 1)
	if err != nil {
		t.Fatal(err)
	}
	vals := make([]change.Value, len(rel.Columns))
	for _, k := range change.KeyColumns(rel.Name) {
		vals[rel.Index(k)] = change.T("7")
	}
	vals[rel.Index(column)] = change.T(value)
	row := change.NewRow(vals...)
	key, err := sh.Key(row)
	if err != nil {
		t.Fatal(err)
	}
	return view.Entry{Key: key, Row: row, Schema: sh}
}

// TestCasts has what Postgres 15 answers to SELECT value::type::int4 and int8.
func TestCasts(t *testing.T) {
	const num, dbl, real = change.OIDNumeric, change.OIDFloat8, change.OIDFloat4
	for _, tt := range []struct {
		oid   uint32
		value string
		int4  int32
		fit4  bool
		int8  int64
		fit8  bool
	}{
		{dbl, "2.5", 2, true, 2, true},
		{dbl, "3.5", 4, true, 4, true},
		{dbl, "-2.5", -2, true, -2, true},
		{dbl, "-0.4", 0, true, 0, true},
		{dbl, "1e+15", 2147483647, false, 1000000000000000, true},
		{dbl, "2147483647.4", 2147483647, true, 2147483647, true},
		{dbl, "2147483647.5", 2147483647, false, 2147483648, true},
		{dbl, "9.223372036854775e+18", 2147483647, false, 9223372036854774784, true},
		{dbl, "9.223372036854776e+18", 2147483647, false, 9223372036854775807, false},
		{dbl, "-9.223372036854776e+18", -2147483648, false, -9223372036854775808, true},
		{dbl, "NaN", 0, false, 0, false},
		{real, "0.5", 0, true, 0, true},
		{real, "1.5", 2, true, 2, true},
		{real, "1.6777216e+07", 16777216, true, 16777216, true},
		{num, "2.5", 3, true, 3, true},
		{num, "-2.5", -3, true, -3, true},
		{num, "0.49999999999999999999", 0, true, 0, true},
		{num, "-0.5", -1, true, -1, true},
		{num, "9.50", 10, true, 10, true},
		{num, "-99.9", -100, true, -100, true},
		{num, "2147483647.5", 2147483647, false, 2147483648, true},
		{num, "9007199254740993.4", 2147483647, false, 9007199254740993, true},
		{num, "9223372036854775807.5", 2147483647, false, 9223372036854775807, false},
		{num, "NaN", 0, false, 0, false},
		{change.OIDInt8, "2147483648", 2147483647, false, 2147483648, true},
		{change.OIDInt8, "-2147483649", -2147483648, false, -2147483649, true},
		{change.OIDInt8, "2019", 2019, true, 2019, true},
	} {
		s := view.New(1)
		e := entry(t, typed(change.Verra, "vintage", tt.oid), "vintage", tt.value)
		s.Put(e, 2)
		for p := range s.Projects("", "") {
			if p.Vintage != tt.int4 {
				t.Errorf("type %d, %s: vintage is %d, want %d", tt.oid, tt.value, p.Vintage, tt.int4)
			}
		}
		if n, first := s.Unfit(); (n == 0) != tt.fit4 {
			t.Errorf("type %d, vintage %s: %d rows do not fit: %s", tt.oid, tt.value, n, first)
		}
		f := entry(t, typed(change.Finance, "volume", tt.oid), "volume", tt.value)
		s.Put(f, 3)
		for q := range s.Quotes("", "") {
			if q.Volume != tt.int8 {
				t.Errorf("type %d, %s: volume is %d, want %d", tt.oid, tt.value, q.Volume, tt.int8)
			}
		}
		s.Remove(view.Verra, e.Key, 4)
		if n, first := s.Unfit(); (n == 0) != tt.fit8 {
			t.Errorf("type %d, volume %s: %d rows do not fit: %s", tt.oid, tt.value, n, first)
		}
		s.Clear(view.Finance, 5)
		if n, _ := s.Unfit(); n != 0 {
			t.Errorf("type %d, %s: it does not fit when it is gone", tt.oid, tt.value)
		}
	}
}

// TestUnfit tells which row it is, also where a copy of the state still has it.
func TestUnfit(t *testing.T) {
	s := view.New(1)
	for _, v := range []string{"1", "1" + string(slices.Repeat([]byte{'0'}, 400)), "2"} {
		e := entry(t, typed(change.Verra, "supply", change.OIDNumeric), "supply", v)
		s.Put(e, 2)
		n, first := s.Unfit()
		if long := len(v) > 1; long && (n != 1 || first != `column supply of public.verra has "1000000000000000000000000000000000000000" in the row "7"`) || !long && n != 0 {
			t.Errorf("%d rows, the first: %s", n, first)
		}
		if len(v) > 1 {
			old := s.Copy()
			defer func() {
				if n, _ := old.Unfit(); n != 1 {
					t.Errorf("the copy has %d", n)
				}
			}()
		}
	}
}

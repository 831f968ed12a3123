package change_test

import (
	"errors"
	"testing"

	"carbond/store/change"
)

// TestHistory: a log that began at 10, was restored when it stood at 20, went on
// at 100, was restored twice without a change between when it stood at 110, and
// goes on at 300.
func TestHistory(t *testing.T) {
	h := change.History{ID: "d", First: 300, Parents: []change.Ancestor{
		{ID: "a", First: 10, Last: 20}, {ID: "b", First: 100, Last: 110}, {ID: "c", First: 200, Last: 110},
	}}
	for _, tt := range []struct {
		next, from change.Offset // from 0: of another history
		last       change.Offset // before the hole
	}{
		{0, 10, 0},
		{1, 10, 0},
		{2, 0, 0},
		{9, 0, 0},
		{10, 10, 0},
		{20, 20, 0},
		{21, 100, 0},
		{22, 0, 20},
		{99, 0, 20},
		{100, 100, 0},
		{110, 110, 0},
		{111, 300, 0},
		{112, 0, 110},
		{200, 0, 110},
		{201, 0, 110},
		{299, 0, 110},
		{300, 300, 0},
		{1 << 60, 1 << 60, 0},
	} {
		got, err := h.From(tt.next)
		var other *change.HistoryError
		if errors.As(err, &other) {
			if tt.from != 0 || other.Last != tt.last || other.First != got || other.Offset != tt.next {
				t.Errorf("from %d: %v", tt.next, err)
			}
		} else if got != tt.from || err != nil {
			t.Errorf("from %d: %d, %v, want %d", tt.next, got, err, tt.from)
		}
	}
	for at, want := range map[change.Offset]change.Offset{0: 10, 10: 11, 20: 100, 110: 300, 300: 301} {
		if got := h.After(at); got != want {
			t.Errorf("after %d: %d, want %d", at, got, want)
		}
		if got := h.Before(want); got != at {
			t.Errorf("before %d: %d, want %d", want, got, at)
		}
	}
	for _, tt := range []struct {
		id string
		at change.Offset
		ok bool
	}{
		{"d", 305, true},
		{"d", 20, true},
		{"d", 50, false},
		{"", 305, true},
		{"", 20, true},
		{"", 21, false},
		{"a", 15, true},
		{"a", 20, true},
		{"a", 21, false},
		{"a", 305, false},
		{"b", 20, true},
		{"b", 110, true},
		{"b", 111, false},
		{"c", 110, true},
		{"c", 200, false},
		{"x", 15, false},
		{"x", 0, false},
	} {
		if err := h.Check(tt.id, tt.at); (err == nil) != tt.ok {
			t.Errorf("offset %d of %q: %v", tt.at, tt.id, err)
		}
	}
}

// TestHistoryOld is a log as it was before histories had names.
func TestHistoryOld(t *testing.T) {
	h := change.History{First: 1}
	for next, want := range map[change.Offset]change.Offset{0: 1, 1: 1, 2: 2, 1 << 50: 1 << 50} {
		if got, err := h.From(next); got != want || err != nil {
			t.Errorf("from %d: %d, %v", next, got, err)
		}
	}
	if h.Before(1) != 0 || h.Before(2) != 1 || h.After(0) != 1 {
		t.Error("the neighbours of offset 1")
	}
}

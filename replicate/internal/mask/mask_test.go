package mask_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"carbond/replicate/internal/mask"
	"carbond/store/change"
)

type sink struct{ got []change.Change }

func (s *sink) Position() change.Position                 { return change.Position{} }
func (s *sink) Advance(context.Context, change.LSN) error { return nil }
func (s *sink) Apply(_ context.Context, txns []change.Txn) error {
	for _, t := range txns {
		s.got = append(s.got, t.Changes...)
	}
	return nil
}

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"public.t=hash":          "is not schema.table.column",
		"public.t.=null":         "is not schema.table.column",
		"t=null":                 "is not schema.table.column",
		"public.t.c=hide":        "is none of hash, null, last4, exclude",
		"public.t.c=hash":        "needs a postgres.mask_secret of 16 bytes",
		"public.t.c=last4":       "",
		"public.odd.name.c=null": "",
	} {
		name, how, _ := strings.Cut(in, "=")
		_, err := mask.Parse(map[string]string{name: how}, "short")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}

// TestRows hides columns of each kind, in rows of each kind.
func TestRows(t *testing.T) {
	secret := "0123456789abcdef"
	rules, err := mask.Parse(map[string]string{"s.t.mail": "hash", "s.t.card": "last4", "s.t.gone": "exclude", "s.t.note": "null"}, secret)
	if err != nil {
		t.Fatal(err)
	}
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte("a@b"))
	sum := hex.EncodeToString(h.Sum(nil))
	col := func(names ...string) (out []change.Column) {
		for _, n := range names {
			out = append(out, change.Column{Name: n, Type: 1043, Key: n == "id"})
		}
		return out
	}
	full := &change.Relation{Schema: "s", Name: "t", Plain: true, Columns: col("id", "mail", "gone", "card", "note", "free")}
	renamed := &change.Relation{Schema: "s", Name: "t", Plain: true, Columns: col("id", "email", "gone", "card", "note", "free")}
	other := &change.Relation{Schema: "s", Name: "u", Plain: true, Columns: col("id", "mail")}
	v := change.T
	null, unchanged := change.Value{}, change.Value{Kind: change.Unchanged}
	for name, tc := range map[string]struct {
		rel       *change.Relation
		row, want change.Row
		columns   string
	}{
		"all":       {full, change.NewRow(v("1"), v("a@b"), v("x"), v("4111111111111234"), v("n"), v("f")), change.NewRow(v("1"), v(sum), v("****1234"), null, v("f")), "id mail card note free"},
		"short":     {full, change.NewRow(v("1"), v("a@b"), v("x"), v("1234567"), null, v("f")), change.NewRow(v("1"), v(sum), v("****"), null, v("f")), "id mail card note free"},
		"wide":      {full, change.NewRow(v("1"), v("a@b"), v("x"), v("ääääöööö"), null, v("f")), change.NewRow(v("1"), v(sum), v("****öööö"), null, v("f")), "id mail card note free"},
		"not bytes": {full, change.NewRow(v("1"), v("a@b"), v("x"), v("\xff\xff\xff\xff\xff\xff\xff\xff"), null, v("f")), change.NewRow(v("1"), v(sum), v("****\xff\xff\xff\xff"), null, v("f")), "id mail card note free"},
		"empty":     {full, change.NewRow(v("1"), null, null, null, null, null), change.NewRow(v("1"), null, null, null, null), "id mail card note free"},
		"unchanged": {full, change.NewRow(v("1"), unchanged, unchanged, unchanged, unchanged, unchanged), change.NewRow(v("1"), unchanged, unchanged, null, unchanged), "id mail card note free"},
		"no row":    {full, "", "", "id mail card note free"},
		"renamed":   {renamed, change.NewRow(v("1"), v("a@b"), v("x"), v("4111111111111234"), v("n"), v("f")), change.NewRow(v("1"), null, v("****1234"), null, null), "id email card note free"},
		"other":     {other, change.NewRow(v("1"), v("a@b")), change.NewRow(v("1"), v("a@b")), "id mail"},
	} {
		s := &sink{}
		in := []change.Change{{Op: change.Update, Relation: tc.rel, Before: tc.row, After: tc.row}, {Op: change.Truncate, Relation: tc.rel}}
		if err := rules.Before(s).Apply(t.Context(), []change.Txn{{Changes: in}}); err != nil {
			t.Fatal(err)
		}
		if got := s.got[0]; got.Before != tc.want || got.After != tc.want {
			t.Errorf("%s: %q and %q, want %q", name, got.Before, got.After, tc.want)
		}
		for _, c := range s.got {
			var names []string
			for _, col := range c.Relation.Columns {
				names = append(names, col.Name)
			}
			if !slices.Equal(names, strings.Fields(tc.columns)) {
				t.Errorf("%s: columns %v, want %s", name, names, tc.columns)
			}
		}
	}
}

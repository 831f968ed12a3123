package packed_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"carbond/store/internal/packed"
)

// item makes an item of a key. The key may lie anywhere in the row, or not in it.
func item(key string, place, size int, tag uint32) packed.Item {
	it := packed.Item{Key: key, Row: strings.Repeat("r", size), Tag: tag}
	if place >= 0 {
		it.Row = strings.Repeat("a", place) + key + it.Row
		it.Key = it.Row[place:][:len(key)]
	}
	return it
}

func items(t *packed.Tree) (out []packed.Item) {
	t.Ascend("", func(it packed.Item) bool {
		out = append(out, it)
		return true
	})
	return out
}

// same compares a tree with a map, by every way to read it.
func same(t *rapid.T, tree *packed.Tree, want map[string]packed.Item) {
	keys := slices.Sorted(maps.Keys(want))
	if tree.Len() != len(keys) {
		t.Fatalf("%d items, want %d", tree.Len(), len(keys))
	}
	got, c := items(tree), tree.Cursor()
	if len(got) != len(keys) {
		t.Fatalf("Ascend yields %d items, want %d", len(got), len(keys))
	}
	for i, k := range keys {
		if got[i] != want[k] {
			t.Fatalf("item %d is %.60v, want %.60v", i, got[i], want[k])
		}
		if it, ok := tree.Get(k); !ok || it != want[k] {
			t.Fatalf("Get(%.40q) = %.60v, %v", k, it, ok)
		}
		if it, ok := c.Next(); !ok || it != want[k] {
			t.Fatalf("the cursor has %.60v, %v, want %.60v", it, ok, want[k])
		}
	}
	if it, ok := c.Next(); ok {
		t.Fatalf("the cursor goes on to %.60v", it)
	}
	tree.Descend("\xff\xff\xff", func(it packed.Item) bool {
		last := len(keys) - 1
		if it != want[keys[last]] {
			t.Fatalf("Descend has %.60v, want %.60v", it, want[keys[last]])
		}
		keys = keys[:last]
		return true
	})
	if len(keys) > 0 {
		t.Fatalf("Descend leaves %d items out", len(keys))
	}
}

// near compares what is on both sides of a key that need not be there.
func near(t *rapid.T, tree *packed.Tree, want map[string]packed.Item, key string) {
	keys := slices.Sorted(maps.Keys(want))
	i, _ := slices.BinarySearch(keys, key)
	got := ""
	tree.Ascend(key, func(it packed.Item) bool {
		got = it.Key
		return false
	})
	if i < len(keys) && got != keys[i] || i == len(keys) && got != "" {
		t.Fatalf("behind %.40q is %.40q of %.200q", key, got, keys)
	}
	got = ""
	tree.Descend(key, func(it packed.Item) bool {
		got = it.Key
		return false
	})
	if j := i; j < len(keys) && keys[j] == key {
		i++
	}
	if i > 0 && got != keys[i-1] || i == 0 && got != "" {
		t.Fatalf("before %.40q is %.40q of %.200q", key, got, keys)
	}
}

// TestTree compares a tree with a map, and copies of it with what they were.
func TestTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			tree *packed.Tree
			want map[string]packed.Item
		}
		tree, want := packed.New(), map[string]packed.Item{}
		var kept []version
		key := rapid.OneOf(
			rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("k%05d", rapid.IntRange(0, 3000).Draw(t, "n")) }),
			rapid.SampledFrom([]string{"", "\x00", "k", "k01", "\xff", strings.Repeat("k", 5000), strings.Repeat("k", 1500)}),
		)
		size := rapid.OneOf(rapid.IntRange(0, 300), rapid.SampledFrom([]int{0, 2040, 2048, 2049, 4090, 70_000}))
		for n := rapid.IntRange(1, 60).Draw(t, "steps"); n > 0; n-- {
			k := key.Draw(t, "key")
			switch rapid.IntRange(0, 10).Draw(t, "do") {
			case 0, 1, 2:
				it := item(k, rapid.IntRange(-1, 3).Draw(t, "place"), size.Draw(t, "size"), rapid.Uint32().Draw(t, "tag"))
				was, is := want[k]
				if old, had := tree.Set(it); had != is || old != was {
					t.Fatalf("Set(%.40q) = %.60v, %v, want %.60v", k, old, had, was)
				}
				want[k] = it
			case 3, 4: // many in order
				first, step, sz := rapid.IntRange(0, 3000).Draw(t, "first"), rapid.SampledFrom([]int{1, 7, -1}).Draw(t, "step"), rapid.IntRange(0, 300).Draw(t, "size")
				for i := range rapid.IntRange(1, 150).Draw(t, "many") {
					it := item(fmt.Sprintf("k%05d", max(0, first+i*step)), i%4-1, sz+i%5, 1)
					tree.Set(it)
					want[it.Key] = it
				}
			case 5:
				was, is := want[k]
				if old, had := tree.Delete(k); had != is || old != was {
					t.Fatalf("Delete(%.40q) = %.60v, %v, want %.60v", k, old, had, was)
				}
				delete(want, k)
			case 6: // many
				keys := slices.Sorted(maps.Keys(want))
				for i := range keys {
					if i%rapid.IntRange(2, 20).Draw(t, "keep") != 0 {
						tree.Delete(keys[i])
						delete(want, keys[i])
					}
				}
			case 7:
				edits, olds := map[string]packed.Edit{}, map[string]packed.Item{}
				for i := range rapid.IntRange(0, 100).Draw(t, "edits") {
					k := key.Draw(t, "key")
					edits[k] = packed.Edit{Item: item(k, i%4-1, size.Draw(t, "size"), uint32(i)), Gone: i%3 == 0}
					olds[k] = want[k]
				}
				var list []packed.Edit
				for _, k := range slices.Sorted(maps.Keys(edits)) {
					list = append(list, edits[k])
				}
				tree.Update(list, func(i int, old packed.Item, had bool) {
					k := list[i].Key
					if _, is := want[k]; had != is || old != olds[k] {
						t.Fatalf("Update(%.40q) finds %.60v, %v, want %.60v", k, old, had, olds[k])
					}
					if want[k] = list[i].Item; list[i].Gone {
						delete(want, k)
					}
				})
			case 8:
				kept = append(kept, version{tree.Copy(), maps.Clone(want)})
			case 9:
				near(t, tree, want, k)
			default:
				if len(kept) > 0 { // back to an earlier version
					v := kept[rapid.IntRange(0, len(kept)-1).Draw(t, "version")]
					tree, want = v.tree.Copy(), maps.Clone(v.want)
				}
			}
		}
		same(t, tree, want)
		for _, v := range kept {
			same(t, v.tree, v.want)
		}
	})
}

// TestBuilder fills a tree with rows in order, in no order, and in several orders
// at once.
func TestBuilder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree, want := packed.New(), map[string]packed.Item{}
		b := packed.NewBuilder(tree)
		size := rapid.OneOf(rapid.IntRange(0, 300), rapid.SampledFrom([]int{0, 2040, 2049, 4090, 70_000}))
		next := make([]int, rapid.IntRange(1, 4).Draw(t, "orders"))
		for n := rapid.IntRange(0, 400).Draw(t, "rows"); n > 0; n-- {
			i := rapid.IntRange(0, len(next)-1).Draw(t, "order")
			next[i] += rapid.SampledFrom([]int{1, 1, 1, 1, 1, 1, 1, 0, -7}).Draw(t, "step")
			it := item(fmt.Sprintf("%d-%05d", i, next[i]+1000), rapid.IntRange(-1, 3).Draw(t, "place"), size.Draw(t, "size"), uint32(n))
			was, is := want[it.Key]
			if got, ok := b.Get(it.Key); ok != is || got != was {
				t.Fatalf("Get(%q) = %.60v, %v, want %.60v", it.Key, got, ok, was)
			}
			if old, had := b.Set(it); had != is || old != was {
				t.Fatalf("Set(%q) = %.60v, %v, want %.60v", it.Key, old, had, was)
			}
			want[it.Key] = it
			if rapid.IntRange(0, 50).Draw(t, "flush") == 0 {
				b.Flush()
			}
		}
		b.Flush()
		same(t, tree, want)
	})
}

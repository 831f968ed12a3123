package packed

import "github.com/tidwall/btree"

// Tree is a set of items in the byte order of their keys. One goroutine changes
// a Tree; copies may be read by any number.
type Tree struct {
	leaves *btree.Map[string, body]
	n      int
}

// New returns an empty Tree.
func New() *Tree { return &Tree{leaves: btree.NewMap[string, body](0)} }

// Copy returns a Tree with the same items. Either may be changed without the
// other noticing.
func (t *Tree) Copy() *Tree { return &Tree{t.leaves.Copy(), t.n} }

// Len returns the number of items.
func (t *Tree) Len() int { return t.n }

// leafOf returns the leaf in whose range a key lies: the first one also stands
// for all that is before it. It is !ok in an empty tree.
func (t *Tree) leafOf(key string) (l leaf, ok bool) {
	t.leaves.Descend(key, func(first string, b body) bool {
		l, ok = leaf{first, b}, true
		return false
	})
	if !ok {
		l.first, l.body, ok = t.leaves.Min()
	}
	return l, ok
}

// behind returns the leaf behind another.
func (t *Tree) behind(l leaf) (next leaf, ok bool) {
	t.leaves.Ascend(l.first, func(first string, b body) bool {
		if first == l.first {
			return true
		}
		next, ok = leaf{first, b}, true
		return false
	})
	return next, ok
}

// Get returns the item with a key.
func (t *Tree) Get(key string) (Item, bool) {
	if l, ok := t.leafOf(key); ok {
		if i, found := l.search(key); found {
			return l.at(i), true
		}
	}
	return Item{}, false
}

// Set puts an item in its place, and returns the one that had its key.
func (t *Tree) Set(it Item) (old Item, had bool) {
	l, ok := t.leafOf(it.Key)
	if !ok {
		t.put(single(it))
		t.n++
		return Item{}, false
	}
	i, found := l.search(it.Key)
	drop := 0
	if found {
		old, drop = l.at(i), 1
	} else {
		t.n++
	}
	switch {
	case l.fits(i, drop, &it):
		t.replace(l, l.splice(i, drop, &it))
	case i == l.len():
		// Rows often come in order: a full leaf stays full.
		if next, ok := t.behind(l); ok && next.fits(0, 0, &it) {
			t.replace(next, next.splice(0, 0, &it))
		} else {
			t.put(single(it))
		}
	default:
		items := make([]Item, 0, leafItems+1)
		for j := range l.len() {
			if j == i {
				items = append(items, it)
			}
			if j != i || !found {
				items = append(items, l.at(j))
			}
		}
		t.repack(l, items)
	}
	return old, found
}

// Delete takes an item away and returns it.
func (t *Tree) Delete(key string) (old Item, had bool) {
	l, ok := t.leafOf(key)
	if !ok {
		return Item{}, false
	}
	i, found := l.search(key)
	if !found {
		return Item{}, false
	}
	t.n--
	old = l.at(i)
	if l.len() == 1 {
		t.leaves.Delete(l.first)
		return old, true
	}
	less := l.splice(i, 1, nil)
	if next, ok := t.behind(l); ok && less.sparse() && next.sparse() {
		t.leaves.Delete(next.first)
		t.repack(l, next.items(less.items(nil)))
	} else {
		t.replace(l, less)
	}
	return old, true
}

// Edit is an item to put in its place or, when it is Gone, to take away.
type Edit struct {
	Item
	Gone bool
}

// Update makes many changes, in the order of their keys and none twice, at a
// fraction of the cost of one after the other: a leaf is written once. It tells of
// each what had its key.
func (t *Tree) Update(edits []Edit, tell func(i int, old Item, had bool)) {
	for from := 0; from < len(edits); {
		l, ok := t.leafOf(edits[from].Key)
		to := len(edits)
		if next, more := t.behind(l); ok && more {
			to = from + 1
			for to < len(edits) && edits[to].Key < next.first { // a few
				to++
			}
		}
		var was []Item
		if ok {
			was = l.items(make([]Item, 0, leafItems))
		}
		is := make([]Item, 0, len(was)+to-from)
		for i := from; i < to; i++ {
			e, old, had := &edits[i], Item{}, false
			for len(was) > 0 && was[0].Key < e.Key {
				is, was = append(is, was[0]), was[1:]
			}
			if len(was) > 0 && was[0].Key == e.Key {
				old, had, was = was[0], true, was[1:]
				t.n--
			}
			if !e.Gone {
				is = append(is, e.Item)
				t.n++
			}
			tell(i, old, had)
		}
		is = append(is, was...)
		if ok && (len(is) == 0 || is[0].Key != l.first) {
			t.leaves.Delete(l.first)
		}
		pack(is, t.put)
		from = to
	}
}

// sparse reports whether a leaf may be joined with its neighbour.
func (l leaf) sparse() bool {
	return !l.alone && l.len() <= leafItems/3 && len(l.data) <= leafBytes/3
}

func (t *Tree) put(l leaf) { t.leaves.Set(l.first, l.body) }

// replace puts a leaf in the place of another.
func (t *Tree) replace(old, l leaf) {
	if l.first != old.first {
		t.leaves.Delete(old.first)
	}
	t.put(l)
}

// repack puts leaves of the items in the place of a leaf.
func (t *Tree) repack(old leaf, items []Item) {
	if items[0].Key != old.first {
		t.leaves.Delete(old.first)
	}
	pack(items, t.put)
}

// Ascend yields the items with keys >= from, in order.
func (t *Tree) Ascend(from string, yield func(Item) bool) {
	l, _ := t.leafOf(from)
	t.leaves.Ascend(l.first, func(first string, b body) bool {
		l, i := leaf{first, b}, 0
		if first < from {
			i, _ = l.search(from)
		}
		for ; i < l.len(); i++ {
			if !yield(l.at(i)) {
				return false
			}
		}
		return true
	})
}

// Descend yields the items with keys <= from, the last one first.
func (t *Tree) Descend(from string, yield func(Item) bool) {
	inside := false
	t.leaves.Descend(from, func(first string, b body) bool {
		l := leaf{first, b}
		i := l.len()
		if !inside { // the leaf in which from lies
			inside = true
			var found bool
			if i, found = l.search(from); found {
				i++
			}
		}
		for i--; i >= 0; i-- {
			if !yield(l.at(i)) {
				return false
			}
		}
		return true
	})
}

// Cursor walks a Tree that does not change meanwhile.
type Cursor struct {
	leaves  btree.MapIter[string, body]
	leaf    leaf
	next, n int // in the leaf
}

// Cursor returns a Cursor that stands before the first item.
func (t *Tree) Cursor() *Cursor { return &Cursor{leaves: t.leaves.Iter()} }

// Next returns the next item, and false behind the last.
func (c *Cursor) Next() (Item, bool) {
	if c.next == c.n {
		if !c.leaves.Next() {
			return Item{}, false
		}
		c.leaf = leaf{c.leaves.Key(), c.leaves.Value()}
		c.next, c.n = 0, c.leaf.len()
	}
	c.next++
	return c.leaf.at(c.next - 1), true
}

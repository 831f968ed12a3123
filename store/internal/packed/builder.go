package packed

// Builder fills a Tree with items that mostly come in order, at a fraction of the
// cost of Set: leaves are written once. Until Flush only the Builder knows all of
// them.
type Builder struct {
	tree  *Tree
	items []Item // behind all that are in the tree, in order
	size  int    // of a leaf with them
	last  string // the highest key
}

// NewBuilder returns a Builder for an empty Tree.
func NewBuilder(t *Tree) *Builder {
	return &Builder{tree: t, items: make([]Item, 0, leafItems), size: 1}
}

// Get returns the item with a key.
func (b *Builder) Get(key string) (Item, bool) {
	if key > b.last {
		return Item{}, false
	}
	if len(b.items) > 0 && key >= b.items[0].Key {
		for _, it := range b.items {
			if it.Key == key {
				return it, true
			}
		}
		return Item{}, false
	}
	return b.tree.Get(key)
}

// Set puts an item in its place, and returns the one that had its key.
func (b *Builder) Set(it Item) (old Item, had bool) {
	if b.tree.n+len(b.items) > 0 && it.Key <= b.last {
		b.Flush()
		return b.tree.Set(it)
	}
	b.last = it.Key
	if it.alone() {
		b.Flush()
		return b.tree.Set(it)
	}
	size := it.size()
	if b.size+size > leafBytes || len(b.items) == leafItems {
		b.put()
	}
	b.items = append(b.items, it)
	b.size += size
	return Item{}, false
}

// put makes a leaf of the items.
func (b *Builder) put() {
	b.tree.put(join(b.items, b.size))
	b.tree.n += len(b.items)
	clear(b.items)
	b.items, b.size = b.items[:0], 1
}

// Flush puts everything into the tree.
func (b *Builder) Flush() {
	if len(b.items) >= leafItems/2 || b.size >= leafBytes/2 {
		b.put()
		return
	}
	for _, it := range b.items { // a few go to the leaf before them
		b.tree.Set(it)
	}
	clear(b.items)
	b.items, b.size = b.items[:0], 1
}

package packed

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"unsafe"
)

const (
	// leafBytes and leafItems are when a leaf is full. What a change copies
	// grows with them, what the collector sees shrinks.
	leafBytes = 4096
	leafItems = 32
	// aloneBytes is the size of a row that gets a leaf of its own.
	aloneBytes = leafBytes / 2
)

// Item is a row with its key. Tag is the owner's.
type Item struct {
	Key string
	Row string
	Tag uint32
}

// alone reports whether an item gets a leaf of its own.
func (it *Item) alone() bool { return len(it.Key)+len(it.Row) > aloneBytes }

// within returns where the key lies in the row, or -1.
func (it *Item) within() int {
	k, r := uintptr(unsafe.Pointer(unsafe.StringData(it.Key))), uintptr(unsafe.Pointer(unsafe.StringData(it.Row)))
	if it.Key == "" || k < r || k+uintptr(len(it.Key)) > r+uintptr(len(it.Row)) {
		return -1
	}
	return int(k - r)
}

// body is a leaf without its first key.
//
// Encoding of data: the number of items; for each, in two bytes, where its entry
// ends, where its key begins, and the key's length; the entries. An entry is the tag
// as a uvarint, the row, and the key when it does not lie in the row, which the
// highest bit of its length tells. The body of an item that is alone is the row.
type body struct {
	data  string
	tag   uint32
	alone bool
}

const (
	slot  = 6       // bytes of the directory for an item
	apart = 1 << 15 // in the length of a key that stands behind its row
)

// leaf is a leaf of the tree.
type leaf struct {
	first string
	body
}

func (b body) len() int {
	if b.alone {
		return 1
	}
	return int(b.data[0])
}

// word reads two bytes.
func (b body) word(at int) int { return int(b.data[at]) | int(b.data[at+1])<<8 }

// begin returns where entry i begins, or the last one ends.
func (b body) begin(i int) int {
	if i == 0 {
		return 1 + slot*int(b.data[0])
	}
	return b.word(1 + slot*(i-1))
}

// key returns the key of item i of a leaf that is not alone.
func (b body) key(i int) string {
	d := 1 + slot*i
	at := b.word(d + 2)
	return b.data[at : at+b.word(d+4)&^apart]
}

// at returns item i.
func (l leaf) at(i int) Item {
	if l.alone {
		return Item{Key: l.first, Row: l.data, Tag: l.tag}
	}
	from, end := l.begin(i), l.word(1+slot*i)
	if size := l.word(5 + slot*i); size&apart != 0 {
		end -= size &^ apart
	}
	tag := uint32(0)
	for shift := 0; ; shift += 7 {
		c := l.data[from]
		from++
		if tag |= uint32(c&0x7f) << shift; c < 0x80 {
			return Item{Key: l.key(i), Row: l.data[from:end], Tag: tag}
		}
	}
}

// search returns the first item with a key >= key, and whether it has that key.
func (l leaf) search(key string) (int, bool) {
	if l.alone {
		if key > l.first {
			return 1, false
		}
		return 0, key == l.first
	}
	lo, hi := 0, l.len()
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if l.key(mid) < key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < l.len() && l.key(lo) == key
}

// size returns what an item takes in a leaf.
func (it *Item) size() int {
	n := slot + tagLen(it.Tag) + len(it.Row)
	if it.within() < 0 {
		n += len(it.Key)
	}
	return n
}

// fits reports whether a leaf has room for an item in the place of drop items
// from i on.
func (l leaf) fits(i, drop int, it *Item) bool {
	return !l.alone && !it.alone() && l.len()+1-drop <= leafItems &&
		len(l.data)+it.size()-slot*drop-(l.begin(i+drop)-l.begin(i)) <= leafBytes
}

// writer makes the data of a leaf.
type writer struct {
	data strings.Builder
	dir  [1 + slot*leafItems]byte
	n    int // slots that are filled
	at   int // where the next entry begins
}

// begin makes room for a leaf of so many items and bytes.
func (w *writer) begin(items, size int) {
	w.dir[0] = byte(items)
	w.at = 1 + slot*items
	w.data.Grow(size)
}

func (w *writer) slot(end, key, size int) {
	d := w.dir[1+slot*w.n:]
	binary.LittleEndian.PutUint16(d, uint16(end))
	binary.LittleEndian.PutUint16(d[2:], uint16(key))
	binary.LittleEndian.PutUint16(d[4:], uint16(size))
	w.n++
}

// plan fills the slot of an item, keep those of entries of a leaf: all slots come
// before the entries.
func (w *writer) plan(it *Item) {
	key, size := w.at+tagLen(it.Tag), len(it.Key)
	end := key + len(it.Row)
	if i := it.within(); i >= 0 {
		key += i
	} else {
		key, end, size = end, end+size, size|apart
	}
	w.slot(end, key, size)
	w.at = end
}

func (w *writer) keep(l leaf, from, to int) {
	shift := w.at - l.begin(from)
	for i := from; i < to; i++ {
		d := 1 + slot*i
		w.slot(l.word(d)+shift, l.word(d+2)+shift, l.word(d+4))
	}
	w.at = l.begin(to) + shift
}

// entry writes the entry of an item.
func (w *writer) entry(it *Item) {
	var tag [binary.MaxVarintLen32]byte
	w.data.Write(binary.AppendUvarint(tag[:0], uint64(it.Tag)))
	w.data.WriteString(it.Row)
	if it.within() < 0 {
		w.data.WriteString(it.Key)
	}
}

func tagLen(tag uint32) int { return (bits.Len32(tag|1) + 6) / 7 }

// leaf ends the data.
func (w *writer) leaf() leaf {
	l := leaf{body: body{data: w.data.String()}}
	l.first = l.key(0)
	return l
}

// splice returns the leaf with an item, or nothing when it is nil, in the place
// of drop items from i on. The leaf is not alone, and the result not empty.
func (l leaf) splice(i, drop int, it *Item) leaf {
	var w writer
	n, size := l.len()-drop, len(l.data)-slot*drop-(l.begin(i+drop)-l.begin(i))
	if it != nil {
		n++
		size += it.size()
	}
	w.begin(n, size)
	w.keep(l, 0, i)
	if it != nil {
		w.plan(it)
	}
	w.keep(l, i+drop, l.len())
	w.data.Write(w.dir[:1+slot*n])
	w.data.WriteString(l.data[l.begin(0):l.begin(i)])
	if it != nil {
		w.entry(it)
	}
	w.data.WriteString(l.data[l.begin(i+drop):])
	return w.leaf()
}

// single returns a leaf of one item.
func single(it Item) leaf {
	if it.alone() {
		return leaf{it.Key, body{data: it.Row, tag: it.Tag, alone: true}}
	}
	return leaf{body: body{data: "\x00"}}.splice(0, 0, &it)
}

// items appends the items of a leaf.
func (l leaf) items(out []Item) []Item {
	for i := range l.len() {
		out = append(out, l.at(i))
	}
	return out
}

// pack makes leaves of items in order, of much the same size.
func pack(items []Item, yield func(leaf)) {
	size := 1
	for i := range items {
		if items[i].alone() {
			pack(items[:i], yield)
			yield(single(items[i]))
			pack(items[i+1:], yield)
			return
		}
		size += items[i].size()
	}
	switch {
	case len(items) == 0:
	case size <= leafBytes && len(items) <= leafItems:
		yield(join(items, size))
	default:
		// The middle by bytes; both sides have an item at least.
		i, left := 1, items[0].size()
		for i < len(items)-1 && left+items[i].size()/2 < size/2 {
			left += items[i].size()
			i++
		}
		pack(items[:i], yield)
		pack(items[i:], yield)
	}
}

// join makes one leaf of items, of so many bytes.
func join(items []Item, size int) leaf {
	var w writer
	w.begin(len(items), size)
	for i := range items {
		w.plan(&items[i])
	}
	w.data.Write(w.dir[:1+slot*len(items)])
	for i := range items {
		w.entry(&items[i])
	}
	return w.leaf()
}

package boltfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"

	"golang.org/x/sys/unix"
)

// Layout of bbolt's files, format 2. Numbers have the machine's byte order.
const (
	magic      = 0xED0CDAED
	version    = 2
	headerSize = 16 // of a page: id 8, flags 2, count 2, overflow 4
	metaSize   = 64 // behind the header, the checksum last
	elemSize   = 16 // of a branch: pos 4, ksize 4, page 8; of a leaf: flags 4, pos 4, ksize 4, vsize 4
	bucketSize = 16 // root 8, sequence 8

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10
	bucketLeaf   = 0x01
	noFreelist   = ^uint64(0)
)

var order = binary.NativeEndian

// When bbolt opens a file without a stored free list for writing, or checks one,
// it walks the pages on a goroutine of its own. A damaged page makes it panic,
// fault or turn in circles there, where nobody can recover: the process ends
// without a word about the file. So the structure is looked at first, by code
// that trusts nothing. Keys and values themselves are for their owners to check.

// Probe checks a file that nobody writes: that every page is where its parent
// says and is what it says, that its keys lie inside it, in order and between
// those of its parent, and that no page of a stored free list is in use. What it
// lets pass has nothing that bbolt would panic over. A file without a usable meta
// page is left to bbolt, which refuses it.
func Probe(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || fi.Size() == 0 {
		return err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(fi.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", path, err)
	}
	err = guarded(path, data, func() error { return probe(path, data) })
	return errors.Join(err, unix.Munmap(data))
}

func probe(path string, data []byte) error {
	m, ok := newest(data)
	if !ok {
		return nil
	}
	p := prober{path: path, data: data, page: m.page, high: m.high, seen: make([]bool, min(m.high, uint64(len(data))/m.page))}
	if err := p.visit(m.root, keys{}); err != nil || m.freelist == noFreelist {
		return err
	}
	return p.freelist(m.freelist)
}

// meta is what a meta page says.
type meta struct {
	page, root, freelist, high, txid uint64
}

// newest returns the meta page that bbolt would use.
func newest(data []byte) (best meta, ok bool) {
	first, ok := readMeta(data, 0)
	size := first.page
	for at := uint64(1024); !ok && at <= 64<<10; at *= 2 {
		if m, found := readMeta(data, at); found && m.page == at {
			return m, true
		}
	}
	if second, found := readMeta(data, size); ok && found && second.txid > first.txid {
		return second, true
	}
	return first, ok
}

func readMeta(data []byte, at uint64) (m meta, ok bool) {
	if at+headerSize+metaSize > uint64(len(data)) {
		return m, false
	}
	b := data[at+headerSize:][:metaSize]
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaSize-8])
	if order.Uint32(b) != magic || order.Uint32(b[4:]) != version || order.Uint64(b[metaSize-8:]) != sum.Sum64() {
		return m, false
	}
	m = meta{uint64(order.Uint32(b[8:])), order.Uint64(b[16:]), order.Uint64(b[32:]), order.Uint64(b[40:]), order.Uint64(b[48:])}
	return m, m.page >= 1024
}

// keys are the bounds that the branches above a page set to its keys.
type keys struct {
	from []byte // inclusive
	to   []byte // exclusive, nil for none
}

type prober struct {
	path string
	data []byte
	page uint64 // bytes
	high uint64 // one past the last page
	seen []bool
}

// wrong says what is wrong with a page.
func (p *prober) wrong(id uint64, format string, args ...any) error {
	return &Error{File: p.path, Byte: int64(id * p.page), Err: fmt.Errorf("page %d: %w", id, fmt.Errorf(format, args...))}
}

// take returns a page with what overflows from it, once.
func (p *prober) take(id uint64) ([]byte, error) {
	if id < 2 || id >= uint64(len(p.seen)) {
		return nil, p.wrong(id, "the file has %d of %d pages", len(p.seen), p.high)
	}
	b := p.data[id*p.page:]
	if got := order.Uint64(b); got != id {
		return nil, p.wrong(id, "it says that it is page %d", got)
	}
	n := uint64(order.Uint32(b[12:])) + 1
	if id+n > uint64(len(p.seen)) {
		return nil, p.wrong(id, "it ends at page %d, the file has %d", id+n-1, len(p.seen))
	}
	for i := range n {
		if p.seen[id+i] {
			return nil, p.wrong(id+i, "it is in use twice")
		}
		p.seen[id+i] = true
	}
	return b[:n*p.page], nil
}

func (p *prober) freelist(id uint64) error {
	b, err := p.take(id)
	if err != nil {
		return err
	}
	n, at := uint64(order.Uint16(b[10:])), uint64(headerSize)
	if n == 0xFFFF { // the number stands in front of the list
		n, at = order.Uint64(b[at:]), at+8
	}
	if order.Uint16(b[8:]) != freelistPage || n > (uint64(len(b))-at)/8 {
		return p.wrong(id, "it is no free list of %d pages", n)
	}
	for i := range n { // after all that is in use was seen
		free := order.Uint64(b[at+8*i:])
		if free < 2 || free >= uint64(len(p.seen)) || p.seen[free] {
			return p.wrong(id, "it lists page %d as free, which is in use, listed twice or none of %d", free, len(p.seen))
		}
		p.seen[free] = true
	}
	return nil
}

// visit checks a page and what hangs on it.
func (p *prober) visit(id uint64, within keys) error {
	b, err := p.take(id)
	if err != nil {
		return err
	}
	err = p.elements(b, within)
	var below *Error
	if err == nil || errors.As(err, &below) {
		return err
	}
	return p.wrong(id, "%w", err)
}

// elements checks the elements of a page, or of a bucket that is stored inline.
func (p *prober) elements(b []byte, within keys) error {
	flags, n := order.Uint16(b[8:]), int(order.Uint16(b[10:]))
	if flags != leafPage && (flags != branchPage || n == 0) || headerSize+n*elemSize > len(b) {
		return fmt.Errorf("flags %#x with %d elements in %d bytes", flags, n, len(b))
	}
	var last element
	for i := range n + 1 {
		next := element{key: within.to}
		if i < n {
			var ok bool
			if next, ok = readElement(b[headerSize+i*elemSize:], flags); !ok {
				return fmt.Errorf("element %d has no key or lies outside", i)
			}
			if i == 0 && bytes.Compare(next.key, within.from) < 0 || i > 0 && bytes.Compare(last.key, next.key) >= 0 ||
				within.to != nil && bytes.Compare(next.key, within.to) >= 0 {
				return fmt.Errorf("element %d is out of order", i)
			}
		}
		if i > 0 {
			if err := p.below(last, flags, next.key); err != nil {
				return err
			}
		}
		last = next
	}
	return nil
}

// element is one of a branch or of a leaf.
type element struct {
	key, value []byte
	child      uint64 // of a branch
	bucket     bool   // the value of a leaf is a bucket
}

// readElement reads the element at the beginning of e. It is !ok when that has no
// key, which bbolt allows nowhere, or lies outside of e in part.
func readElement(e []byte, flags uint16) (el element, ok bool) {
	pos, size, value := uint64(order.Uint32(e)), uint64(order.Uint32(e[4:])), uint64(0)
	if flags == leafPage {
		el.bucket = order.Uint32(e)&bucketLeaf != 0
		pos, size, value = uint64(order.Uint32(e[4:])), uint64(order.Uint32(e[8:])), uint64(order.Uint32(e[12:]))
	} else {
		el.child = order.Uint64(e[8:])
	}
	if size == 0 || pos+size+value > uint64(len(e)) {
		return el, false
	}
	el.key, el.value = e[pos:pos+size], e[pos+size:pos+size+value]
	return el, true
}

// below checks what hangs on an element; to is the key behind it.
func (p *prober) below(e element, flags uint16, to []byte) error {
	switch {
	case flags == branchPage:
		return p.visit(e.child, keys{e.key, to})
	case e.bucket:
		return p.bucket(e.value)
	}
	return nil
}

// bucket checks what a bucket's value says.
func (p *prober) bucket(v []byte) error {
	if len(v) < bucketSize {
		return errors.New("a bucket is cut short")
	}
	if root := order.Uint64(v); root != 0 {
		return p.visit(root, keys{})
	}
	if v = v[bucketSize:]; len(v) < headerSize {
		return errors.New("a bucket is cut short")
	}
	if order.Uint64(v) != 0 || order.Uint16(v[8:]) != leafPage {
		return errors.New("a bucket's own page is none")
	}
	return p.elements(v, keys{})
}

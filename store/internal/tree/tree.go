// Package tree checks the pages of a bbolt file before bbolt walks them.
//
// When bbolt opens a file without a stored free list for writing, or checks one,
// it walks the pages on a goroutine of its own. A damaged page makes it panic,
// fault or turn in circles there, where nobody can recover: the process ends
// without a word about the file. So the structure is looked at first, by code
// that trusts nothing. Keys and values themselves are for their owners to check.
package tree

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

// Probe checks a file that nobody writes: that every page is where its parent
// says and is what it says, and that its keys lie inside it, in order. A file
// without a usable meta page is left to bbolt, which refuses it.
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
	err = probe(data)
	return errors.Join(err, unix.Munmap(data))
}

func probe(data []byte) error {
	m, ok := newest(data)
	if !ok {
		return nil
	}
	p := prober{data: data, page: m.page, high: m.high, seen: make([]bool, min(m.high, uint64(len(data))/m.page))}
	if m.freelist != noFreelist {
		if err := p.freelist(m.freelist); err != nil {
			return err
		}
	}
	return p.visit(m.root)
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

type prober struct {
	data []byte
	page uint64 // bytes
	high uint64 // one past the last page
	seen []bool
}

// take returns a page with what overflows from it, once.
func (p *prober) take(id uint64) ([]byte, error) {
	if id < 2 || id >= uint64(len(p.seen)) {
		return nil, fmt.Errorf("page %d: the file has %d of %d pages", id, len(p.seen), p.high)
	}
	b := p.data[id*p.page:]
	if got := order.Uint64(b); got != id {
		return nil, fmt.Errorf("page %d: it says that it is page %d", id, got)
	}
	n := uint64(order.Uint32(b[12:])) + 1
	if id+n > uint64(len(p.seen)) {
		return nil, fmt.Errorf("page %d: it ends at page %d, the file has %d", id, id+n-1, len(p.seen))
	}
	for i := range n {
		if p.seen[id+i] {
			return nil, fmt.Errorf("page %d: it is in use twice", id+i)
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
		return fmt.Errorf("page %d: it is no free list of %d pages", id, n)
	}
	return nil
}

// visit checks a page and what hangs on it.
func (p *prober) visit(id uint64) error {
	b, err := p.take(id)
	if err != nil {
		return err
	}
	if err := p.elements(b); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// elements checks the elements of a page, or of a bucket that is stored inline.
func (p *prober) elements(b []byte) error {
	flags, n := order.Uint16(b[8:]), int(order.Uint16(b[10:]))
	if flags != leafPage && (flags != branchPage || n == 0) || headerSize+n*elemSize > len(b) {
		return fmt.Errorf("flags %#x with %d elements in %d bytes", flags, n, len(b))
	}
	var last []byte
	for i := range n {
		e := b[headerSize+i*elemSize:]
		pos, size := uint64(order.Uint32(e)), uint64(order.Uint32(e[4:]))
		value, child := uint64(0), order.Uint64(e[8:])
		if flags == leafPage {
			pos, size, value = uint64(order.Uint32(e[4:])), uint64(order.Uint32(e[8:])), uint64(order.Uint32(e[12:]))
		}
		if pos+size+value > uint64(len(e)) {
			return fmt.Errorf("element %d lies outside", i)
		}
		key := e[pos : pos+size]
		if i > 0 && bytes.Compare(last, key) >= 0 {
			return fmt.Errorf("element %d is out of order", i)
		}
		last = key
		var err error
		switch {
		case flags == branchPage:
			err = p.visit(child)
		case order.Uint32(e)&bucketLeaf != 0:
			err = p.bucket(e[pos+size:][:value])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bucket checks what a bucket's value says.
func (p *prober) bucket(v []byte) error {
	if len(v) < bucketSize {
		return errors.New("a bucket is cut short")
	}
	if root := order.Uint64(v); root != 0 {
		return p.visit(root)
	}
	if v = v[bucketSize:]; len(v) < headerSize {
		return errors.New("a bucket is cut short")
	}
	return p.elements(v)
}

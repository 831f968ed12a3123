package registry

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"carbond/feeds/internal/text"
)

const (
	headerRows = 50        // that are looked at for the header
	headBytes  = 64 << 10  // that are looked at for it
	maxProject = 1_000_000 // projects, and their vintages
)

// Options say how files are read. The zero value finds everything out.
type Options struct {
	Registry string            // of the rows of files that no format tells
	Map      map[string]string // header to column of the table, beside the format's own
}

// Found says what one file held.
type Found struct {
	Format  string // for people
	Rows    int
	Unread  []string       // headers that nothing is read from
	LeftOut map[string]int // cells and rows that could not be read, by what is wrong
}

func (f *Found) leaveOut(why string) { f.LeftOut[why]++ }

// Set is what the files of one import hold together.
type Set struct {
	opt      Options
	projects map[string]*project
	kinds    map[string][blocks + 1]bool // of units, by registry
	whole    map[string]bool             // registries of which a file of projects was read
	vintages int                         // of all projects
}

// project is what the files say of one project.
type project struct {
	values map[string]string // by column of the table
	units  map[int32]*[3]float64
	broken bool // a row of units could not be read
	untold bool // units are gone, and the file does not say whether they are retired or cancelled
}

// NewSet returns an empty Set.
func NewSet(opt Options) *Set {
	opt.Registry = text.Registry(opt.Registry)
	folded := map[string]string{}
	for h, c := range opt.Map {
		folded[fold(h)] = c
	}
	opt.Map = folded
	return &Set{opt: opt, projects: map[string]*project{}, kinds: map[string][blocks + 1]bool{}, whole: map[string]bool{}}
}

// CheckMap names what the map of columns has that is no column to fill.
func (o Options) CheckMap() error {
	for h, c := range o.Map {
		if !slices.Contains(Fields(), c) {
			return fmt.Errorf("%q is no column that a file can fill (for the header %q): %s", c, h, strings.Join(Fields(), ", "))
		}
	}
	return nil
}

// decoded returns r as UTF-8. Of what is neither UTF-16 nor UTF-8 a line is
// Windows-1252.
func decoded(r *bufio.Reader) io.Reader {
	head, _ := r.Peek(4)
	switch {
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}), bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return transform.NewReader(r, unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM).NewDecoder())
	case len(head) == 4 && head[1] == 0 && head[3] == 0:
		return transform.NewReader(r, unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewDecoder())
	case len(head) == 4 && head[0] == 0 && head[2] == 0:
		return transform.NewReader(r, unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewDecoder())
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		_, _ = r.Discard(3)
	}
	return &lines{in: r}
}

// lines gives UTF-8, line by line.
type lines struct {
	in   *bufio.Reader
	rest []byte
	err  error
}

// Read implements io.Reader.
func (l *lines) Read(p []byte) (int, error) {
	if len(l.rest) == 0 && l.err == nil {
		// A line that is longer than the buffer comes in parts.
		l.rest, l.err = l.in.ReadSlice('\n')
		if errors.Is(l.err, bufio.ErrBufferFull) {
			l.err = nil
		}
		if !utf8.Valid(l.rest) {
			l.rest, _ = charmap.Windows1252.NewDecoder().Bytes(l.rest)
		}
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	if n == 0 {
		return 0, l.err
	}
	return n, nil
}

// separators in the order in which they are tried.
var separators = []rune{',', ';', '\t', '|'}

func reader(r io.Reader, comma rune) *csv.Reader {
	c := csv.NewReader(r)
	c.Comma, c.LazyQuotes, c.FieldsPerRecord, c.ReuseRecord = comma, true, -1, true
	return c
}

// header finds the header row in the head of a file.
func (s *Set) header(head []byte) (f *format, comma rune, row int, names []string, err error) {
	var widest []string
	for _, comma := range separators {
		c := reader(bytes.NewReader(head), comma)
		for n := range headerRows {
			cells, err := c.Read()
			if err != nil {
				break
			}
			names := make([]string, len(cells))
			for i := range cells {
				names[i] = fold(cells[i])
			}
			if f := recognise(names); f != nil {
				return f, comma, n, names, nil
			}
			if s.opt.mapped(names) {
				return &format{registry: s.opt.Registry, name: "projects by --map", kind: projects}, comma, n, names, nil
			}
			if len(names) > len(widest) {
				widest = names
			}
		}
	}
	var b strings.Builder
	for _, h := range widest {
		if h != "" {
			fmt.Fprintf(&b, "\n  %q", h)
			if n := nearest(h); n != "" && n != h {
				fmt.Fprintf(&b, ", perhaps %q", n)
			}
		}
	}
	return nil, 0, 0, nil, fmt.Errorf("no row of the first %d is the header of an export that is known; say what is what with --map HEADER=COLUMN and --registry. The widest row has:%s", headerRows, b.String())
}

// mapped reports whether the map finds the key among headers.
func (o Options) mapped(names []string) bool {
	for h, c := range o.Map {
		if c == fieldID && slices.Contains(names, h) {
			return true
		}
	}
	return false
}

// Read adds a file.
func (s *Set) Read(r io.Reader) (*Found, error) {
	in := bufio.NewReaderSize(decoded(bufio.NewReaderSize(r, 1<<20)), headBytes)
	head, err := in.Peek(headBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	f, comma, at, names, err := s.header(head)
	if err != nil {
		return nil, err
	}
	found := &Found{Format: f.name, LeftOut: map[string]int{}}
	fields := make([]string, len(names)) // of the columns
	for i, h := range names {
		if fields[i] = f.columns[h]; s.opt.Map[h] != "" {
			fields[i] = s.opt.Map[h]
		}
		if fields[i] == "" && h != "" {
			found.Unread = append(found.Unread, h)
		}
	}
	if f.kind == projects {
		s.whole[f.registry] = true
	} else {
		k := s.kinds[f.registry]
		k[f.kind] = true
		s.kinds[f.registry] = k
	}
	file := file{set: s, format: f, found: found, fields: fields}
	c := reader(in, comma)
	for n := 0; ; n++ {
		cells, err := c.Read()
		var bad *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			file.settle()
			return found, nil
		case errors.As(err, &bad):
			found.leaveOut("rows that are no CSV")
			continue
		case err != nil:
			return nil, err
		}
		if n <= at {
			continue
		}
		if err := file.row(cells); err != nil {
			return nil, err
		}
	}
}

// Registries lists those of which a file of projects was read.
func (s *Set) Registries() []string { return slices.Sorted(maps.Keys(s.whole)) }

// UnitRegistries lists those of which a file of issued units was read.
func (s *Set) UnitRegistries() (out []string) {
	for _, r := range slices.Sorted(maps.Keys(s.kinds)) {
		if s.kinds[r][blocks] || s.kinds[r][issued] {
			out = append(out, r)
		}
	}
	return out
}

package client

import (
	"bufio"
	"cmp"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/width"
)

// table lays rows out for people: numbers to the right with separators, times of
// this machine's zone, and on a terminal no wider than that.
type table struct {
	w     *bufio.Writer
	width int // of the terminal, 0 for no limit
	zone  *time.Location
	brief []int
	show  []func(any) any

	head   []string
	rows   [][]any // of the columns in brief
	right  []bool  // columns of numbers
	narrow []bool  // columns of texts, which may be cut
}

const (
	gap         = 2
	leastColumn = 8 // characters that a text is not cut below
)

func newTable(w io.Writer, o *Form, c Columns) *table {
	t := &table{w: bufio.NewWriter(w), brief: c.Brief, show: c.Show, zone: time.Local}
	if t.brief == nil {
		t.brief = make([]int, len(c.Names))
		for i := range t.brief {
			t.brief[i] = i
		}
	}
	if o.UTC {
		t.zone = time.UTC
	}
	t.width = cmp.Or(o.Width, Width(w, o.Getenv))
	t.head = make([]string, len(t.brief))
	for i, n := range t.brief {
		t.head[i] = strings.ToUpper(c.Names[n])
	}
	t.right, t.narrow = make([]bool, len(t.head)), make([]bool, len(t.head))
	return t
}

// Row implements Printer.
func (t *table) Row(r []any) error {
	row := make([]any, len(t.brief))
	for i, c := range t.brief {
		row[i] = r[c]
		if c < len(t.show) && t.show[c] != nil {
			row[i] = t.show[c](r[c])
		}
	}
	t.rows = append(t.rows, row)
	return nil
}

// cells returns what is in the column of a table.
func (t *table) cells(column int) []string {
	out, digits := []string{t.head[column]}, t.digits(column)
	for _, r := range t.rows {
		switch v := r[column].(type) {
		case nil, bool:
			out = append(out, cell(v))
		case string, Words:
			t.narrow[column] = true
			out = append(out, Plain(cell(v)))
		case time.Time:
			out = append(out, t.moment(v))
		case Unix:
			if v == 0 {
				out = append(out, "")
			} else {
				out = append(out, t.moment(time.Unix(int64(v), 0)))
			}
		case Mail:
			out = append(out, cmp.Or(t.moment(mailTime(string(v))), Plain(string(v))))
		case Key:
			out = append(out, Plain(string(v)))
		case Year, Offset:
			t.right[column] = true
			out = append(out, cell(v))
		case float64:
			t.right[column] = true
			out = append(out, fixed(v, digits))
		default:
			t.right[column] = true
			out = append(out, grouped(cell(v)))
		}
	}
	return out
}

func (t *table) moment(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	at = at.In(t.zone)
	if now := time.Now().In(t.zone); at.YearDay() == now.YearDay() && at.Year() == now.Year() {
		return at.Format(time.TimeOnly) // today
	}
	return at.Format(time.DateTime)
}

// digits is how many digits behind the point tell something in a column.
func (t *table) digits(column int) int {
	most, whole := 0.0, true
	for _, r := range t.rows {
		if f, ok := r[column].(float64); ok && !math.IsNaN(f) && !math.IsInf(f, 0) {
			most, whole = max(most, math.Abs(f)), whole && f == math.Trunc(f)
		}
	}
	switch {
	case whole:
		return 0
	case most < 1:
		return 4
	}
	return 2
}

// End implements Printer.
func (t *table) End() error {
	rows := make([][]string, len(t.rows)+1)
	widths := make([]int, len(t.head))
	for i := range t.head {
		for n, s := range t.cells(i) {
			rows[n] = append(rows[n], s)
			widths[i] = max(widths[i], columns(s))
		}
	}
	shown := t.fit(widths)
	for _, r := range rows {
		var line strings.Builder
		for i, s := range r[:shown] {
			s = cut(s, widths[i])
			pad := strings.Repeat(" ", widths[i]-columns(s))
			if t.right[i] {
				s = pad + s
			} else {
				s += pad
			}
			if i > 0 {
				line.WriteString(strings.Repeat(" ", gap))
			}
			line.WriteString(s)
		}
		_, _ = t.w.WriteString(strings.TrimRight(line.String(), " ") + "\n") // bufio keeps the first error
	}
	return t.w.Flush()
}

// fit cuts the widest texts until a line fits, and leaves out the last columns when
// that does not do. It returns how many columns are shown.
func (t *table) fit(widths []int) (shown int) {
	if t.width == 0 {
		return len(widths)
	}
	for shown = len(widths); shown > 1; shown-- {
		if fitted := slices.Clone(widths[:shown]); t.squeeze(fitted) || shown == 2 {
			copy(widths, fitted)
			break
		}
	}
	return shown
}

// squeeze narrows columns of texts, and reports whether a line fits then.
func (t *table) squeeze(widths []int) bool {
	sum := gap * (len(widths) - 1)
	for _, w := range widths {
		sum += w
	}
	for ; sum > t.width; sum-- {
		widest := -1
		for i, w := range widths {
			if t.narrow[i] && w > leastColumn && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return false
		}
		widths[widest]--
	}
	return true
}

// columns is how much room a text takes on a terminal.
func columns(s string) (n int) {
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case r < 0x1100:
		return 1
	}
	if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
		return 2
	}
	return 1
}

// cut shortens a text to n columns and says so by an ellipsis.
func cut(s string, n int) string {
	if columns(s) <= n {
		return s
	}
	used := 1
	for i, r := range s {
		if used += runeColumns(r); used > n {
			return strings.TrimRight(s[:i], " ") + "…"
		}
	}
	return s
}

// fixed prints a number with so many digits behind the point, unless it would
// become 0 or is beyond what a table is for.
func fixed(f float64, digits int) string {
	abs := math.Abs(f)
	switch {
	case math.IsNaN(f), math.IsInf(f, 0), abs >= 1e15:
		return float(f)
	case f != 0 && abs < math.Pow10(-digits)/2:
		return strconv.FormatFloat(f, 'g', 2, 64)
	}
	return grouped(strconv.FormatFloat(f, 'f', digits, 64))
}

// grouped separates the thousands of a decimal number.
func grouped(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	whole, fraction, point := strings.Cut(s, ".")
	var parts []string
	for len(whole) > 3 {
		parts = append(parts, whole[len(whole)-3:])
		whole = whole[:len(whole)-3]
	}
	parts = append(parts, whole)
	slices.Reverse(parts)
	s = sign + strings.Join(parts, ",")
	if point {
		s += "." + fraction
	}
	return s
}

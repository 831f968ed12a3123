package client

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// Formats are the forms in which rows are printed.
var Formats = []string{"table", "json", "jsonl", "csv"}

// Form is how a command prints its rows.
type Form struct {
	Format string // one of Formats
	UTC    bool   // times of a table in UTC, else in the zone of this machine
	Raw    bool   // texts of CSV as they are, also those that a spreadsheet would run
	Width  int    // of a table in columns, 0 for that of the terminal
	Getenv func(string) string
}

// FormFlags gives a command the flags of every command that prints rows.
func FormFlags(cmd *cobra.Command, getenv func(string) string) *Form {
	o := &Form{Getenv: getenv}
	f := cmd.Flags()
	f.StringVarP(&o.Format, "format", "f", "table", "`FORM`: "+strings.Join(Formats, ", "))
	f.BoolVar(&o.UTC, "utc", false, "print the times of a table in UTC")
	f.BoolVar(&o.Raw, "raw", false, "print the texts of csv as they are; else those that a spreadsheet would run begin with '")
	Complete(cmd, "format", Formats...)
	return o
}

// Check returns a UsageError for a form that there is not. A command that takes long
// asks before.
func (o *Form) Check() error {
	if !slices.Contains(Formats, o.Format) {
		return Usage(fmt.Errorf("unknown format %q: want %s", o.Format, oneOf(Formats)))
	}
	return nil
}

// Complete completes the values of a flag.
func Complete(cmd *cobra.Command, flag string, values ...string) {
	// The only error is a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// Columns are those of the rows of a Printer.
type Columns struct {
	Names []string
	Brief []int // those of the table form, nil for all; the rest is too wide for a terminal
	// Show makes of a value what a table shows; nil and nil ones leave it as it is.
	Show []func(any) any
}

// Values that a table shows in another way than the other forms.
type (
	// Year is a number without separators, as is an Offset.
	Year int32
	// Offset is a position of the changelog.
	Offset uint64
	// Key is a text that is not cut, since it is what one copies.
	Key string
	// Unix is a time in seconds since 1970, 0 for none.
	Unix int64
	// Mail is a time as RFC 822 has it.
	Mail string
	// Words is a list: one in JSON, elsewhere a text.
	Words []string
)

// Moment is a time that may not be known.
func Moment(t *time.Time) any {
	if t == nil {
		return nil
	}
	return *t
}

// Printer writes rows in one form. The values of a row are strings, numbers, truth
// values, times, or nil for none. End writes what is held back.
type Printer interface {
	Row([]any) error
	End() error
}

// NewPrinter returns what prints rows in the form of o, or a UsageError.
func NewPrinter(w io.Writer, o *Form, c Columns) (Printer, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	switch o.Format {
	case "table":
		return newTable(w, o, c), nil
	case "json":
		return &jsonPrinter{w: bufio.NewWriter(w), columns: c.Names, list: true}, nil
	case "jsonl":
		return &jsonPrinter{w: bufio.NewWriter(w), columns: c.Names}, nil
	}
	p := &csvPrinter{csv.NewWriter(w), o.Raw}
	return p, p.w.Write(c.Names)
}

// oneOf lists words for a sentence.
func oneOf(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// jsonPrinter keeps the order of the columns, which a map would not.
type jsonPrinter struct {
	w       *bufio.Writer
	columns []string
	list    bool // one list of all rows, else a line for each
	rows    int
}

func (p *jsonPrinter) Row(r []any) error {
	switch {
	case p.list && p.rows == 0:
		_, _ = p.w.WriteString("[\n")
	case p.list:
		_, _ = p.w.WriteString(",\n")
	}
	p.rows++
	sep := byte('{')
	for i, v := range r {
		_ = p.w.WriteByte(sep)
		sep = ','
		fmt.Fprintf(p.w, "%q:", p.columns[i])
		b, err := json.Marshal(jsonValue(v))
		if err != nil {
			return err
		}
		_, _ = p.w.Write(escapeJSON(b))
	}
	_ = p.w.WriteByte('}')
	if p.list {
		return nil
	}
	return p.w.WriteByte('\n') // bufio keeps the first error
}

func (p *jsonPrinter) End() error {
	switch {
	case p.list && p.rows == 0:
		_, _ = p.w.WriteString("[]\n")
	case p.list:
		_, _ = p.w.WriteString("\n]\n")
	}
	return p.w.Flush()
}

// jsonValue turns numbers that JSON does not have into their names, and times into
// RFC 3339.
func jsonValue(v any) any {
	switch v := v.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return cell(v)
		}
	case time.Time:
		if v.IsZero() {
			return nil
		}
		return cell(v)
	case Words:
		if v == nil {
			return Words{}
		}
	}
	return v
}

// escapeJSON escapes in JSON what could steer a terminal or turn a line around;
// encoding/json leaves all but the first 32 characters alone.
func escapeJSON(b []byte) []byte {
	if !bytes.ContainsFunc(b, steers) {
		return b
	}
	return slices.Collect(func(yield func(byte) bool) {
		for _, r := range string(b) {
			text := string(r)
			if steers(r) {
				text = fmt.Sprintf(`\u%04x`, r)
			}
			for i := range len(text) {
				if !yield(text[i]) {
					return
				}
			}
		}
	})
}

type csvPrinter struct {
	w   *csv.Writer
	raw bool
}

func (p *csvPrinter) Row(r []any) error {
	cells := make([]string, len(r))
	for i, v := range r {
		cells[i] = cell(v)
		switch v.(type) {
		case string, Key, Mail, Words:
			if !p.raw {
				cells[i] = noFormula(cells[i])
			}
		}
	}
	return p.w.Write(cells)
}

func (p *csvPrinter) End() error {
	p.w.Flush()
	return p.w.Error()
}

// noFormula makes a text that a spreadsheet would run as a formula a text again.
func noFormula(s string) string {
	if s != "" && strings.IndexByte("=+-@\t\r", s[0]) >= 0 {
		return "'" + s
	}
	return s
}

// cell prints a value without exponents for the usual magnitudes, NaN and the
// infinities as Postgres spells them, times as RFC 3339 in UTC, and nothing as "".
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case Words:
		return strings.Join(v, "; ")
	case float64:
		return float(v)
	case time.Time:
		if v.IsZero() {
			return ""
		}
		return v.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	return fmt.Sprint(v)
}

func float(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case f != 0 && (math.Abs(f) >= 1e15 || math.Abs(f) < 1e-6):
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// steers reports whether a character could steer a terminal or turn a line around:
// the controls of C0 and C1, and those of bidirectional text.
func steers(r rune) bool {
	return r < ' ' || (r >= 0x7f && r < 0xa0) || r == 0x2028 || r == 0x2029 ||
		r == 0x061c || r == 0x200e || r == 0x200f || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069)
}

// Plain makes foreign text safe for a terminal, in one line.
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		if steers(r) {
			return ' '
		}
		return r
	}, s)
}

// Lines is Plain for a text of several lines, which keeps them and its tabs.
func Lines(s string) string {
	return strings.Map(func(r rune) rune {
		if steers(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, s)
}

// Guard returns a writer that escapes what could steer the terminal at the end of w.
// Where there is none, it is w itself: a pipe gets every byte.
func Guard(w io.Writer) io.Writer {
	if !Terminal(w) {
		return w
	}
	return &guard{w: w}
}

type guard struct {
	w    io.Writer
	part []byte // of a character whose rest is still to come
}

// Write implements io.Writer.
func (g *guard) Write(p []byte) (int, error) {
	b := append(g.part, p...)
	whole := len(b)
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				whole = len(b) - i
			}
			break
		}
	}
	var out bytes.Buffer
	for _, r := range string(b[:whole]) {
		if steers(r) && r != '\n' && r != '\t' {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	g.part = bytes.Clone(b[whole:])
	if _, err := g.w.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Bare returns what is behind a Guard, for escapes of our own.
func Bare(w io.Writer) io.Writer {
	if g, ok := w.(*guard); ok {
		return g.w
	}
	return w
}

package client

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Printer writes rows in one form. End writes what is held back.
type Printer interface {
	Row([]any) error
	End() error
}

// Columns are those of the rows of a Printer.
type Columns struct {
	Names []string
	Brief []int // those of the table form; the rest is too wide for a terminal
}

// NewPrinter returns what prints rows in the form of the name, or an UsageError.
func NewPrinter(w io.Writer, format string, s Columns) (Printer, error) {
	switch format {
	case "table":
		t := tabwriter.NewWriter(w, 2, 8, 2, ' ', 0)
		head := make([]string, len(s.Brief))
		for i, c := range s.Brief {
			head[i] = strings.ToUpper(s.Names[c])
		}
		fmt.Fprintln(t, strings.Join(head, "\t"))
		return &tablePrinter{t, s.Brief}, nil
	case "jsonl":
		return &jsonPrinter{bufio.NewWriter(w), s.Names}, nil
	case "csv":
		c := csv.NewWriter(w)
		return &csvPrinter{c}, c.Write(s.Names)
	}
	return nil, UsageError{fmt.Errorf("unknown format %q: want table, jsonl or csv", format)}
}

type tablePrinter struct {
	w     *tabwriter.Writer
	brief []int
}

func (p *tablePrinter) Row(r []any) error {
	cells := make([]string, len(p.brief))
	for i, c := range p.brief {
		cells[i] = Plain(cell(r[c]))
	}
	_, err := fmt.Fprintln(p.w, strings.Join(cells, "\t"))
	return err
}

func (p *tablePrinter) End() error { return p.w.Flush() }

// jsonPrinter keeps the order of the columns, which a map would not.
type jsonPrinter struct {
	w       *bufio.Writer
	columns []string
}

func (p *jsonPrinter) Row(r []any) error {
	sep := byte('{')
	for i, v := range r {
		_ = p.w.WriteByte(sep)
		sep = ','
		fmt.Fprintf(p.w, "%q:", p.columns[i])
		b, err := json.Marshal(finite(v))
		if err != nil {
			return err
		}
		_, _ = p.w.Write(b)
	}
	_, err := p.w.WriteString("}\n") // bufio keeps the first error
	return err
}

func (p *jsonPrinter) End() error { return p.w.Flush() }

// finite turns numbers that JSON does not have into their names.
func finite(v any) any {
	if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return cell(f)
	}
	return v
}

type csvPrinter struct{ w *csv.Writer }

func (p *csvPrinter) Row(r []any) error {
	cells := make([]string, len(r))
	for i, v := range r {
		cells[i] = cell(v)
	}
	return p.w.Write(cells)
}

func (p *csvPrinter) End() error {
	p.w.Flush()
	return p.w.Error()
}

// cell prints a value without exponents for the usual magnitudes, and NaN and
// the infinities as Postgres spells them.
func cell(v any) string {
	f, ok := v.(float64)
	switch {
	case !ok:
		return fmt.Sprint(v)
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case f != 0 && (math.Abs(f) >= 1e15 || math.Abs(f) < 1e-6):
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

package legacy

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"carbond/feeds/internal/payload"
	"carbond/feeds/verra"
)

// ParseProjectsCSV reads the old CSV export of projects: columns by name, in
// any order, with ID and Status at least.
func ParseProjectsCSV(body []byte) (Page[verra.Project], error) {
	c := collector[verra.Project]{page: Page[verra.Project]{Rows: []verra.Project{}, Total: -1}, key: func(p verra.Project) string { return p.ProjectID }}
	err := table("projects", body, []string{"ID", "Status"}, &c.page.Tally, func(get func(string) string) {
		r := resource{
			ID: payload.ParseNumber(get("ID")), Name: cell(get("Name")), Status: cell(get("Status")),
			Country: cell(get("Country/Area")), Region: cell(get("Region")), Category: cell(get("Project Type")),
			Protocol: cell(get("Methodology")), Estimate: payload.ParseNumber(get("Estimated Annual Emission Reductions")),
			CreditStart: cell(get("Crediting Period Start Date")), CreditEnd: cell(get("Crediting Period End Date")),
		}
		c.add(r.project(&c.page.Tally))
	})
	if err != nil {
		return Page[verra.Project]{}, err
	}
	return c.page, nil
}

// ParseUnitsCSV reads the old CSV export of units: columns by name, in any
// order, with ID and Quantity Issued at least.
func ParseUnitsCSV(body []byte) (Page[Units], error) {
	c := collector[Units]{page: Page[Units]{Rows: []Units{}, Total: -1}, key: Units.key}
	err := table("units", body, []string{"ID", "Quantity Issued"}, &c.page.Tally, func(get func(string) string) {
		r := asset{
			ID: payload.ParseNumber(get("ID")), VintageStart: cell(get("Vintage Start")), VintageEnd: cell(get("Vintage End")),
			Quantity: payload.ParseNumber(get("Quantity Issued")), Serial: cell(get("Serial Number")),
			Issued: cell(get("Issuance Date")), GoneOn: cell(get("Retirement/Cancellation Date")),
		}
		c.add(r.units(&c.page.Tally))
	})
	if err != nil {
		return Page[Units]{}, err
	}
	return c.page, nil
}

// cell makes the text of a CSV field look like one of JSON.
func cell(s string) (t payload.Text) {
	if b, err := json.Marshal(strings.TrimSpace(s)); err == nil {
		_ = t.UnmarshalJSON(b)
	}
	return t
}

// table reads a CSV file with a header line and calls row for every line that
// has as many fields as the header.
func table(what string, body []byte, required []string, t *payload.Tally, row func(get func(string) string)) error {
	fail := func(err error) error { return fmt.Errorf("read old verra %s file: %w", what, err) }
	b := bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	switch trimmed := bytes.TrimSpace(b); {
	case len(trimmed) == 0:
		return fail(payload.ErrEmpty)
	case trimmed[0] == '<':
		return fail(payload.ErrHTML)
	}
	r := csv.NewReader(bytes.NewReader(b))
	r.FieldsPerRecord, r.ReuseRecord = -1, true
	head, err := r.Read()
	if err != nil {
		return fail(fmt.Errorf("%w: unreadable header", payload.ErrShape))
	}
	columns := make(map[string]int, len(head))
	for i, name := range head {
		columns[strings.TrimSpace(name)] = i
	}
	for _, name := range required {
		if _, ok := columns[name]; !ok {
			return fail(fmt.Errorf("%w: no column %q", payload.ErrShape, name))
		}
	}
	width := len(head)
	for n := 0; ; n++ {
		rec, err := r.Read()
		var bad *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			return fail(fmt.Errorf("%w: line %d: %w", payload.ErrShape, bad.Line, bad.Err))
		case err != nil:
			return fail(err)
		case n == maxRows:
			return fail(fmt.Errorf("%w: more than %d", payload.ErrTooMany, maxRows))
		}
		t.Elements++
		if len(rec) != width {
			t.Malformed++
			continue
		}
		row(func(name string) string {
			if i, ok := columns[name]; ok {
				return rec[i]
			}
			return ""
		})
	}
}

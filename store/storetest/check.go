package storetest

import (
	"fmt"
	"iter"
	"slices"

	"carbond/store/change"
)

// Views is what can be compared with a model.
type Views interface {
	Projects(country, after string) iter.Seq[change.Project]
	News(source string) iter.Seq[change.NewsItem]
	Quotes(ticker, after string) iter.Seq[change.Quote]
	Project(id string) (change.ProjectDetail, bool)
}

// Diff compares every answer of the views with the model's and describes the
// first difference, "" when there is none.
func (m *Model) Diff(v Views) string {
	for _, c := range append([]string{"Nowhere"}, Countries...) {
		if got, want := slices.Collect(v.Projects(c, "")), m.Projects(c); !slices.Equal(got, want) {
			return fmt.Sprintf("projects %q:\n got %+v\nwant %+v", c, got, want)
		}
	}
	for _, p := range m.Projects("") {
		if got, want := must(v.Project(p.ProjectID)).Vintages, m.Vintages(p.ProjectID); !slices.Equal(got, want) {
			return fmt.Sprintf("vintages of %s:\n got %+v\nwant %+v", p.ProjectID, got, want)
		}
	}
	for _, o := range append([]string{"Nobody"}, Outlets...) {
		if got, want := slices.Collect(v.News(o)), m.News(o); !slices.Equal(got, want) {
			return fmt.Sprintf("news %q:\n got %+v\nwant %+v", o, got, want)
		}
	}
	for _, t := range append([]string{"", "NONE"}, Tickers...) {
		if got, want := slices.Collect(v.Quotes(t, "")), m.Quotes(t); !slices.Equal(got, want) {
			return fmt.Sprintf("finance %q:\n got %+v\nwant %+v", t, got, want)
		}
	}
	return ""
}

func must[T any](v T, _ bool) T { return v }

// ReadAll reads the records of a log from the reader on to the end.
func ReadAll(r change.RecordReader) (out []change.Record, err error) {
	for {
		recs, err := r.Read(1 << 20)
		if err != nil || len(recs) == 0 {
			return out, err
		}
		out = append(out, recs...)
	}
}

// Lines returns what RecordLine makes of every record of a log.
func Lines(r change.RecordReader) (lines []string, err error) {
	recs, err := ReadAll(r)
	for _, r := range recs {
		if l := RecordLine(r); l != "" {
			lines = append(lines, l)
		}
	}
	return lines, err
}

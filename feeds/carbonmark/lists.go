package carbonmark

import (
	"fmt"

	"carbond/feeds/internal/payload"
)

// ParseCountries reads the list of countries, ParseCategories that of
// categories: [{"id":"Brazil"}]. The ids are as the filters of the service want
// them, not in carbond's spelling. An empty list is not an error.
func ParseCountries(body []byte, contentType string) ([]string, error) {
	return parseIDs("countries", body, contentType)
}

// ParseCategories reads the list of categories; see ParseCountries.
func ParseCategories(body []byte, contentType string) ([]string, error) {
	return parseIDs("categories", body, contentType)
}

type rawID struct {
	ID payload.Text `json:"id"`
}

func parseIDs(what string, body []byte, contentType string) ([]string, error) {
	list, _, err := listOf(body, contentType)
	if err != nil {
		return nil, fmt.Errorf("read carbonmark %s: %w", what, err)
	}
	p, err := parseRows(list, func(r *rawID, _ *payload.Tally) (string, bool) {
		id := clean(r.ID, maxLabel)
		return id, id != ""
	}, func(id string) string { return id }, func(_, _ string) bool { return true })
	if err == nil && len(p.Rows) == 0 && p.Tally.Skipped() > 0 {
		err = fmt.Errorf("%w: no element has an id", payload.ErrShape)
	}
	if err != nil {
		return nil, fmt.Errorf("read carbonmark %s: %w", what, err)
	}
	return p.Rows, nil
}

// ParseVintages reads the list of vintages, ["2006", …], sorted. A list in
// which nothing is a year is payload.ErrShape.
func ParseVintages(body []byte, contentType string) ([]int32, error) {
	list, _, err := listOf(body, contentType)
	if err != nil {
		return nil, fmt.Errorf("read carbonmark vintages: %w", err)
	}
	var t payload.Tally
	out := years(list, &t)
	if len(out) == 0 && !t.Clean() {
		return nil, fmt.Errorf("read carbonmark vintages: %w: no element is a year", payload.ErrShape)
	}
	return out, nil
}

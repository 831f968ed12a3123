package registry

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
)

// kind says what the rows of a file are.
type kind int

const (
	projects  kind = iota
	issued         // units when they were issued
	retired        // units that are retired
	cancelled      // units that are cancelled
	blocks         // all of it: a row is issued, and gone where it says so
)

// format is one kind of export. Header names are folded, see fold.
type format struct {
	registry string // as text.Registry has it
	name     string // for people
	kind     kind
	needs    []string          // headers without which a file is none
	columns  map[string]string // header to field
}

// fields are what columns may be read as, beside those of the table.
const (
	fieldID        = "project_id"
	fieldVintage   = "vintage"
	fieldEnd       = "vintage_end" // a date
	fieldQuantity  = "quantity"
	fieldGoneOn    = "gone_on"     // a date, where the units are gone
	fieldUnitState = "unit_status" // a word that says whether they are
)

// Fields lists the columns of projects that a file may fill, the key first.
func Fields() []string {
	return []string{
		fieldID, "project_name", "project_link", "project_summary", "registry_status", "country", fieldVintage, "supply", "registry",
		"methodology", "project_type", "region", "proponent", "crediting_start", "crediting_end", "annual_estimate", "latitude", "longitude",
	}
}

// VintageFields lists the columns of the table of vintages that files of units fill, the
// key first.
func VintageFields() []string {
	return []string{fieldID, fieldVintage, "issued", "retired", "cancelled", "available"}
}

var formats = []format{
	{"Verra", "projects of Verra", projects, []string{"id", "name", "proponent", "country/area", "status"}, map[string]string{
		"id": fieldID, "name": "project_name", "proponent": "proponent", "project type": "project_type", "methodology": "methodology",
		"status": "registry_status", "country/area": "country", "estimated annual emission reductions": "annual_estimate", "region": "region",
		"crediting period start date": "crediting_start", "crediting period end date": "crediting_end",
	}},
	{"Verra", "units of Verra", blocks, []string{"id", "vintage end", "quantity issued", "retirement/cancellation date"}, map[string]string{
		"id": fieldID, "vintage end": fieldEnd, "quantity issued": fieldQuantity, "retirement/cancellation date": fieldGoneOn,
	}},
	{"Gold Standard", "projects of Gold Standard", projects, []string{"gsid", "project name", "status"}, map[string]string{
		"gsid": fieldID, "project name": "project_name", "project developer name": "proponent", "status": "registry_status", "project type": "project_type",
		"country": "country", "description": "project_summary", "estimated annual credits": "annual_estimate", "methodology": "methodology",
	}},
	{"Gold Standard", "units of Gold Standard", blocks, []string{"gsid", "vintage", "quantity", "credit status"}, map[string]string{
		"gsid": fieldID, "vintage": fieldVintage, "quantity": fieldQuantity, "credit status": fieldUnitState,
	}},
	{"ACR", "projects of ACR", projects, []string{"project id", "project name", "project methodology/protocol"}, map[string]string{
		"project id": fieldID, "project name": "project_name", "project developer": "proponent", "project type": "project_type",
		"project methodology/protocol": "methodology", "voluntary status": "registry_status", "project site country": "country",
		"project site state": "region", "current crediting period start date": "crediting_start", "current crediting period end date": "crediting_end",
		"project website": "project_link",
	}},
	{"ACR", "issued units of ACR", issued, []string{"project id", "vintage", "total credits issued"}, map[string]string{
		"project id": fieldID, "vintage": fieldVintage, "total credits issued": fieldQuantity,
	}},
	{"ACR", "retired units of ACR", retired, []string{"project id", "vintage", "quantity of credits", "retirement reason"}, map[string]string{
		"project id": fieldID, "vintage": fieldVintage, "quantity of credits": fieldQuantity,
	}},
	{"ACR", "cancelled units of ACR", cancelled, []string{"project id", "vintage", "quantity of credits", "cancellation type"}, map[string]string{
		"project id": fieldID, "vintage": fieldVintage, "quantity of credits": fieldQuantity,
	}},
	{"CAR", "projects of CAR", projects, []string{"project id", "project name", "cooperative/ aggregate id", "status"}, map[string]string{
		"project id": fieldID, "project name": "project_name", "project developer": "proponent", "project owner": "proponent", "project type": "project_type",
		"status": "registry_status", "project site country": "country", "project site state": "region", "project website": "project_link",
	}},
	{"CAR", "issued units of CAR", issued, []string{"project id", "vintage", "total offset credits issued"}, map[string]string{
		"project id": fieldID, "vintage": fieldVintage, "total offset credits issued": fieldQuantity,
	}},
	{"CAR", "retired units of CAR", retired, []string{"project id", "vintage", "quantity of offset credits", "retirement reason"}, map[string]string{
		"project id": fieldID, "vintage": fieldVintage, "quantity of offset credits": fieldQuantity,
	}},
	{"CAR", "cancelled units of CAR", cancelled, []string{"project id", "vintage", "quantity of offset credits", "status effective"}, map[string]string{
		"project id": fieldID, "vintage": fieldVintage, "quantity of offset credits": fieldQuantity,
	}},
	{"Puro", "projects of Puro", projects, []string{"id number", "name", "method", "country"}, map[string]string{
		"id number": fieldID, "name": "project_name", "method": "methodology", "country": "country",
	}},
	{"Puro", "projects of Puro's registry of 2024", projects, []string{"projectid", "name", "suppliername", "methodologycode"}, map[string]string{
		"projectid": fieldID, "name": "project_name", "suppliername": "proponent", "methodologycode": "methodology", "country": "country",
		"creditingperiodstart": "crediting_start", "creditingperiodend": "crediting_end",
	}},
	{"Puro", "issued units of Puro", issued, []string{"projectid", "vintage", "volume", "issuancedate"}, map[string]string{
		"projectid": fieldID, "vintage": fieldVintage, "volume": fieldQuantity,
	}},
	{"Puro", "retired units of Puro", retired, []string{"projectid", "vintage", "volume", "completedon", "beneficiary"}, map[string]string{
		"projectid": fieldID, "vintage": fieldVintage, "volume": fieldQuantity,
	}},
}

// fold makes header names comparable: case, white space and what stands in brackets at
// the end do not count.
func fold(s string) string {
	s = strings.ToLower(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' || r == '\u200b' }), " "))
	if i := strings.LastIndexByte(s, '('); i > 0 && strings.HasSuffix(s, ")") {
		s = strings.TrimSpace(s[:i])
	}
	return s
}

// recognise returns the format of which a row has every needed header, the one that needs
// most; nil for none.
func recognise(row []string) *format {
	var best *format
	for i := range formats {
		f := &formats[i]
		if best != nil && len(f.needs) <= len(best.needs) {
			continue
		}
		if !slices.ContainsFunc(f.needs, func(h string) bool { return !slices.Contains(row, h) }) {
			best = f
		}
	}
	return best
}

// nearest returns the known header that a header is most like.
func nearest(header string) string {
	best, least := "", len(header)/2+1
	for _, f := range formats {
		for h := range f.columns {
			if d := distance(header, h); d < least || d == least && cmp.Less(h, best) {
				best, least = h, d
			}
		}
	}
	return best
}

// distance is the number of letters to insert, delete or replace (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

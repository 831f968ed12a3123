package registry

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"carbond/feeds/internal/text"
	"carbond/feeds/verra"
)

// file is a file while it is read.
type file struct {
	set    *Set
	format *format
	found  *Found
	fields []string
	// Dates whose order of day and month is not known yet.
	dates    []pending
	dayFirst bool // a date says so
	monFirst bool
}

// pending is a date that waits for the others of its file.
type pending struct {
	values map[string]string
	column string
	a, b   int // as they stand
	year   int
}

// row adds one row.
func (f *file) row(cells []string) error {
	cell := map[string]string{}
	for i, c := range cells {
		if i < len(f.fields) && f.fields[i] != "" {
			if c = text.Clean(c, 2000); c != "" {
				cell[f.fields[i]] = c
			}
		}
	}
	if len(cell) == 0 {
		return nil // an empty line
	}
	id, registry := projectID(cell[fieldID], f.format.registry)
	if id == "" {
		f.found.leaveOut("rows without an id of a project")
		return nil
	}
	f.found.Rows++
	p := f.set.projects[id]
	if p == nil {
		if len(f.set.projects) == maxProject {
			return fmt.Errorf("more than %d projects", maxProject)
		}
		p = &project{values: map[string]string{}, units: map[int32]*[3]float64{}}
		f.set.projects[id] = p
	}
	if registry != "" {
		p.values["registry"] = registry
	}
	if f.format.kind == projects {
		f.facts(p, cell)
	} else if f.units(p, cell); f.set.vintages > maxProject {
		return fmt.Errorf("more than %d vintages of projects", maxProject)
	}
	return nil
}

// facts takes over what a row says of a project.
func (f *file) facts(p *project, cell map[string]string) {
	for column, v := range cell {
		switch column {
		case fieldID:
			continue
		case "country":
			v = text.Country(v)
		case "registry":
			v = text.Registry(v)
		case "registry_status":
			v = status(v)
		case "crediting_start", "crediting_end":
			f.date(p.values, column, v)
			continue
		case "annual_estimate", "supply", "latitude", "longitude":
			n, ok := number(v)
			if !ok || column != "latitude" && column != "longitude" && n < 0 {
				f.found.leaveOut(fmt.Sprintf("%s that is no number", column))
				continue
			}
			v = strconv.FormatFloat(n, 'f', -1, 64)
		case fieldVintage:
			y, ok := verra.Vintage(v)
			if !ok {
				f.found.leaveOut("vintage that is no year")
				continue
			}
			v = strconv.Itoa(int(y))
		}
		p.values[column] = v
	}
}

// units adds a row of units.
func (f *file) units(p *project, cell map[string]string) {
	q, ok := number(cell[fieldQuantity])
	if !ok || q < 0 {
		f.found.leaveOut("units without a quantity")
		p.broken = true
		return
	}
	year := cell[fieldVintage]
	if end := cell[fieldEnd]; end != "" {
		year = years.FindString(end)
	}
	y, ok := verra.Vintage(year)
	if !ok {
		f.found.leaveOut("units without a vintage")
		y = 0 // they count all the same
	}
	if p.units[y] == nil {
		p.units[y] = new([3]float64)
		f.set.vintages++
	}
	sums := p.units[y]
	switch f.format.kind {
	case retired, cancelled:
		sums[f.format.kind-issued] += q
	default:
		sums[0] += q
		if state := strings.ToLower(cell[fieldUnitState]); cell[fieldGoneOn] != "" || strings.Contains(state, "retired") {
			sums[1] += q
			p.untold = p.untold || cell[fieldGoneOn] != ""
		} else if strings.Contains(state, "cancel") {
			sums[2] += q
		}
	}
}

// years finds a year in a date of any form.
var years = regexp.MustCompile(`(?:19|20)\d\d`)

// idForm is the number of a project behind what a registry puts before it.
var idForm = regexp.MustCompile(`^(?i)(VCS|GS|ACR|CAR|PURO|ICR)?[ -]?(\d{1,12})$`)

// idPrefixes are put before the numbers of a registry's projects.
var idPrefixes = map[string]string{"Verra": "VCS-", "Gold Standard": "GS-", "ACR": "ACR", "CAR": "CAR", "Puro": "PURO-", "ICR": "ICR-"}

// projectID returns the id of a project in the tables, and its registry: that of the
// file, or the one that the id itself names. Ids of other registries stay as they are.
func projectID(s, registry string) (id, of string) {
	s = strings.TrimSpace(s)
	m := idForm.FindStringSubmatch(s)
	if m == nil {
		return s, registry
	}
	if m[1] != "" {
		registry = text.Registry(m[1])
	}
	prefix, ok := idPrefixes[registry]
	if !ok {
		return s, registry
	}
	return prefix + strings.TrimLeft(m[2], "0"), registry
}

// labels are the words of registries other than Verra.
var labels = map[string]string{
	"gold standard certified project": verra.Active, "gold standard certified design": verra.Active, "certified project": verra.Active,
	"listed": verra.UnderValidation, "submitted": verra.UnderValidation, "new": verra.UnderValidation, "project registered": verra.Active,
	"completed": verra.Active, "transitioned": verra.Inactive, "transferred arb or ecology project": verra.Inactive,
	"canceled": verra.Inactive, "cancelled": verra.Inactive, "terminated": verra.Inactive, "de-registered": verra.Inactive, "deregistered": verra.Inactive,
	"not accepted": verra.Rejected,
}

// status returns the status of a project for the word of its registry.
func status(label string) string {
	word := strings.ToLower(strings.Join(strings.Fields(strings.ReplaceAll(label, "_", " ")), " "))
	if s, ok := labels[word]; ok {
		return s
	}
	return verra.StatusMap{}.Status("", word)
}

// number reads a number with separators of thousands. A comma before exactly three last
// digits separates thousands, any other is a decimal one; with points and commas the last
// of them is the decimal one.
func number(s string) (float64, bool) {
	s = strings.NewReplacer(" ", "", "\u00a0", "", "\u202f", "", "'", "", "\u2019", "").Replace(s)
	comma, point := strings.LastIndexByte(s, ','), strings.LastIndexByte(s, '.')
	decimal := point
	switch {
	case comma >= 0 && point >= 0:
		decimal = max(comma, point)
	case strings.Count(s, ",") > 1 || comma >= 0 && len(s)-comma == 4:
		decimal = -1
	case comma >= 0:
		decimal = comma
	case strings.Count(s, ".") > 1:
		decimal = -1
	}
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case i == decimal:
			b.WriteByte('.')
		case c == ',' || c == '.':
		default:
			b.WriteByte(c)
		}
	}
	n, err := strconv.ParseFloat(b.String(), 64)
	return n, err == nil && !math.IsInf(n, 0) && !math.IsNaN(n) && !strings.ContainsAny(s, "xX_pP")
}

// plainDates are the forms that can be read one way only.
var plainDates = []string{
	"2006-01-02", "2006/01/02", "20060102", "2 January 2006", "2 Jan 2006", "02-Jan-2006", "2-Jan-06", "January 2, 2006", "Jan 2, 2006", "January 2 2006", "Jan 2 2006",
}

// numeric is a date of three numbers, the year last.
var numeric = regexp.MustCompile(`^(\d{1,2})[./-](\d{1,2})[./-](\d{4})$`)

// date reads a date, whose time of day does not count.
func (f *file) date(values map[string]string, column, s string) {
	day := s
	if i := strings.IndexByte(s, 'T'); i == len("2006-01-02") {
		day = s[:i]
	} else if head, rest, ok := strings.Cut(s, " "); ok && strings.Contains(rest, ":") && !strings.ContainsAny(head, ",") && strings.ContainsAny(head, "./-") {
		day = head
	}
	for _, form := range plainDates {
		if t, err := time.Parse(form, day); err == nil {
			values[column] = t.Format(time.DateOnly)
			return
		}
	}
	m := numeric.FindStringSubmatch(day)
	if m == nil {
		f.found.leaveOut(column + " that is no date")
		return
	}
	a, _ := strconv.Atoi(m[1])
	b, _ := strconv.Atoi(m[2])
	year, _ := strconv.Atoi(m[3])
	f.dayFirst, f.monFirst = f.dayFirst || a > 12, f.monFirst || b > 12
	f.dates = append(f.dates, pending{values, column, a, b, year})
}

// settle reads the dates of the file whose order had to wait.
func (f *file) settle() {
	for _, p := range f.dates {
		day, month := p.a, p.b
		switch {
		case p.a == p.b:
		case f.dayFirst == f.monFirst: // no date tells, or they contradict each other
			f.found.leaveOut(fmt.Sprintf("%s %d/%d/%d, day or month first", p.column, p.a, p.b, p.year))
			continue
		case f.monFirst:
			day, month = p.b, p.a
		}
		t := time.Date(p.year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
		if t.Day() != day || int(t.Month()) != month {
			f.found.leaveOut(p.column + " that is no date")
			continue
		}
		p.values[p.column] = t.Format(time.DateOnly)
	}
}

// Package exposition reads the text that /metrics serves, as far as a catalogue
// needs it: names, types, help and label names, not values.
package exposition

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Family is one metric.
type Family struct {
	Name, Type, Help string
	Labels           []string // sorted, without le and quantile
}

// Series are the names under which a query finds the family.
func (f Family) Series() []string {
	switch f.Type {
	case "histogram":
		return []string{f.Name, f.Name + "_bucket", f.Name + "_sum", f.Name + "_count"}
	case "summary":
		return []string{f.Name, f.Name + "_sum", f.Name + "_count"}
	}
	return []string{f.Name}
}

var (
	sample = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? `)
	label  = regexp.MustCompile(`[{,]([a-zA-Z_][a-zA-Z0-9_]*)="(?:[^"\\]|\\.)*"`)
)

// Parse reads the classic text format and merges it into into, by name.
func Parse(text string, into map[string]*Family) error {
	var current *Family
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "# HELP "):
			name, help, _ := strings.Cut(strings.TrimPrefix(line, "# HELP "), " ")
			current = into[name]
			if current == nil {
				current = &Family{Name: name}
				into[name] = current
			}
			current.Help = help
		case strings.HasPrefix(line, "# TYPE "):
			name, kind, _ := strings.Cut(strings.TrimPrefix(line, "# TYPE "), " ")
			if current == nil || current.Name != name {
				return fmt.Errorf("metric %s has no help", name)
			}
			current.Type = kind
		case line == "" || strings.HasPrefix(line, "#"):
		default:
			m := sample.FindStringSubmatch(line)
			if m == nil || current == nil || !slices.Contains(current.Series(), m[1]) {
				return fmt.Errorf("line belongs to no metric: %q", line)
			}
			current.add(m[2])
		}
	}
	return nil
}

// add notes the label names of a sample.
func (f *Family) add(labels string) {
	for _, m := range label.FindAllStringSubmatch(labels, -1) {
		if m[1] == "le" || m[1] == "quantile" || slices.Contains(f.Labels, m[1]) {
			continue
		}
		f.Labels = append(f.Labels, m[1])
		slices.Sort(f.Labels)
	}
}

var reference = regexp.MustCompile(`\b(?:carbond|grpc_server|go|process|promhttp)_[a-z0-9_]+`)

// References lists the metric names in a PromQL expression that carbond would
// have to serve. Its metrics are known by their prefixes.
func References(expr string) []string {
	names := reference.FindAllString(expr, -1)
	slices.Sort(names)
	return slices.Compact(names)
}

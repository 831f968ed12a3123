// Package exposition reads the text that /metrics serves, as far as a catalogue
// needs it: names, types, help and label names, not values.
package exposition

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
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

// Parse reads the classic text format and merges it into into, by name.
func Parse(text string, into map[string]*Family) error {
	p := expfmt.NewTextParser(model.LegacyValidation)
	found, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return err
	}
	for name, m := range found {
		if m.GetHelp() == "" {
			return fmt.Errorf("metric %s has no help", name)
		}
		f := into[name]
		if f == nil {
			f = &Family{Name: name}
			into[name] = f
		}
		f.Type, f.Help = strings.ToLower(m.GetType().String()), m.GetHelp()
		for _, s := range m.GetMetric() {
			for _, l := range s.GetLabel() {
				f.Labels = append(f.Labels, l.GetName())
			}
		}
		slices.Sort(f.Labels)
		f.Labels = slices.Compact(f.Labels)
	}
	return nil
}

var reference = regexp.MustCompile(`\b(?:carbond|grpc_server|go|process|promhttp)_[a-z0-9_]+`)

// References lists the metric names in a PromQL expression that carbond would
// have to serve. Its metrics are known by their prefixes.
func References(expr string) []string {
	names := reference.FindAllString(expr, -1)
	slices.Sort(names)
	return slices.Compact(names)
}

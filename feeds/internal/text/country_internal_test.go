package text

import (
	"strings"
	"testing"
)

// Two countries must never share a key: the later line would swallow the other.
func TestCountryTableUnambiguous(t *testing.T) {
	seen := map[string]string{}
	lines := 0
	for line := range strings.Lines(countryTable) {
		lines++
		names := strings.Split(strings.TrimSpace(line), "|")
		for _, n := range names {
			k := countryKey(n)
			if k == "" {
				t.Errorf("%q has an empty key", n)
			}
			if other, ok := seen[k]; ok && other != names[0] {
				t.Errorf("%q names both %s and %s", n, other, names[0])
			}
			seen[k] = names[0]
		}
	}
	if lines < 249 {
		t.Errorf("table has %d countries, ISO 3166-1 has 249", lines)
	}
}

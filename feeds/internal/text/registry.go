package text

import "strings"

// registries are the names of the registries by the words that sources have for them,
// among them the codes before the ids of projects.
var registries = map[string]string{
	"vcs": "Verra", "verra": "Verra", "verified carbon standard": "Verra",
	"gs": "Gold Standard", "gold standard": "Gold Standard", "goldstandard": "Gold Standard",
	"acr": "ACR", "american carbon registry": "ACR",
	"car": "CAR", "climate action reserve": "CAR",
	"puro": "Puro", "puro earth": "Puro",
	"icr": "ICR", "international carbon registry": "ICR",
}

// Registry returns the one name that a registry has in the tables, for any name or code
// of it. One that is not known keeps its own.
func Registry(s string) string {
	s = Clean(s, 100)
	key := strings.Join(strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return r == ' ' || r == '_' || r == '-' || r == '.' }), " ")
	if name, ok := registries[key]; ok {
		return name
	}
	return s
}

package rpc

import (
	"carbond/store/change"
)

// MarkAfter returns the token body after some guids, and StartOf the position in
// a list at which the page after it begins; ok is false for a malformed body.
func MarkAfter(guids []string) []byte { return mark(newsOf(guids), len(guids)).encode() }

// StartOf is described at MarkAfter.
func StartOf(body []byte, guids []string) (int, bool) {
	m, err := decodeMark(body)
	if err != nil {
		return 0, false
	}
	return m.start(newsOf(guids)), true
}

func newsOf(guids []string) []change.NewsItem {
	items := make([]change.NewsItem, len(guids))
	for i, g := range guids {
		items[i].GUID = g
	}
	return items
}

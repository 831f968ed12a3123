package view

import (
	"fmt"
	"time"

	"carbond/store/change"
)

// Older returns the keys, as rows of the key columns, of the finance or news
// rows that are older than before. Rows without a time are not older than
// anything, and the latest row of a ticker is what the view shows: it stays.
func (s *State) Older(table string, before time.Time) ([]change.Row, error) {
	var keys []change.Row
	switch table {
	case change.Finance:
		s.Scan(Finance, "", func(e Entry) bool {
			f := e.Schema.read(e.Row)
			if integer(f[fTimestamp]) < before.Unix() {
				if last, ok := s.latest(f[fTicker].Text); !ok || last.Key != e.Key {
					keys = append(keys, change.NewRow(f[fTicker], f[fTimestamp]))
				}
			}
			return true
		})
	case change.News:
		s.Scan(News, "", func(e Entry) bool {
			f := e.Schema.read(e.Row)
			if at, ok := ReadInstant(f[nPublishedAt]); ok && at.before(instantOf(before)) {
				keys = append(keys, change.NewRow(f[nGUID]))
			}
			return true
		})
	default:
		return nil, fmt.Errorf("prune: table %q has no history", table)
	}
	return keys, nil
}

package schema

import (
	"fmt"
	"strings"

	"carbond/replicate/pgerr"
)

// Synchronous replication. Postgres takes every walsender that
// synchronous_standby_names names for a standby, and "*" names all: it cannot be
// declined. Commits then wait until carbond has confirmed them, and with carbond
// alone they count as safe without a copy that could take over. The first is made
// quick: see stream.eager. The second is for the operator to mend: it is named.

// Listed reports whether synchronous_standby_names makes a walsender of this
// application name a standby.
func Listed(names, application string) bool {
	words := strings.FieldsFunc(names, func(r rune) bool { return strings.ContainsRune(" \t,()", r) })
	for i, w := range words {
		if i < 2 && len(words) > 1 && isCount(words, i) {
			continue
		}
		if w = strings.Trim(w, `"`); w == "*" || strings.EqualFold(w, application) {
			return true
		}
	}
	return false
}

// isCount reports whether a word belongs to FIRST n, ANY n or n, before the names.
func isCount(words []string, i int) bool {
	word := strings.ToUpper(words[i])
	return i == 0 && (word == "FIRST" || word == "ANY") || word != "" && strings.Trim(word, "0123456789") == ""
}

// checkSynchronous warns of a setting that makes carbond a synchronous standby.
func checkSynchronous(names, application string) []Finding {
	if !Listed(names, application) {
		return nil
	}
	f := NewFinding(pgerr.KindSynchronous, false, Synchronous(names),
		"list the real standbys by their names: ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (standby_a, standby_b)', or '' when there is none; then SELECT pg_reload_conf()")
	f.Warning = true
	return []Finding{f}
}

// Synchronous says in words what it means that commits wait for carbond.
func Synchronous(names string) string {
	return fmt.Sprintf("synchronous_standby_names = '%s' makes carbond a synchronous standby: commits wait for its disk, and may count as safe on its word alone", names)
}

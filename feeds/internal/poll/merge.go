package poll

import (
	"fmt"
	"slices"

	"carbond/store/change"
)

// Merge joins the edits of several writes into one per table and set of
// columns, as if they had been one write: later values win.
func Merge(edits []change.Edit) []change.Edit {
	type wanted struct {
		values map[string]change.Value
		stamp  string
		merge  change.Merge
		gone   bool
	}
	rows := map[[2]string]*wanted{} // table and key
	var order [][2]string
	at := func(table string, key change.Row) *wanted {
		k := [2]string{table, string(key)}
		if rows[k] == nil {
			rows[k] = &wanted{values: map[string]change.Value{}}
			order = append(order, k)
		}
		return rows[k]
	}
	for _, e := range edits {
		for _, r := range e.Rows {
			w := at(e.Table, keyOf(e, r))
			w.gone, w.stamp, w.merge = false, e.Stamp, e.Merge
			for i, c := range e.Columns {
				w.values[c] = e.Merge.Of(w.values[c], r.Value(i))
			}
		}
		for _, key := range e.Delete {
			at(e.Table, key).gone = true
		}
	}
	sets := map[string]int{}
	var out []change.Edit
	for _, k := range order {
		w, table := rows[k], k[0]
		columns := slices.Clone(change.KeyColumns(table))
		for _, c := range change.Standard(table).Columns {
			if _, ok := w.values[c.Name]; ok && !w.gone && !slices.Contains(columns, c.Name) {
				columns = append(columns, c.Name)
			}
		}
		set := fmt.Sprint(table, w.merge, columns)
		i, ok := sets[set]
		if !ok {
			i = len(out)
			sets[set] = i
			out = append(out, change.Edit{Table: table, Columns: columns, Stamp: w.stamp, Merge: w.merge})
		}
		if w.gone {
			out[i].Delete = append(out[i].Delete, change.Row(k[1]))
			continue
		}
		values := make([]change.Value, len(columns))
		for n, c := range columns {
			values[n] = w.values[c]
		}
		out[i].Rows = append(out[i].Rows, change.NewRow(values...))
	}
	return out
}

// keyOf is the key of a row of e.
func keyOf(e change.Edit, r change.Row) change.Row {
	var values []change.Value
	for _, k := range change.KeyColumns(e.Table) {
		values = append(values, r.Value(slices.Index(e.Columns, k)))
	}
	return change.NewRow(values...)
}

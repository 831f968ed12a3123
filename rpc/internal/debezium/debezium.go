package debezium

import (
	"strconv"
	"time"

	"carbond/store/change"
)

// Name is the logical name of the connector and the prefix of every topic.
const Name = "carbon"

// Source is what every envelope says of where it comes from.
type Source struct {
	Version  string // of carbond
	Database string // "" in embedded mode
}

// Place is where a record stands among those that a consumer sees.
type Place struct {
	TableOrder uint64 // ordinal among the changes of its table in its transaction, from 1
	Last       bool   // no other of the consumer's records follows in the transaction
}

// AppendValue appends the envelope of a record, its members in Debezium's order.
func AppendValue(b []byte, r *change.Record, src Source, at Place) []byte {
	b = append(b, `{"before":`...)
	b = appendImage(b, r.Relation, r.Before)
	b = append(b, `,"after":`...)
	b = appendImage(b, r.Relation, r.After)
	b = append(b, `,"source":`...)
	b = appendSource(b, r, src, at.Last)
	b = append(b, `,"transaction":{"id":"`...)
	b = appendUint(b, uint64(r.XID))
	b = append(b, ':')
	if r.CommitLSN != 0 {
		b = appendUint(b, uint64(r.CommitLSN))
	} else {
		b = appendUint(b, uint64(r.Offset)-r.Order+1)
	}
	b = append(b, `","total_order":`...)
	b = appendUint(b, r.Order)
	b = append(b, `,"data_collection_order":`...)
	b = appendUint(b, at.TableOrder)
	b = append(b, `},"op":`...)
	b = appendString(b, r.Op.String())
	b = append(b, `,"ts_ms":`...)
	b = strconv.AppendInt(b, millis(r.CommitTime), 10)
	b = appendFine(b, r.CommitTime)
	return append(b, '}')
}

// appendFine appends a time in microseconds and nanoseconds.
func appendFine(b []byte, t time.Time) []byte {
	us, ns := int64(0), int64(0)
	if !t.IsZero() {
		us, ns = t.UnixMicro(), t.UnixNano()
	}
	b = strconv.AppendInt(append(b, `,"ts_us":`...), us, 10)
	return strconv.AppendInt(append(b, `,"ts_ns":`...), ns, 10)
}

// AppendRow appends the columns of a row as a JSON object, by their names in SQL.
func AppendRow(b []byte, rel *change.Relation, row change.Row) []byte { return appendRow(b, rel, row) }

func appendImage(b []byte, rel *change.Relation, row change.Row) []byte {
	if row == "" {
		return append(b, "null"...)
	}
	return appendRow(b, rel, row)
}

func appendSource(b []byte, r *change.Record, src Source, last bool) []byte {
	snapshot := "false"
	switch {
	case r.Snapshot && last:
		snapshot = "last"
	case r.Snapshot && r.Order == 1:
		snapshot = "first"
	case r.Snapshot:
		snapshot = "true"
	}
	db := src.Database
	if db == "" {
		db = Name
	}
	b = append(b, `{"version":`...)
	b = appendString(b, src.Version)
	b = append(b, `,"connector":"postgresql","name":"`+Name+`","ts_ms":`...)
	b = strconv.AppendInt(b, millis(r.CommitTime), 10)
	b = append(b, `,"snapshot":"`+snapshot+`","db":`...)
	b = appendString(b, db)
	b = append(b, `,"sequence":"[`...)
	if r.Previous != 0 {
		// A row can be older than the commit before its own.
		b = appendUint(append(b, `\"`...), uint64(min(r.Previous, r.LSN)))
		b = append(b, `\"`...)
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,\"`...)
	b = appendUint(b, uint64(r.LSN))
	b = append(b, `\"]"`...)
	b = appendFine(b, r.CommitTime)
	b = append(b, `,"schema":`...)
	b = appendString(b, r.Relation.Schema)
	b = append(b, `,"table":`...)
	b = appendString(b, r.Relation.Name)
	b = append(b, `,"txId":`...)
	b = appendUint(b, uint64(r.XID))
	b = append(b, `,"lsn":`...)
	b = appendUint(b, uint64(r.LSN))
	return append(b, `,"xmin":null}`...)
}

// appendKey appends the key columns of a record as an object, and nothing for a
// TRUNCATE and for a table without a key.
func appendKey(b []byte, r *change.Record, places []int) []byte {
	row := r.After
	if row == "" {
		row = r.Before
	}
	if row == "" || len(places) == 0 {
		return b
	}
	b = append(b, '{')
	for n, i := range places {
		if n > 0 {
			b = append(b, ',')
		}
		b = appendString(b, r.Relation.Columns[i].Name)
		b = append(b, ':')
		b = appendValue(b, r.Relation.Columns[i].Type, row.Value(i))
	}
	return append(b, '}')
}

// keyPlaces are the columns of the key: the primary key, also where the replica
// identity is the whole row.
func keyPlaces(rel *change.Relation) (out []int) {
	var names []string
	if !rel.Plain {
		names = change.KeyColumns(rel.Name)
	}
	for _, name := range names {
		if i := rel.Index(name); i >= 0 {
			out = append(out, i)
		}
	}
	if names == nil {
		for i := range rel.Columns {
			if rel.Columns[i].Key {
				out = append(out, i)
			}
		}
	}
	return out
}

// AppendRecord appends the row form of a record.
func AppendRecord(b []byte, r *change.Record) []byte {
	row := r.After
	if row == "" {
		row = r.Before
	}
	b = append(b, '{')
	if row.Len() > 0 {
		b = appendColumns(b, r.Relation, row, rename)
		b = append(b, ',')
	}
	b = append(b, `"op":`...)
	b = appendString(b, r.Op.String())
	b = append(b, `,"topic":`...)
	b = appendString(b, r.Relation.Topic())
	b = append(b, `,"offset":`...)
	b = appendUint(b, uint64(r.Offset))
	b = append(b, `,"ts_ms":`...)
	b = strconv.AppendInt(b, millis(r.CommitTime), 10)
	return append(b, '}')
}

// rename keeps the names of the row form's own fields free.
func rename(column string) string {
	switch column {
	case "op", "topic", "offset", "ts_ms":
		return column + "_"
	}
	return column
}

package debezium

import (
	"strconv"

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

// AppendValue appends the envelope of a record.
func AppendValue(b []byte, r *change.Record, src Source, at Place) []byte {
	b = append(b, `{"before":`...)
	b = appendImage(b, r.Relation, r.Before)
	b = append(b, `,"after":`...)
	b = appendImage(b, r.Relation, r.After)
	b = append(b, `,"op":`...)
	b = appendString(b, r.Op.String())
	b = append(b, `,"ts_ms":`...)
	b = strconv.AppendInt(b, millis(r.CommitTime), 10)
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
	return append(b, `}}`...)
}

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
	b = append(b, `,"sequence":"[\"`...)
	b = appendUint(b, uint64(r.CommitLSN))
	b = append(b, `\",\"`...)
	b = appendUint(b, uint64(r.LSN))
	b = append(b, `\"]","schema":`...)
	b = appendString(b, r.Relation.Schema)
	b = append(b, `,"table":`...)
	b = appendString(b, r.Relation.Name)
	b = append(b, `,"txId":`...)
	b = appendUint(b, uint64(r.XID))
	b = append(b, `,"lsn":`...)
	b = appendUint(b, uint64(r.LSN))
	return append(b, `,"xmin":null}`...)
}

// AppendKey appends the key columns of a record as an object, and nothing for a
// TRUNCATE.
func AppendKey(b []byte, r *change.Record) []byte {
	row := r.After
	if row == "" {
		row = r.Before
	}
	if row == "" {
		return b
	}
	b = append(b, '{')
	first := true
	put := func(i int) {
		if i < 0 {
			return
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendString(b, r.Relation.Columns[i].Name)
		b = append(b, ':')
		b = appendValue(b, r.Relation.Columns[i].Type, row.Value(i))
	}
	if names := change.KeyColumns(r.Relation.Name); names != nil {
		// The primary key, also where the replica identity is the whole row.
		for _, name := range names {
			put(r.Relation.Index(name))
		}
	} else {
		for i := range r.Relation.Columns {
			if r.Relation.Columns[i].Key {
				put(i)
			}
		}
	}
	return append(b, '}')
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
	b = appendString(b, change.Topic(r.Relation.Name))
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

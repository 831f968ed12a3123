package debezium

import (
	"fmt"
	"slices"
	"strings"

	"carbond/store/change"
)

// The formats of keys and values.
const (
	Connect = "connect"  // {"schema":...,"payload":...}, as Kafka Connect's JSON converter writes by default
	Payload = "payload"  // the same with the schema null
	Bare    = "debezium" // the envelope and the key alone
	Row     = "row"      // the plain row; its key is as in Bare
)

// Formats lists the formats.
func Formats() []string { return []string{Connect, Payload, Bare, Row} }

// Encoder writes records in one format. It belongs to one goroutine.
type Encoder struct {
	Source Source // of the records to come
	format string
	blocks map[*change.Relation]block // of the shapes that were met
}

// block is what is the same in each key and value of a shape: what stands in front
// of the payload, and which columns the key has.
type block struct {
	key, value string
	places     []int
}

// maxBlocks bounds the shapes that are remembered; a table has few.
const maxBlocks = 256

// NewEncoder returns an Encoder; format "" is Bare.
func NewEncoder(format string) (*Encoder, error) {
	if format == "" {
		format = Bare
	}
	if !slices.Contains(Formats(), format) {
		return nil, fmt.Errorf("must be %s", strings.Join(Formats(), ", "))
	}
	return &Encoder{format: format, blocks: map[*change.Relation]block{}}, nil
}

// AppendKey appends the key of a record, and nothing for a TRUNCATE or without a key.
func (e *Encoder) AppendKey(b []byte, r *change.Record) []byte {
	bl := e.block(r.Relation)
	if r.Before == "" && r.After == "" || len(bl.places) == 0 {
		return b
	}
	switch e.format {
	case Connect:
		b = append(b, bl.key...)
	case Payload:
		b = append(b, noSchema...)
	default:
		return appendKey(b, r, bl.places)
	}
	return append(appendKey(b, r, bl.places), '}')
}

// AppendValue appends the value of a record.
func (e *Encoder) AppendValue(b []byte, r *change.Record, at Place) []byte {
	switch e.format {
	case Row:
		return AppendRecord(b, r)
	case Connect:
		b = append(b, e.block(r.Relation).value...)
	case Payload:
		b = append(b, noSchema...)
	default:
		return AppendValue(b, r, e.Source, at)
	}
	return append(AppendValue(b, r, e.Source, at), '}')
}

const noSchema = `{"schema":null,"payload":`

func (e *Encoder) block(rel *change.Relation) block {
	if bl, ok := e.blocks[rel]; ok {
		return bl
	}
	if len(e.blocks) == maxBlocks {
		clear(e.blocks)
	}
	topic := rel.Topic()
	keys := make([]change.Column, 0, 2)
	places := keyPlaces(rel)
	for _, i := range places {
		keys = append(keys, rel.Columns[i])
	}
	row := structOf(fields(rel.Columns, keys), true, topic+".Value")
	bl := block{
		places: places,
		key:    `{"schema":` + structOf(fields(keys, keys), false, topic+".Key") + `},"payload":`,
		value: `{"schema":` + structOf(row+`,"field":"before"},`+row+`,"field":"after"},`+sourceSchema+`,`+transactionSchema+`,`+
			field("string", false, "op")+`,`+field("int64", true, "ts_ms")+`,`+field("int64", true, "ts_us")+`,`+field("int64", true, "ts_ns"),
			false, topic+".Envelope") + `,"version":2},"payload":`,
	}
	e.blocks[rel] = bl
	return bl
}

// structOf begins the schema of a struct; its caller may add to it and closes it.
func structOf(fields string, optional bool, name string) string {
	return fmt.Sprintf(`{"type":"struct","fields":[%s],"optional":%t,"name":%s`, fields, optional, appendString(nil, name))
}

func field(kind string, optional bool, name string) string {
	return fmt.Sprintf(`{"type":"%s","optional":%t,"field":%s}`, kind, optional, appendString(nil, name))
}

// fields are the schemas of columns. A column of the key is never NULL; of others
// the source does not tell.
func fields(columns, keys []change.Column) string {
	out := make([]string, len(columns))
	for i, c := range columns {
		optional := !slices.Contains(keys, c)
		switch c.Type {
		case oidBool:
			out[i] = field("boolean", optional, c.Name)
		case oidInt2:
			out[i] = field("int16", optional, c.Name)
		case change.OIDInt4:
			out[i] = field("int32", optional, c.Name)
		case change.OIDInt8, oidOID:
			out[i] = field("int64", optional, c.Name)
		case change.OIDFloat4:
			out[i] = field("float", optional, c.Name)
		case change.OIDFloat8:
			out[i] = field("double", optional, c.Name)
		case change.OIDTimestamptz:
			out[i] = named("string", "io.debezium.time.ZonedTimestamp", optional, c.Name)
		case change.OIDDate:
			out[i] = named("int32", "io.debezium.time.Date", optional, c.Name)
		case oidTime:
			out[i] = named("int64", "io.debezium.time.MicroTime", optional, c.Name)
		case oidTimestamp:
			out[i] = named("int64", "io.debezium.time.MicroTimestamp", optional, c.Name)
		case oidBytea:
			out[i] = field("bytes", optional, c.Name)
		case oidJSON, oidJSONB:
			out[i] = named("string", "io.debezium.data.Json", optional, c.Name)
		case oidUUID:
			out[i] = named("string", "io.debezium.data.Uuid", optional, c.Name)
		case oidXML:
			out[i] = named("string", "io.debezium.data.Xml", optional, c.Name)
		default:
			out[i] = field("string", optional, c.Name)
		}
	}
	return strings.Join(out, ",")
}

// named is a value that means something.
func named(kind, meaning string, optional bool, name string) string {
	return fmt.Sprintf(`{"type":"%s","optional":%t,"name":"%s","version":1,"field":%s}`, kind, optional, meaning, appendString(nil, name))
}

var (
	sourceSchema = structOf(strings.Join([]string{
		field("string", false, "version"), field("string", false, "connector"), field("string", false, "name"), field("int64", false, "ts_ms"),
		`{"type":"string","optional":true,"name":"io.debezium.data.Enum","version":1,"parameters":{"allowed":"true,last,false,incremental"},"default":"false","field":"snapshot"}`,
		field("string", false, "db"), field("string", true, "sequence"), field("int64", true, "ts_us"), field("int64", true, "ts_ns"),
		field("string", false, "schema"), field("string", false, "table"), field("int64", true, "txId"), field("int64", true, "lsn"), field("int64", true, "xmin"),
	}, ","), false, "io.debezium.connector.postgresql.Source") + `,"field":"source"}`

	transactionSchema = structOf(field("string", false, "id")+`,`+field("int64", false, "total_order")+`,`+field("int64", false, "data_collection_order"),
		true, "event.block") + `,"version":1,"field":"transaction"}`
)

// Package debezium writes changes of the changelog as JSON: in the envelope of
// Debezium 2.x for Postgres, which consumers of Debezium's JSON without schemas
// read unchanged, or as plain rows.
//
// # Formats
//
//	connect    {"schema":...,"payload":...} in key and value, as Kafka Connect's JSON converter writes them
//	           by default: the schemas of Debezium 2.7, without the defaults and NOT NULL of columns outside
//	           the key, which the stream does not tell
//	payload    the same with "schema":null
//	debezium   the bare envelope and key
//	row        the plain row
//
// # Envelope
//
//	field                         content
//	before                        the whole old row for u and d, else null
//	after                         the whole new row for c, u and r, else null
//	op                            c, u, d, r (initial copy) or t (TRUNCATE)
//	ts_ms, ts_us, ts_ns           commit time in ms; Debezium has the time of its own work here, which a
//	                              changelog that may be read twice cannot repeat
//	source.version                version of carbond
//	source.connector              "postgresql"
//	source.name                   "carbon", the prefix of every topic
//	source.ts_ms, ts_us, ts_ns    commit time
//	source.snapshot               "true" in an initial copy, on its first record "first", on its last "last"; "false" else
//	source.db                     database, "carbon" in embedded mode
//	source.sequence               text of a JSON array: decimal end LSN of the commit before, null when it is not known, as
//	                              in logs of earlier versions; decimal LSN of the change. The first is never greater:
//	                              a row that is older than the commit before has its own LSN there
//	source.schema, source.table   "public" and the table
//	source.txId                   transaction number, 0 in embedded mode
//	source.lsn                    LSN of the change as a number, 0 in embedded mode
//	source.xmin                   null
//	transaction.id                "<txId>:<LSN of the commit>", in embedded mode "0:<offset of the first change>"
//	transaction.total_order       ordinal in the transaction from 1; the rows that a TRUNCATE ended count too, so
//	                              it increases but can leave numbers out
//	transaction.data_collection_order   ordinal among the changes of the same table in the transaction, from 1
//
// A change of the primary key is a d and a c, as Debezium has it. The rows that
// a finished initial copy did not contain come as d with source.snapshot set. A
// row of the changelog is complete, as with REPLICA IDENTITY FULL.
//
// # Values
//
//	Postgres type                 JSON
//	NULL                          null
//	smallint, integer, bigint     number; beyond 2^53 some readers lose digits, as with Debezium
//	real, double precision        number with a point or an exponent, 2.0; "NaN", "Infinity" and "-Infinity" as strings
//	numeric                       string, as with decimal.handling.mode=string
//	boolean                       true or false
//	timestamptz                   string in UTC as io.debezium.time.ZonedTimestamp: "2024-05-01T12:00:00.123456Z";
//	                              infinity, -infinity and years outside 1 to 9999 as Postgres spells them
//	date                          days since 1970 as io.debezium.time.Date; the infinities are the ends of int32
//	time                          number of microseconds since midnight, io.debezium.time.MicroTime
//	timestamp                     number of microseconds since 1970, io.debezium.time.MicroTimestamp; infinity as Debezium has it
//	bytea                         string in base64; in a schema, bytes
//	oid                           number
//	json, jsonb, uuid, xml        string, named io.debezium.data.Json, Uuid, Xml in a schema
//	text and every other type     string in the text form of Postgres: so are arrays, intervals, timetz, ranges and
//	                              geometry, where Debezium has structures
//
// # Rows
//
// A row is the columns of the row after the change, or before a deletion, plus
// "op", "topic", "offset" and "ts_ms". A column that has one of these names gets
// an underscore behind it. A TRUNCATE has the four alone.
//
// # Invariants
//
//  1. The same change gives the same bytes each time it is read.
//  2. What is written is one line of valid JSON and valid UTF-8, whatever is in
//     the row.
//
// The package has no state and does no I/O; rpc alone calls it.
package debezium

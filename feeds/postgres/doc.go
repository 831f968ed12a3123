// Package postgres is the feeds' Writer for a Postgres: it writes only what
// differs, so that a poll without news leaves no trace in the log that the
// replication reads.
//
// Place in the flow: feeds -> postgres -> the server's log -> replicate.
package postgres

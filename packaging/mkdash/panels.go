package main

import "strings"

// section is a titled row of panels.
type section struct {
	title     string
	collapsed bool // not everybody has data for it
	panels    []panel
}

// panel is one picture: what it asks and how it is read.
type panel struct {
	kind, title, help, unit string
	width                   int
	min                     any
	queries                 []query
	// Only for stat: limits between colours, and words for single values.
	limits  []float64
	colours []string
	states  object
}

type query struct {
	expr, legend string
	unit         string // with an axis of its own, where it is not the panel's
}

// q writes $S for the selector of all queries.
func q(legend, expr string) query {
	return query{expr: strings.ReplaceAll(expr, "$S", selector), legend: legend}
}

// on gives a query an axis of its own.
func (q query) on(unit string) query {
	q.unit = unit
	return q
}

func graph(title, unit, help string, queries ...query) panel {
	return panel{kind: "timeseries", title: title, unit: unit, help: help, width: 8, min: 0, queries: queries}
}

// state is a yes or no with words.
func state(title, help, yes, no, expr string) panel {
	return panel{
		kind: "stat", title: title, help: help, unit: "none", width: 4, queries: []query{q("{{instance}}", expr)},
		limits: []float64{1}, colours: []string{"red", "green"},
		states: object{"1": object{"text": yes, "index": 0}, "0": object{"text": no, "index": 1}},
	}
}

// level is a number that is fine below warn and bad above crit.
func level(title, unit, help string, warn, crit float64, expr string) panel {
	return panel{
		kind: "stat", title: title, help: help, unit: unit, width: 4, queries: []query{q("{{instance}}", expr)},
		limits: []float64{warn, crit}, colours: []string{"green", "orange", "red"},
	}
}

func sections() []section {
	return []section{overview(), market(), replication(), feeds(), store(), consumers(), watch(), viewFiles(), api(), process()}
}

func overview() section {
	return section{"Overview", false, []panel{
		state("Serving", "Whether the API calls itself SERVING; the reasons are at /readyz?verbose.", "SERVING", "NOT SERVING", `carbond_serving{$S}`),
		state("Progress", "What the watchdog saw of replication, store and gRPC.", "moving", "stalled", `carbond_watchdog_healthy{$S}`),
		state("Configuration", "Whether the last reload was accepted.", "in force", "refused", `carbond_config_last_reload_successful{$S}`),
		level("Checks that fail", "none", "Number of checks of /readyz that are not ok.", 1, 1, `count by (instance) (carbond_ready{$S}) - sum by (instance) (carbond_ready{$S})`),
		level("Replication lag", "s", "Seconds behind Postgres; 0 while level. Empty in embedded mode.", 5, 30, `carbond_replication_lag_seconds{$S}`),
		level("Up for", "s", "Time since the start.", 1e12, 1e13, `time() - carbond_start_timestamp_seconds{$S}`),
	}}
}

func market() section {
	return section{"Market", false, []panel{
		graph("Rows of views", "short", "What is served, by view.", q("{{view}}", `carbond_view_rows{$S}`)),
		graph("Prices", "none", "Newest price of each ticker, in its own currency.", q("{{ticker}} {{currency}}", `carbond_finance_price{$S}`)),
		graph("Supply", "short", "Credits of all projects together.", q("{{instance}}", `carbond_projects_supply_credits{$S}`)),
	}}
}

func replication() section {
	return section{"Replication (Postgres mode)", true, []panel{
		graph("Lag", "s", "Seconds since everything committed on the server was durable here.", q("{{instance}}", `carbond_replication_lag_seconds{$S}`)),
		graph("Lag in WAL", "bytes", "WAL between the server's end and what is durable here.", q("{{instance}}", `carbond_replication_lag_bytes{$S}`)),
		graph("Connection", "none", "1 while the stream is established; copies at the start are shown too.",
			q("connected {{instance}}", `carbond_replication_connected{$S}`), q("copying {{instance}}", `carbond_replication_snapshot_in_progress{$S}`)),
		graph("WAL kept by the slot", "bytes", "It fills the disk of Postgres while carbond does not take it.",
			q("kept {{instance}}", `carbond_replication_slot_retained_wal_bytes{$S}`), q("reserve {{instance}}", `carbond_replication_slot_safe_wal_bytes{$S}`)),
		graph("Changes", "ops", "Changes taken, by table and operation.", q("{{table}} {{op}}", `sum by (table, op) (rate(carbond_replication_changes_total{$S}[$__rate_interval]))`)),
		graph("Transactions", "ops", "Source transactions taken.", q("{{instance}}", `rate(carbond_replication_transactions_total{$S}[$__rate_interval])`)),
		graph("Interruptions", "short", "By kind, and attempts to connect again.",
			q("{{kind}}", `sum by (kind) (increase(carbond_replication_errors_total{$S}[$__rate_interval])) > 0`),
			q("reconnect", `sum(increase(carbond_replication_reconnects_total{$S}[$__rate_interval]))`)),
		graph("Last sign of life", "s", "Age of the last message from Postgres.", q("{{instance}}", `time() - carbond_replication_last_event_timestamp_seconds{$S}`)),
		graph("WAL written by the server", "Bps", "Against what is confirmed to it.",
			q("written {{instance}}", `deriv(carbond_replication_server_lsn_bytes{$S}[$__rate_interval])`),
			q("confirmed {{instance}}", `deriv(carbond_replication_confirmed_lsn_bytes{$S}[$__rate_interval])`)),
	}}
}

func feeds() section {
	return section{"Feeds", false, []panel{
		graph("Age of the last success", "s", "Per feed.", q("{{feed}}", `time() - carbond_feed_last_success_timestamp_seconds{$S}`)),
		graph("Polls", "ops", "By result.", q("{{feed}} {{result}}", `sum by (feed, result) (rate(carbond_feed_polls_total{$S}[$__rate_interval]))`)),
		graph("Failures in a row", "none", "0 when the feed is well; switched-off feeds are shown as such.",
			q("{{feed}}", `carbond_feed_consecutive_failures{$S}`), q("{{feed}} off", `carbond_feed_disabled{$S} > 0`)),
		graph("Duration of a poll", "s", "95th percentile, requests and writing included.",
			q("{{feed}}", `histogram_quantile(0.95, sum by (feed, le) (rate(carbond_feed_poll_duration_seconds_bucket{$S}[$__rate_interval])))`)),
		graph("Items upstream", "short", "What the last good poll found.", q("{{feed}}", `carbond_feed_items{$S}`)),
		graph("Rows written", "ops", "By table and operation.", q("{{table}} {{op}}", `sum by (table, op) (rate(carbond_feed_rows_written_total{$S}[$__rate_interval]))`)),
	}}
}

func store() section {
	return section{"Changelog, views, checkpoint", false, []panel{
		graph("Commits", "s", "Time of a changelog commit with its fsync: median and 99th percentile.",
			q("p50 {{instance}}", `histogram_quantile(0.5, sum by (instance, le) (rate(carbond_changelog_commit_duration_seconds_bucket{$S}[$__rate_interval])))`),
			q("p99 {{instance}}", `histogram_quantile(0.99, sum by (instance, le) (rate(carbond_changelog_commit_duration_seconds_bucket{$S}[$__rate_interval])))`)),
		graph("Records", "ops", "Growth of the newest offset.", q("{{instance}}", `deriv(carbond_changelog_head_offset{$S}[$__rate_interval])`)),
		graph("Size and free space", "bytes", "Segments, checkpoint, and what is left on the file system.",
			q("segments {{instance}}", `carbond_changelog_size_bytes{$S}`), q("checkpoint {{instance}}", `carbond_checkpoint_size_bytes{$S}`),
			q("free {{instance}}", `carbond_data_dir_free_bytes{$S}`)),
		graph("Rows of tables", "short", "Of the source tables.", q("{{table}}", `carbond_table_rows{$S}`)),
		graph("Age of the newest change", "s", "Commit time that the views reflect; it grows while nothing is written.", q("{{instance}}", `time() - carbond_view_watermark_timestamp_seconds{$S}`)),
		graph("Replay at a start", "short", "Changes since the checkpoint.", q("{{instance}}", `carbond_checkpoint_lag_records{$S}`)),
		graph("Errors and repairs", "short", "Failed commits and checkpoints, repaired rows.",
			q("commit {{instance}}", `increase(carbond_changelog_errors_total{$S}[$__rate_interval])`),
			q("checkpoint {{instance}}", `increase(carbond_checkpoint_errors_total{$S}[$__rate_interval])`),
			q("repair {{kind}}", `sum by (kind) (increase(carbond_store_anomalies_total{$S}[$__rate_interval]))`)),
	}}
}

func api() section {
	return section{"API", false, []panel{
		graph("Calls", "reqps", "By method.", q("{{grpc_method}}", `sum by (grpc_method) (rate(grpc_server_handled_total{$S, grpc_service=~"carbon[.].*"}[$__rate_interval]))`)),
		graph("Calls that did not end in OK", "reqps", "By code.", q("{{grpc_code}}", `sum by (grpc_code) (rate(grpc_server_handled_total{$S, grpc_code!="OK"}[$__rate_interval]))`)),
		graph("Duration", "s", "99th percentile by method.",
			q("{{grpc_method}}", `histogram_quantile(0.99, sum by (grpc_method, le) (rate(grpc_server_handling_seconds_bucket{$S, grpc_service=~"carbon[.].*", grpc_type="unary"}[$__rate_interval])))`)),
		graph("Replies from the cache", "percentunit", "Share of calls answered by an encoded reply, by view.",
			q("{{view}}", `sum by (view) (rate(carbond_cache_requests_total{$S, result="hit"}[$__rate_interval])) / sum by (view) (rate(carbond_cache_requests_total{$S}[$__rate_interval]))`)),
		graph("Cache", "bytes", "Bytes held, and replies that made room for others per second.",
			q("held {{instance}}", `carbond_cache_bytes{$S}`), q("evictions {{instance}}", `rate(carbond_cache_evictions_total{$S}[$__rate_interval])`).on("ops")),
		graph("Refused and failed", "ops", "Refused by token, scope or rate; SQL errors of NonStreaming calls; defects.",
			q("{{reason}}", `sum by (reason) (rate(carbond_rpc_refused_total{$S}[$__rate_interval]))`),
			q("sql", `sum(rate(carbond_rpc_sql_errors_total{$S}[$__rate_interval]))`), q("defect", `sum(rate(carbond_rpc_panics_total{$S}[$__rate_interval]))`)),
		graph("Certificates", "s", "Time for which the listeners' certificates are still valid.",
			q("grpc {{instance}}", `carbond_rpc_certificate_expiry_timestamp_seconds{$S} - time()`), q("http {{instance}}", `carbond_http_certificate_expiry_timestamp_seconds{$S} - time()`)),
	}}
}

func process() section {
	return section{"Process", false, []panel{
		graph("Memory", "bytes", "Resident, and what the Go runtime holds.",
			q("resident {{instance}}", `process_resident_memory_bytes{$S}`), q("heap {{instance}}", `go_memstats_heap_inuse_bytes{$S}`)),
		graph("CPU", "percentunit", "1 is one core.", q("{{instance}}", `rate(process_cpu_seconds_total{$S}[$__rate_interval])`)),
		graph("Goroutines and files", "short", "Both should stay flat.",
			q("goroutines {{instance}}", `go_goroutines{$S}`), q("files {{instance}}", `process_open_fds{$S}`)),
	}}
}

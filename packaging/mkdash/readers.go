package main

// Panels about those who read changes as they come: consumer groups, watchers,
// and the writer of view files.

func consumers() section {
	return section{"Consumers of the changelog", true, []panel{
		graph("Consumer lag", "s", "Age of the oldest record that a group has not committed; the worst of its topics.",
			q("{{group}} {{instance}}", `max by (instance, group) (carbond_changelog_consumer_lag_seconds{$S})`)),
		graph("Consumer lag in records", "short", "Records that a group has not committed, by topic.",
			q("{{group}} {{topic}}", `carbond_changelog_consumer_lag_records{$S}`)),
		graph("Consumers", "short", "Open Consume streams, groups, and groups beyond the number that have lag here.",
			q("streams {{instance}}", `carbond_changelog_consumers{$S}`), q("groups {{instance}}", `carbond_changelog_consumer_groups{$S}`),
			q("without lag {{instance}}", `carbond_changelog_consumer_groups_without_series{$S}`)),
		graph("Consumers replaced", "short", "Streams that ended because another member took over the group; if it goes on, two members fight for it.",
			q("{{instance}}", `increase(carbond_changelog_consumers_fenced_total{$S}[$__rate_interval])`)),
	}}
}

func watch() section {
	return section{"Watch streams", true, []panel{
		graph("Watchers", "short", "Open Watch streams, and those that read history behind the shared ring.",
			q("open {{instance}}", `carbond_watch_streams{$S}`), q("catching up {{instance}}", `carbond_watch_catching_up{$S}`)),
		graph("Watchers cut", "short", "Streams ended by the daemon, by reason.",
			q("{{reason}}", `sum by (reason) (increase(carbond_watch_cut_total{$S}[$__rate_interval]))`)),
		graph("Deltas for watchers", "ops", "Encoded once, however many watch; and the transactions that they come from.",
			q("deltas {{instance}}", `rate(carbond_watch_events_total{$S}[$__rate_interval])`),
			q("transactions {{instance}}", `rate(carbond_watch_transactions_total{$S}[$__rate_interval])`)),
		graph("Ring of watchers", "bytes", "Bytes that watchers read from; one that falls behind it is cut.", q("{{instance}}", `carbond_watch_ring_bytes{$S}`)),
	}}
}

func viewFiles() section {
	return section{"View files", true, []panel{
		graph("Behind the changelog", "short", "Offsets between the newest change and what is on disk; changes that touch no view count too.",
			q("{{instance}}", `carbond_changelog_head_offset{$S} - on (job, instance) carbond_viewfile_offset{$S}`)),
		graph("Written to view files", "Bps", "Bytes of lines.", q("{{instance}}", `rate(carbond_viewfile_written_bytes_total{$S}[$__rate_interval])`)),
		graph("Errors and new starts of view files", "short", "Failures, each tried again; files filled anew with every row; rotations.",
			q("errors {{instance}}", `increase(carbond_viewfile_errors_total{$S}[$__rate_interval])`),
			q("filled anew {{instance}}", `increase(carbond_viewfile_refills_total{$S}[$__rate_interval])`),
			q("rotations {{instance}}", `increase(carbond_viewfile_rotations_total{$S}[$__rate_interval])`)),
	}}
}

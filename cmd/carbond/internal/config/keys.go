package config

import "time"

// FeedNames lists the feeds in display order.
func FeedNames() []string { return []string{"verra", "carbonmark", "finance", "news"} }

// Keys returns the table of all keys with the values of c.
func (c *Config) Keys() []Key { return c.keys() }

// keys is the one table that drives parsing, documentation and reload.
func (c *Config) keys() []Key {
	var keys []Key
	keys = append(keys, c.sourceKeys()...)
	keys = append(keys, c.storeKeys()...)
	keys = append(keys, c.listenerKeys()...)
	keys = append(keys, c.webhookKeys()...)
	keys = append(keys, c.fleetKeys()...)
	keys = append(keys, c.feedKeys()...)
	return append(keys, c.otherKeys()...)
}

func (c *Config) sourceKeys() []Key {
	p := &c.Postgres
	return []Key{
		path("data_dir", "", &c.DataDir).example("/var/lib/carbond").
			doc("Directory of the changelog and the checkpoint; one daemon at a time. Default: $STATE_DIRECTORY or /var/lib/carbond as a service, ./carbond-data otherwise."),
		secret("postgres.url", &p.URL).blankable().example("postgres://carbond@db.example.org/carbon?sslmode=verify-full").
			doc("Any libpq URL or keyword string of the database to tail. Empty means embedded mode: carbond keeps the tables itself."),
		secret("postgres.password", &p.Password).
			doc("Password for postgres.url, so that the URL can stay free of it. Its file, like the one that PGPASSFILE names, is read again for each connection."),
		secret("postgres.query_url", &p.QueryURL).example("postgres://carbond@pgbouncer.example.org:6432/carbon").
			doc("URL for the NonStreaming calls and the writes of feeds, which may lead through a pooler of transactions; replication cannot. Default: postgres.url. postgres.password counts where it holds none."),
		slot("postgres.slot", "carbond", &p.Slot).
			doc("Logical replication slot. A slot keeps WAL on the server until carbond has it: drop it with `carbond teardown` when carbond goes for good."),
		identifier("postgres.publication", "carbond", &p.Publication).
			doc("Publication of the tables."),
		texts("postgres.tables", "", &p.Tables).example("public.orders,shop.*").
			doc("Further tables to keep in the changelog, beside those of the views: schema.table or schema.*, named as Postgres has them. Each is a topic carbon.<schema>.<table>, without a view and without a state in memory. With postgres.migrate auto they are added to the publication when carbond's role owns both; carbond doctor says what one lacks."),
		pairs("postgres.masks", "schema.table.column=how", "", &p.Masks, func(Pair) error { return nil }).example("public.orders.email=hash,public.orders.card=last4").
			doc("Columns of postgres.tables that are hidden before anything is written: hash (HMAC-SHA256 with postgres.mask_secret, in hexadecimal), null, last4 (**** and the last four characters) or exclude (the topic lacks the column). Not for keys and the tables of the views. A table whose masks change is copied again; what the changelog held before stays until retention takes it."),
		secret("postgres.mask_secret", &p.MaskSecret).
			doc("Key of the hashes of postgres.masks, at least 16 bytes. With another one equal values have other hashes."),
		oneOf("postgres.migrate", "auto", &p.Migrate, "auto", "off").
			doc("auto: serve creates or upgrades tables, publication and slot. off: that is left to `carbond migrate` or to you."),
		oneOf("postgres.on_gap", "stop", &p.OnGap, "stop", "resnapshot").
			doc("What to do when the slot was lost or moved past what carbond has. stop: keep serving the last good data, not ready, and say so. resnapshot: copy the tables again and record the differences."),
		size("postgres.max_retained_wal", "0", &p.MaxRetained, 0, 1<<50).example("10GiB").
			doc("WAL that the slot may keep on the server before carbond warns: on its page, in `carbond status`, /readyz and by an alert. 0: no limit. What ends the growth is max_slot_wal_keep_size of Postgres; carbond says in time when the slot will be lost to it."),
		oneOf("postgres.on_max_retained_wal", "warn", &p.OnMaxRetained, "warn", "drop").
			doc("What to do when the slot keeps more than postgres.max_retained_wal. warn: say so. drop: drop the slot, so that the server gets its disk back, which is a gap as postgres.on_gap has it: choose resnapshot there, and a bound that a copy of the tables stays below."),
		boolean("postgres.slot_takeover", "true", &p.SlotTakeover).
			doc("true: a data directory that holds no copy replaces an idle slot of this name and copies the tables. false: it refuses, unless carbond migrate made the slot; choose it when several carbonds could be given the same slot by mistake."),
		text("postgres.adopt", "", &p.Adopt).example("7411862023442118713").
			doc("System identifier of a cluster to go on with although the data directory belongs to another cluster or database: after pg_upgrade, after dump and restore, or when the database was renamed. The tables are copied again and the differences recorded; changelog and consumer groups stay. It counts once; remove it afterwards. The error that refuses the server names the value."),
		boolean("postgres.failover", "false", &p.Failover).
			doc("true: the slot is a failover slot, which a standby with sync_replication_slots keeps in step, so that carbond goes on there after a promotion. Needs Postgres 17; before, it has no effect."),
		duration("postgres.query_timeout", "5s", &p.QueryTimeout, 10*time.Millisecond).
			doc("Longest run of one SQL query for the NonStreaming calls."),
		integer("postgres.max_conns", "4", &p.MaxConns, 1, 1000).
			doc("Most connections for queries and feed writes, beside the one of replication."),
	}
}

func (c *Config) storeKeys() []Key {
	return []Key{
		size("store.segment_bytes", "64MiB", &c.Store.SegmentBytes, 1<<20, 1<<30).
			doc("Size at which a changelog segment is sealed and the next begun."),
		boolean("store.compress", "false", &c.Store.Compress).
			doc("Rewrite sealed segments with zstd in the background. Reading old changes costs a little more then."),
		duration("retention.age", "0s", &c.Retention.Age, 0).example("7d").reload().
			doc("Sealed segments whose newest record is older than this are removed; 0s keeps them."),
		size("retention.bytes", "1GiB", &c.Retention.Bytes, 0, 0).reload().
			doc("Oldest sealed segments are removed while the changelog is larger than this; 0 means no bound. Views and offsets never depend on removed segments."),
		size("retention.tables_bytes", "1GiB", &c.Retention.TablesBytes, 0, 0).reload().
			doc("Bound for the records of postgres.tables, which then do not count for retention.bytes: the oldest are taken out of their segments, and the history of the views stays. 0 means no bound of their own."),
		texts("retention.hold_groups", "", &c.Retention.HoldGroups).example("desk,warehouse").reload().
			doc("Consumer groups whose uncommitted records are kept beyond retention.age and retention.bytes. Topics in which a group has committed nothing hold nothing."),
		size("retention.hold_bytes", "4GiB", &c.Retention.HoldBytes, 0, 0).reload().
			doc("Size of the changelog beyond which retention.hold_groups hold nothing back; 0 means no bound, so a forgotten group fills the disk."),
		duration("checkpoint.interval", "1s", &c.Checkpoint.Interval, 10*time.Millisecond).
			doc("How often changed rows are saved. Longer means less writing and a longer replay after a crash."),
	}
}

func (c *Config) listenerKeys() []Key {
	g, h, k := &c.GRPC, &c.HTTP, &c.Kafka
	return []Key{
		listen("grpc.listen", "127.0.0.1:50051", &g.Listen).
			doc("Address of the gRPC API. Use 0.0.0.0:50051 for all interfaces, with TLS or tokens."),
		path("grpc.tls_cert", "", &g.TLS.Cert).example("/etc/carbond/tls.crt").
			doc("PEM certificate chain; with grpc.tls_key it turns TLS on. The files are read again on reload."),
		path("grpc.tls_key", "", &g.TLS.Key).example("/etc/carbond/tls.key").
			doc("PEM private key of grpc.tls_cert."),
		path("grpc.client_ca", "", &g.TLS.ClientCA).example("/etc/carbond/clients.crt").
			doc("PEM certificates of the authorities that sign client certificates; clients then must present one."),
		path("grpc.tokens_file", "", &g.TokensFile).example("/etc/carbond/tokens").
			doc("Bearer tokens that callers must present. A line is a name, a scope (read, consume:GROUP or admin) and the token or sha256: with its hash; consume:GROUP is read, and closes the consumer group to others with read. The file is read again on reload; streams of a token that is gone end."),
		number("grpc.rate_limit", "0", &g.RateLimit).
			doc("Requests per second that one peer may make; 0 means no limit."),
		boolean("grpc.reflection", "true", &g.Reflection).
			doc("Serve gRPC reflection, which lets grpcurl work without proto files."),
		listen("kafka.listen", "", &k.Listen).blankable().example("127.0.0.1:9092").
			doc("Address at which Kafka's clients read the changelog; empty means none. Topics cannot be written to. Use it beyond loopback with TLS or tokens."),
		text("kafka.advertise", "", &k.Advertise).example("carbond.example.org:9092").
			doc("HOST:PORT that Kafka's clients are told to connect to, where a proxy or a forwarded port is in front; empty means the address that they connected to."),
		oneOf("kafka.format", "connect", &k.Format, "connect", "payload", "debezium", "row").
			doc("Keys and values for Kafka's clients. connect: schema and payload, as Kafka Connect's JSON converter writes; payload: the same with an empty schema; debezium: the bare envelope; row: the plain row."),
		boolean("kafka.compress", "false", &k.Compress).
			doc("Send batches compressed with zstd to Kafka's clients whose requests can mean it (Fetch from version 10 on). Of connect little is left. A client without zstd, as kafkajs is, cannot read them then."),
		path("kafka.tls_cert", "", &k.TLS.Cert).example("/etc/carbond/tls.crt").
			doc("PEM certificate chain for Kafka's clients; with kafka.tls_key it turns TLS on. The files are read again on reload."),
		path("kafka.tls_key", "", &k.TLS.Key).example("/etc/carbond/tls.key").
			doc("PEM private key of kafka.tls_cert."),
		path("kafka.client_ca", "", &k.TLS.ClientCA).example("/etc/carbond/clients.crt").
			doc("PEM certificates of the authorities that sign client certificates of Kafka's clients. With grpc.tokens_file a client sends a token of it as the password of SASL/PLAIN, with any user name."),
		listen("http.listen", "127.0.0.1:50080", &h.Listen).
			doc("Address of the HTTP API under /v1/, of /metrics, /healthz, /readyz, /status.json and of the console pages."),
		path("http.tls_cert", "", &h.TLS.Cert).example("/etc/carbond/tls.crt").
			doc("PEM certificate chain for the HTTP listener; with http.tls_key it turns TLS on. The files are read again on reload."),
		path("http.tls_key", "", &h.TLS.Key).example("/etc/carbond/tls.key").
			doc("PEM private key of http.tls_cert."),
		path("http.client_ca", "", &h.TLS.ClientCA).example("/etc/carbond/clients.crt").
			doc("PEM certificates of the authorities that sign client certificates for the HTTP listener."),
		texts("http.hosts", "", &h.Hosts).example("carbond.example.org,.inside.example.org").reload().
			doc("Names under which the console page and /status.json answer, beside addresses, localhost and the name of this machine; .example.org stands for all below it, * for any. /metrics and the probes answer under every name."),
		oneOf("http.open", "false", &h.Open, "false", "true", "no-tokens").reload().
			doc("Who may read pages and /v1/ of the HTTP listener. false: with grpc.tokens_file who has a token or a client certificate, without it who comes over loopback or has a client certificate. true: everybody, tokens or not. no-tokens: everybody, unless grpc.tokens_file is set; containers have it. /metrics and the probes never ask."),
		texts("http.cors_origins", "", &h.CORS).example("https://desk.example.org").reload().
			doc("Origins whose pages may read /v1/ from a browser; * for all. They send a bearer token where tokens are needed; the cookie of the console is not for them."),
		boolean("http.pprof", "false", &h.Pprof).reload().
			doc("Serve /debug/pprof/ on the HTTP listener. Profiles show memory contents: only behind loopback or client certificates."),
	}
}

func (c *Config) webhookKeys() []Key {
	w := &c.Webhooks
	anything := func(Pair) error { return nil }
	return []Key{
		namedURLs("webhooks.urls", "", &w.URLs).example("desk=https://hooks.example.org/carbon").
			doc("Receivers of changes as name=url. Each gets JSON by POST, signed as Standard Webhooks has it, in commit order and at least once; its place is that of the consumer group webhook:NAME. A delivery is tried for a day; then, or after 410, the hook is stopped until carbond webhooks replay or the next start. Redirects are not followed."),
		pairs("webhooks.views", "name=view or name=view:filter", "", &w.Views, anything).example("desk=projects:Brazil").
			doc("What each hook is about: projects, projects:COUNTRY, news, news:SOURCE, finance or finance:TICKER."),
		pairs("webhooks.rules", "name=rule", "", &w.Rules, anything).example("desk=supply<1000").
			doc("Which changes a hook hears of: any (the default), changes FIELD, FIELD<NUMBER and FIELD>NUMBER where a value crosses the number, words WORD... where each word begins to occur. Fields are columns of the view."),
		pairs("webhooks.topics", "name=topic", "", &w.Topics, anything).example("audit=carbon.public.verra").
			doc("Hooks that hear of every record of a topic, in place of a view: op, before and after, as carbond consume --format row has them. They have no rule."),
		secret("webhooks.secret", &w.Secret).example("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").
			doc("Key that deliveries are signed with: whsec_ and base64, or any text. Needed with webhooks.urls."),
	}
}

func (c *Config) fleetKeys() []Key {
	f := &c.Fleet
	return []Key{
		text("fleet.name", "", &f.Name).example("desk").
			doc("Name of the fleet that this node belongs to: daemons that tail the same database, each with a postgres.slot of its own, and hold the same changelog. Empty means none."),
		texts("fleet.join", "", &f.Join).example("node1.example.org:50051,node2.example.org:50051").
			doc("gRPC listeners of the nodes; that of this node may be among them, so that all have the same list. A node without data, or one that differs from the others, takes the data of one of them in place of copying the tables. The first node of a fleet copies them."),
		path("fleet.token_file", "", &f.TokenFile).example("/etc/carbond/fleet.token").
			doc("File with the bearer token for the other nodes, of the scope admin: a backup needs it."),
		boolean("fleet.tls", "false", &f.TLS).
			doc("Reach the other nodes by TLS, trusting the system's authorities; implied by the next three keys."),
		path("fleet.tls_ca", "", &f.CA).example("/etc/carbond/ca.crt").
			doc("PEM certificates of the authorities that sign the certificates of the other nodes."),
		path("fleet.tls_cert", "", &f.Cert).example("/etc/carbond/tls.crt").
			doc("PEM certificate that this node shows the others, where they have grpc.client_ca."),
		path("fleet.tls_key", "", &f.Key).example("/etc/carbond/tls.key").
			doc("PEM private key of fleet.tls_cert."),
	}
}

func (c *Config) feedKeys() []Key {
	f := &c.Feeds
	return []Key{
		words("feeds.enabled", "verra,carbonmark,finance,news", &f.Enabled, FeedNames()...).
			doc("Feeds to poll; none switches all of them off."),
		duration("feeds.interval", "60s", &f.Interval, 100*time.Millisecond).
			doc("How often a feed is polled; each source's own least interval still holds."),
		duration("feeds.timeout", "20s", &f.Timeout, time.Second).
			doc("Longest time of one request to an upstream, from connecting to the last byte."),
		webURL("feeds.verra_url", "", &f.VerraURL).example("https://registry.verra.org").
			doc("Base URL of the Verra registry; empty means the built-in one."),
		webURL("feeds.verra_search_url", "", &f.VerraSearchURL).example("https://prod-us.api.platts.com/ci-raas-prod/raas-report-api/es/public").
			doc("Base URL of the registry's searches; empty means the one that the registry's site names."),
		headers("feeds.verra_headers", "", &f.VerraHeaders).example("Origin=https://registry.verra.org").
			doc("Request headers as name=value, in place of Origin and Referer of the registry's site. Not for secrets."),
		number64("feeds.verra_standard", "", &f.VerraStandard).example("150000000000001").
			doc("Number of the standard that the registry is asked for; empty means the built-in one, the Verified Carbon Standard."),
		statuses("feeds.verra_statuses", "", &f.VerraStatuses).example("SUSPENDED=ON_HOLD").
			doc("Statuses for state codes of the registry as CODE=STATUS, in front of the built-in ones. A code may hold one *, which stands for any text."),
		webURL("feeds.verra_link_prefix", "", &f.VerraLinkPrefix).example("https://registry.verra.org/app/projectDetail/VCS/").
			doc("Address of a project's public page up to its number; empty means the built-in one."),
		duration("feeds.verra_sweep", "12h", &f.VerraSweep, time.Second).
			doc("How often the whole registry is read, beside the changes at each poll. When its URL is on the own machine, at least every ten polls."),
		webURL("feeds.carbonmark_url", "", &f.CarbonmarkURL).example("https://v20.api.carbonmark.com").
			doc("Base URL of the Carbonmark API; empty means the built-in one."),
		webURL("feeds.graph_url", "", &f.GraphURL).example("https://gateway.thegraph.com/api/subgraphs/id/example").
			doc("Address of the subgraph, without the key; empty means the built-in one. Needs feeds.graph_key."),
		webURL("feeds.finance_url", "", &f.FinanceURL).example("https://query1.finance.yahoo.com").
			doc("Base URL of the price source; empty means the built-in one."),
		webURL("feeds.finance_failover_url", "", &f.FinanceFailover).example("https://query2.finance.yahoo.com").
			doc("Base URL to ask when the price source cannot be reached; empty means the built-in one, or none when feeds.finance_url is another."),
		webURL("feeds.finance_cookie_url", "", &f.FinanceCookie).example("https://fc.yahoo.com").
			doc("Where the cookie for market capitalisations comes from; empty means the built-in one, or none when feeds.finance_url is another."),
		namedURLs("feeds.news_urls", "", &f.NewsURLs).example("Carbon Pulse=https://carbon-pulse.com/feed/").
			doc("News feeds as name=url, in place of the built-in list; empty means that list."),
		namedURLs("feeds.news_extra", "", &f.NewsExtra).example("Trade Journal=https://journal.example.org/rss").
			doc("News feeds as name=url, beside feeds.news_urls or the built-in list."),
		texts("feeds.news_whole", "Carbon Pulse,Verra news", &f.NewsWhole).example("Carbon Pulse,Trade Journal").
			doc("News feeds whose stories are all kept; of others those about carbon markets."),
		texts("feeds.news_words", "", &f.NewsWords).example("kelp farming,ABC").
			doc("Words that are enough for a story, beside the built-in ones; in capitals they count in capitals only."),
		texts("feeds.news_exclude", "", &f.NewsExclude).example("horoscope").
			doc("Words that rule a story out when its title has them."),
		intervals("feeds.news_intervals", "", &f.NewsIntervals).example("Carbon Pulse=30m").
			doc("Intervals of single news feeds as name=duration; a publisher's wish for a longer one still holds. A built-in feed goes by the name that `carbond feeds` shows after news/."),
		texts("feeds.finance_tickers", "", &f.FinanceTickers).example("KRBN,GRN").
			doc("Ticker symbols to follow; empty means the built-in 47."),
		duration("feeds.finance_charts", "15m", &f.FinanceCharts, 0).
			doc("How often one call for each ticker may stand in for price calls that fail; 0s: never. Not for refusals: those are waited out."),
		boolean("feeds.robots", "false", &f.Robots).
			doc("Honour robots.txt: news feeds whose site closes their address to carbond are not polled. For news.google.com feeds.google_news alone decides."),
		boolean("feeds.google_news", "false", &f.GoogleNews).
			doc("Allow feeds of news.google.com, whose terms are for personal, non-commercial use."),
		secret("feeds.carbonmark_key", &f.CarbonmarkKey).
			doc("API key of Carbonmark; reading works without one."),
		secret("feeds.graph_key", &f.GraphKey).
			doc("API key of The Graph; with it the Carbonmark feed falls back to the subgraph."),
		text("feeds.user_agent_contact", "", &f.UserAgentContact).example("+https://example.org; ops@example.org").
			doc("Contact that the pollers send in their User-Agent, so that an upstream can reach you."),
		duration("feeds.finance_history", "0s", &f.FinanceHistory, 0).example("30d").
			doc("Older prices are pruned, except the latest of each ticker. 0s keeps all in Postgres, and 7d in embedded mode, where history costs memory."),
		duration("feeds.news_history", "0s", &f.NewsHistory, 0).example("90d").
			doc("Older news items are pruned. 0s keeps all in Postgres, and ten years in embedded mode."),
		duration("feeds.stale_after", "0s", &f.StaleAfter, 0).example("6h").
			doc("A feed without a success for this long is named in /readyz; 0s means ten of its intervals, at least 30 minutes, or one minute when its URL is on the own machine."),
	}
}

func (c *Config) otherKeys() []Key {
	return []Key{
		path("views.jsonl_dir", "", &c.Views.JSONLDir).example("/var/lib/carbond/views").
			doc("Directory in which projects.jsonl, news.jsonl and finance.jsonl get every change of the views as a line, with diff and time. Empty means none. Under systemd, a directory outside data_dir needs ReadWritePaths."),
		size("views.jsonl_rotate_bytes", "64MiB", &c.Views.RotateBytes, 64<<10, 0).
			doc("Size at which a view file is renamed to NAME.000001.jsonl, with the next number each time."),
		integer("views.jsonl_keep", "7", &c.Views.Keep, 1, 100_000).
			doc("How many renamed files of each view are kept."),
		duration("views.jsonl_sync", "1s", &c.Views.Sync, 10*time.Millisecond).
			doc("How often view files are brought to the disk. Lines are visible at once; after a crash what is younger than this is written again."),
		duration("cache.ttl", "300s", &c.Cache.TTL, time.Second).
			doc("Upper bound of a cached reply's age. A reply never outlives a change of its data, whatever this says."),
		size("cache.max_bytes", "64MiB", &c.Cache.MaxBytes, 1<<20, 0).
			doc("Memory for encoded replies."),
		oneOf("log.format", "text", &c.Log.Format, "text", "json").
			doc("Form of the log lines on standard error."),
		oneOf("log.level", "info", &c.Log.Level, "debug", "info", "warn", "error").reload().
			doc("Least level that is logged."),
		number("limits.lag_seconds", "30", &c.Limits.LagSeconds).reload().
			doc("The API calls itself NOT_SERVING while the views are further than this behind Postgres; 0 means no limit."),
		part("limits.peer_share", "0.75", &c.Limits.PeerShare).
			doc("Part of the 4,096 connections, 4,096 watchers and 256 consumers that one address may hold; one connection may hold that part of its address's. 1 means no bound. A proxy is one address."),
	}
}

package replicate

import (
	"github.com/prometheus/client_golang/prometheus"

	"carbond/replicate/internal/server"
	"carbond/replicate/pgerr"
	"carbond/store/change"
)

// metrics are the carbond_replication_* metrics. Positions and lag are read from
// the state when scraped; counters change after the sink has taken the changes.
type metrics struct {
	changes      *prometheus.CounterVec
	byTable      map[string]*[256]prometheus.Counter // pre-resolved changes
	transactions prometheus.Counter
	reconnects   prometheus.Counter
	errors       *prometheus.CounterVec
	copied       prometheus.Counter
	statusSent   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, opt server.Options, st *state) *metrics {
	const ns, sub = "carbond", "replication"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	m := &metrics{
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub, Name: "changes_total", Help: "Changes taken by the changelog, by table and operation.",
		}, []string{"table", "op"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub, Name: "errors_total", Help: "Interruptions of the replication, by kind.",
		}, []string{"kind"}),
		transactions: counter("transactions_total", "Source transactions taken by the changelog."),
		reconnects:   counter("reconnects_total", "Attempts to connect again after an interruption."),
		copied:       counter("snapshot_rows_total", "Rows taken from initial copies."),
		statusSent:   counter("status_messages_total", "Status messages sent to Postgres."),
		byTable:      map[string]*[256]prometheus.Counter{},
	}
	for _, t := range append(change.Tables(), furtherTables) {
		m.byTable[t] = new([256]prometheus.Counter)
		for _, op := range []change.Op{change.Create, change.Update, change.Delete, change.Read, change.Truncate} {
			m.byTable[t][op] = m.changes.WithLabelValues(t, op.String())
		}
	}
	// Each error counter exists from the start.
	for _, k := range []pgerr.Kind{
		pgerr.KindOptions, pgerr.KindConnect, pgerr.KindAuth, pgerr.KindDatabase, pgerr.KindPooler, pgerr.KindVersion, pgerr.KindStandby, pgerr.KindWALLevel,
		pgerr.KindReplicationRight, pgerr.KindTables, pgerr.KindColumns, pgerr.KindColumnTypes, pgerr.KindReplicaIdentity, pgerr.KindSelectRight, pgerr.KindRowSecurity,
		pgerr.KindPublication, pgerr.KindPublicationTables, pgerr.KindPublicationOps, pgerr.KindCapacity, pgerr.KindMigrate, pgerr.KindSlotInUse,
		pgerr.KindSlotForeign, pgerr.KindSlotMissing, pgerr.KindSlotLost, pgerr.KindSlotGivenUp, pgerr.KindSlotAhead, pgerr.KindServerBehind, pgerr.KindPublicationChange, pgerr.KindTableChange, pgerr.KindDiverged, pgerr.KindUndecodable,
		pgerr.KindOtherCluster, pgerr.KindProtocol, pgerr.KindSilent, pgerr.KindSink, pgerr.KindServer,
	} {
		m.errors.WithLabelValues(string(k))
	}
	if reg == nil {
		return m
	}
	reg.MustRegister(m.changes, m.errors, m.transactions, m.reconnects, m.copied, m.statusSent, &gauges{st: st, descs: gaugeDescs()})
	return m
}

// furtherTables stands for all tables without a view in the metrics: there may be
// a thousand.
const furtherTables = "further"

func metricTable(r *change.Relation) string {
	if r.Plain {
		return furtherTables
	}
	return r.Name
}

// applied counts what the sink has taken.
func (m *metrics) applied(txns []change.Txn) {
	for i := range txns {
		t := &txns[i]
		if t.Final {
			m.transactions.Inc()
		}
		// Changes of one table and kind come in runs: count a run, add once.
		for j := 0; j < len(t.Changes); {
			c := &t.Changes[j]
			k := j + 1
			for k < len(t.Changes) && t.Changes[k].Relation == c.Relation && t.Changes[k].Op == c.Op {
				k++
			}
			if counters := m.byTable[metricTable(c.Relation)]; counters != nil && counters[c.Op] != nil {
				counters[c.Op].Add(float64(k - j))
			}
			if t.Snapshot != nil {
				m.copied.Add(float64(k - j))
			}
			j = k
		}
	}
}

// gauges reads one Status for each scrape, so that its values fit together.
type gauges struct {
	st    *state
	descs []gauge
}

type gauge struct {
	desc  *prometheus.Desc
	value func(Status) (float64, bool) // false: unknown, not exposed
}

func gaugeDescs() []gauge {
	g := func(name, help string, f func(Status) (float64, bool)) gauge {
		return gauge{prometheus.NewDesc("carbond_replication_"+name, help, nil, nil), f}
	}
	flag := func(b bool) (float64, bool) {
		if b {
			return 1, true
		}
		return 0, true
	}
	lsn := func(l change.LSN) (float64, bool) { return float64(l), l > 0 }
	return []gauge{
		g("connected", "Whether the replication stream is established.", func(s Status) (float64, bool) { return flag(s.Connected) }),
		g("snapshot_in_progress", "Whether an initial copy is under way.", func(s Status) (float64, bool) { return flag(s.Phase == PhaseCopying) }),
		g("received_lsn_bytes", "WAL position up to which everything has been received.", func(s Status) (float64, bool) { return lsn(s.ReceivedLSN) }),
		g("durable_lsn_bytes", "WAL position up to which everything is durable here.", func(s Status) (float64, bool) { return lsn(s.DurableLSN) }),
		g("confirmed_lsn_bytes", "WAL position last confirmed to Postgres.", func(s Status) (float64, bool) { return lsn(s.AckedLSN) }),
		g("server_lsn_bytes", "End of the server's WAL at the last probe.", func(s Status) (float64, bool) { return lsn(s.ServerLSN) }),
		g("lag_bytes", "WAL between the server's end and what is durable here.", func(s Status) (float64, bool) { return float64(s.LagBytes), s.ServerLSN > 0 }),
		g("lag_seconds", "Seconds since everything committed on the server was durable here; 0 while level.", func(s Status) (float64, bool) { return s.LagSeconds, !s.LastLevel.IsZero() }),
		g("last_event_timestamp_seconds", "Time of the last sign of life from Postgres.", func(s Status) (float64, bool) {
			return float64(s.LastEvent.UnixMilli()) / 1000, !s.LastEvent.IsZero()
		}),
		g("last_level_timestamp_seconds", "Everything committed on the server before this time is durable here.", func(s Status) (float64, bool) {
			return float64(s.LastLevel.UnixMilli()) / 1000, !s.LastLevel.IsZero()
		}),
		g("slot_retained_wal_bytes", "WAL that the slot keeps on the server.", func(s Status) (float64, bool) { return float64(s.SlotRetained), s.SlotRetained >= 0 }),
		g("slot_max_retained_wal_bytes", "WAL that the slot may keep before carbond warns (postgres.max_retained_wal); absent without it.", func(s Status) (float64, bool) { return float64(s.SlotLimit), s.SlotLimit > 0 }),
		g("slot_safe_wal_bytes", "WAL that may still be written before the slot is lost; absent without max_slot_wal_keep_size.", func(s Status) (float64, bool) { return float64(s.SlotSafe), s.SlotSafe >= 0 }),
		g("slot_loss_seconds", "Time until the slot is lost if WAL piles up as in the last 15 minutes; absent while it does not, or without max_slot_wal_keep_size.", func(s Status) (float64, bool) { return s.SlotLoss.Seconds(), s.SlotLoss > 0 }),
	}
}

var walStatuses = [...]string{"reserved", "extended", "unreserved", "lost"}

func walStatusDesc() *prometheus.Desc {
	return prometheus.NewDesc("carbond_replication_slot_wal_status_info", "1 for the present wal_status of the slot.", []string{"wal_status"}, nil)
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range g.descs {
		ch <- d.desc
	}
	ch <- walStatusDesc()
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	s := g.st.snapshot()
	for _, d := range g.descs {
		if v, ok := d.value(s); ok {
			ch <- prometheus.MustNewConstMetric(d.desc, prometheus.GaugeValue, v)
		}
	}
	if s.WALStatus == "" {
		return
	}
	for _, w := range walStatuses {
		v := 0.0
		if w == s.WALStatus {
			v = 1
		}
		ch <- prometheus.MustNewConstMetric(walStatusDesc(), prometheus.GaugeValue, v, w)
	}
}

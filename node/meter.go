package node

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// meter is the node's figures for Prometheus, beside those of p2p.
type meter struct {
	step, sync       prometheus.Histogram
	commits, ops     prometheus.Counter
	rejected, trades prometheus.Counter
	blocksRefused    prometheus.Counter
	questionsDropped prometheus.Counter
	diskFaults       prometheus.Counter
	evidence         prometheus.Counter
	checkpoint       prometheus.Gauge
	requests         *prometheus.HistogramVec // by endpoint and class of status
}

// newMeter registers the figures. Gauges are read when somebody asks.
func newMeter(n *Node, r prometheus.Registerer) *meter {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "holdfast", Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	seconds := func(name, help string) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "holdfast", Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(50e-6, 2, 16),
		})
		r.MustRegister(h)
		return h
	}
	m := &meter{
		step:             seconds("step_seconds", "Time one step of the replica took."),
		sync:             seconds("sync_seconds", "Time one durable batch took."),
		commits:          counter("commits_total", "Commits executed."),
		ops:              counter("ops_executed_total", "Operations executed, the refused ones too."),
		rejected:         counter("ops_rejected_total", "Operations and actions refused in commits."),
		trades:           counter("trades_total", "Trades executed."),
		blocksRefused:    counter("blocks_refused_total", "Blocks no honest validator can have sent."),
		questionsDropped: counter("questions_dropped_total", "Questions to peers that were not sent, for too many were open."),
		diskFaults:       counter("disk_faults_total", "Reads from the disk that found damage or failed."),
		evidence:         counter("evidence_total", "Proofs that a validator signed two blocks for one round."),
		checkpoint:       prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "holdfast", Name: "checkpoint_index", Help: "Commit of the newest certified checkpoint."}),
	}
	m.requests = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "holdfast", Name: "api_request_seconds", Help: "Time from a request to the end of its answer.",
		Buckets: prometheus.ExponentialBuckets(100e-6, 4, 9),
	}, []string{"endpoint", "status"})
	r.MustRegister(m.checkpoint, m.requests, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.MustRegister(peersByProvider{n})
	gauges(n, r)
	return m
}

// gauges registers what is read off the node.
func gauges(n *Node, r prometheus.Registerer) {
	for _, g := range []struct {
		name, help string
		read       func(*standing) float64
	}{
		{"round", "The newest round of blocks the node is in.", func(s *standing) float64 { return float64(s.status.Round) }},
		{"epoch", "The running epoch.", func(s *standing) float64 { return float64(s.status.Epoch) }},
		{"commit_index", "The newest executed commit.", func(s *standing) float64 { return float64(s.executed) }},
		{"commit_age_seconds", "How old the newest executed commit is by our clock.", func(*standing) float64 { return float64(backend{n}.AsOf().AgeMs) / 1000 }},
		{"quorum", "1 while the node sees a quorum.", func(*standing) float64 { return one(backend{n}.AsOf().Quorum) }},
		{"ready", "1 while the node is ready.", func(*standing) float64 { return one(backend{n}.Status().Ready) }},
		{"pool_ops", "Operations in the pool.", func(s *standing) float64 { return float64(s.pooled) }},
		{"pool_full_ratio", "How full the pool is; at 1 operations are refused.", func(s *standing) float64 { return s.poolFull }},
		{"journal_ops", "Operations acknowledged here that have not ended.", func(*standing) float64 { return float64(n.intake.size()) }},
		{"blocks_waiting", "Blocks that wait for ancestors or for their time.", func(s *standing) float64 { return float64(s.status.Waiting) }},
		{"committee_weight_connected", "Weight of the validators in reach, this node included.", func(*standing) float64 { return float64(n.connected.Load()) }},
		{"committee_weight_quorum", "The least weight that decides.", func(s *standing) float64 { return float64(s.members.committee.Quorum()) }},
		{"disk_full", "1 while operations are refused for want of disk.", func(*standing) float64 { return one(n.full.Load()) }},
		{"alarm", "1 when the node has stopped taking part for good.", func(s *standing) float64 { return one(s.alarm != "") }},
	} {
		r.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Namespace: "holdfast", Name: g.name, Help: g.help},
			func() float64 { return g.read(n.standing.Load()) },
		))
	}
}

// request notes an answered request; see api.Config.Observe.
func (m *meter) request(endpoint string, status int, took time.Duration) {
	m.requests.WithLabelValues(endpoint, strconv.Itoa(status/100)+"xx").Observe(took.Seconds())
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// executed counts what a commit did.
func (m *meter) executed(h *happened) {
	m.commits.Inc()
	m.ops.Add(float64(len(h.ops)))
	for i := range h.events {
		switch h.events[i].Kind {
		case ledger.EventTrade:
			m.trades.Inc()
		case ledger.EventRejected:
			m.rejected.Inc()
		}
	}
}

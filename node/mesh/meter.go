package mesh

import (
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// servicesMetered bounds the names that have series of their own; the rest are
// together as "other", or a member could fill the memory of whoever scrapes.
const (
	servicesMetered  = 256
	providersMetered = 64
)

// meter counts what goes over the edges from this node to instances.
type meter struct {
	mu               sync.Mutex
	names, providers map[string]bool

	calls    *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	stales   *prometheus.CounterVec
	denials  *prometheus.CounterVec
	streams  *prometheus.GaugeVec
	gathered []prometheus.Collector
}

func newMeter(m *Mesh) *meter {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "holdfast", Subsystem: "mesh", Name: name, Help: help}, labels)
	}
	t := &meter{
		names: make(map[string]bool), providers: make(map[string]bool),
		calls: counter("calls_total", "Requests and connections to instances, by outcome.", "service", "provider", "outcome"),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "holdfast", Subsystem: "mesh", Name: "call_seconds",
			Help:    "Time until an instance answered: its headers, or its owner's word.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}, []string{"service", "provider"}),
		stales:  counter("stale_answers_total", "Choices out of a last known good set.", "service"),
		denials: counter("denials_total", "Callers a policy of ours does not allow, and whether they were let in.", "service", "enforced"),
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "holdfast", Subsystem: "mesh", Name: "connections", Help: "Connections carried to instances.",
		}, []string{"service", "provider"}),
	}
	t.gathered = []prometheus.Collector{t.calls, t.latency, t.stales, t.denials, t.streams, state{m}}
	return t
}

func (t *meter) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	var errs []error
	for _, c := range t.gathered {
		errs = append(errs, r.Register(c))
	}
	return errors.Join(errs...)
}

func (t *meter) unregister(r prometheus.Registerer) {
	if r == nil {
		return
	}
	for _, c := range t.gathered {
		r.Unregister(c)
	}
}

// label is a value if there is room for its series, or "other".
func (t *meter) label(known map[string]bool, value string, most int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !known[value] && len(known) >= most {
		return "other"
	}
	known[value] = true
	return value
}

func (t *meter) name(service string) string { return t.label(t.names, service, servicesMetered) }

// provider is a provider's label: owners may write anything.
func (t *meter) provider(r *Record) string { return t.label(t.providers, r.Provider, providersMetered) }

func (t *meter) call(r *Record, outcome string, took time.Duration) {
	service := t.name(r.Name)
	t.calls.WithLabelValues(service, t.provider(r), outcome).Inc()
	if took > 0 {
		t.latency.WithLabelValues(service, t.provider(r)).Observe(took.Seconds())
	}
}

func (t *meter) stale(service string) { t.stales.WithLabelValues(t.name(service)).Inc() }

func (t *meter) denied(service string, letIn bool) {
	enforced := "yes"
	if letIn {
		enforced = "no"
	}
	t.denials.WithLabelValues(t.name(service), enforced).Inc()
}

// carrying counts a connection until the function it returns is called.
func (t *meter) carrying(r *Record) func() {
	gauge := t.streams.WithLabelValues(t.name(r.Name), t.provider(r))
	gauge.Inc()
	return gauge.Dec
}

// state tells, when asked, what the mesh holds.
type state struct{ m *Mesh }

var (
	descNames     = prometheus.NewDesc("holdfast_mesh_names", "Services known.", nil, nil)
	descInstances = prometheus.NewDesc("holdfast_mesh_instances", "Records held, tombstones too.", nil, nil)
	descRefused   = prometheus.NewDesc("holdfast_mesh_refused_total", "Records refused; regression is the older that did not replace the newer.", []string{"reason"}, nil)
	descEjected   = prometheus.NewDesc("holdfast_mesh_ejected", "Instances ejected now.", nil, nil)
)

// Describe and Collect make it a collector.
func (s state) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descNames, descInstances, descRefused, descEjected} {
		ch <- d
	}
}

// Collect reads the store.
func (s state) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	s.m.mu.RLock()
	names, instances := s.m.store.Len()
	s.m.mu.RUnlock()
	gauge(descNames, names)
	gauge(descInstances, instances)
	gauge(descEjected, s.m.ejected())
	_, counts := s.m.rejected.list()
	for _, reason := range reasons {
		ch <- prometheus.MustNewConstMetric(descRefused, prometheus.CounterValue, float64(counts[reason]), string(reason))
	}
}

// ejected counts the instances ejected as of the last choice of each name.
func (m *Mesh) ejected() (n int) {
	m.boardsMu.RLock()
	defer m.boardsMu.RUnlock()
	for _, b := range m.boards { // order: a sum
		for i := range b.seats {
			if b.seats[i].class == ejected {
				n++
			}
		}
	}
	return n
}

package faults

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A probe is a UDP packet: probeMark, the run's id, its number, the sender's clock.
// The mark's first byte has QUIC's fixed bit clear, so that no QUIC packet looks so.
const (
	probeMark  = "\x00holdfast probe\n"
	probeBytes = len(probeMark) + 8 + 4 + 8
)

// Bounds of a run of probes.
const (
	ProbesMax   = 1000 // packets to a remote in one run
	probeRuns   = 64   // runs whose counts are kept: a matrix is one
	probeOrigin = 1024 // remotes heard in one run
)

// Probing says what to send: Count packets to each of To, one every Every.
type Probing struct {
	Run   uint64        `json:"run"` // chosen by the caller, and new
	To    []string      `json:"to"`  // ip:port
	Count int           `json:"count"`
	Every time.Duration `json:"every_ns"`
}

// Heard is what one run of probes from one remote came to here. Delay and Spread
// compare two clocks, which are one on a single machine.
type Heard struct {
	Count     int           `json:"count"`     // different packets
	Copies    int           `json:"copies"`    // beyond the first of each
	Overtaken int           `json:"overtaken"` // came after one with a higher number
	Delay     time.Duration `json:"delay_ns"`  // of the quickest packet
	Spread    time.Duration `json:"spread_ns"` // the slowest's above the quickest's
}

// Probe sends a run of probes from the node's own socket, through its rules, and
// returns when all are sent.
func (f *Filter) Probe(ctx context.Context, p Probing) error {
	to, err := p.parse()
	if err != nil {
		return err
	}
	tick := time.NewTicker(max(p.Every, time.Microsecond))
	defer tick.Stop()
	for i := range p.Count {
		for _, remote := range to {
			if err := f.sendProbe(remote, p.Run, i); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

func (p Probing) parse() (to []netip.AddrPort, err error) {
	if p.Count < 1 || p.Count > ProbesMax {
		return nil, fmt.Errorf("faults: probe: count is %d: 1 to %d", p.Count, ProbesMax)
	}
	if to, err = parseRemotes(p.To); err != nil {
		return nil, fmt.Errorf("faults: probe: %w", err)
	}
	return to, nil
}

func parseRemotes(names []string) (to []netip.AddrPort, err error) {
	if len(names) > tableMax {
		return nil, fmt.Errorf("%d remotes: at most %d", len(names), tableMax)
	}
	for _, s := range names {
		a, err := netip.ParseAddrPort(s)
		if err != nil {
			return nil, err
		}
		to = append(to, plain(a))
	}
	return to, nil
}

func (f *Filter) sendProbe(to netip.AddrPort, run uint64, number int) error {
	b := make([]byte, 0, probeBytes)
	b = append(b, probeMark...)
	b = binary.BigEndian.AppendUint64(b, run)
	b = binary.BigEndian.AppendUint32(b, uint32(number))
	b = binary.BigEndian.AppendUint64(b, uint64(time.Now().UnixNano()))
	return f.sendTo(to, b)
}

// sendTo sends a packet from a socket of the node's, through its rules.
func (f *Filter) sendTo(to netip.AddrPort, b []byte) error {
	s := f.anySocket(to.Addr().Is4())
	if s == nil {
		return errors.New("faults: the node has no socket of this family yet")
	}
	_, err := s.WriteTo(b, net.UDPAddrFromAddrPort(to))
	if errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil // a packet the kernel refuses is a packet that does not arrive
}

// Heard returns what a run of probes came to here, by the address it came from.
func (f *Filter) Heard(run uint64) map[string]Heard { return f.heard.of(run) }

// heard counts the probes that arrive.
type heard struct {
	mu   sync.Mutex // guards what is below
	runs map[uint64]map[netip.AddrPort]*hearing
	old  []uint64 // runs, the oldest first
}

// hearing is a run as heard from one remote.
type hearing struct {
	Heard
	seen [ProbesMax]bool
	next int // above the highest number seen
}

// note counts b if it is a probe.
func (h *heard) note(b []byte, from netip.AddrPort, now func() time.Time) bool {
	if len(b) != probeBytes || string(b[:len(probeMark)]) != probeMark {
		return false
	}
	b = b[len(probeMark):]
	run, number := binary.BigEndian.Uint64(b), int(binary.BigEndian.Uint32(b[8:]))
	sent := time.Unix(0, int64(binary.BigEndian.Uint64(b[12:])))
	if number >= ProbesMax {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if one := h.hearing(run, from); one != nil {
		one.note(number, now().Sub(sent))
	}
	return true
}

// hearing finds or makes the record of a run from a remote. The caller holds mu.
func (h *heard) hearing(run uint64, from netip.AddrPort) *hearing {
	if h.runs == nil {
		h.runs = make(map[uint64]map[netip.AddrPort]*hearing)
	}
	if h.runs[run] == nil {
		if len(h.old) == probeRuns {
			delete(h.runs, h.old[0])
			h.old = h.old[1:]
		}
		h.runs[run] = make(map[netip.AddrPort]*hearing)
		h.old = append(h.old, run)
	}
	one := h.runs[run][from]
	if one == nil && len(h.runs[run]) < probeOrigin {
		one = new(hearing)
		h.runs[run][from] = one
	}
	return one
}

func (one *hearing) note(number int, took time.Duration) {
	switch {
	case one.seen[number]:
		one.Copies++
		return
	case number < one.next:
		one.Overtaken++
	default:
		one.next = number + 1
	}
	one.seen[number] = true
	slowest := one.Delay + one.Spread
	if one.Count == 0 {
		one.Delay, slowest = took, took
	}
	one.Delay, slowest = min(one.Delay, took), max(slowest, took)
	one.Spread = slowest - one.Delay
	one.Count++
}

func (h *heard) of(run uint64) map[string]Heard {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make(map[string]Heard, len(h.runs[run]))
	for from, one := range h.runs[run] {
		out[from.String()] = one.Heard
	}
	return out
}

package faults

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"
)

// Socket is a UDP socket whose packets obey a Filter. QUIC writes through WriteTo
// and WriteMsgUDP and reads through ReadBatch; these are filtered. The other
// methods of *net.UDPConn are as they were.
type Socket struct {
	*net.UDPConn
	filter *Filter
	batch  *ipv4.PacketConn // reads IPv6 as well: a message is the same for both
	queue  *queue
}

// Wrap puts a Filter under whoever uses u. Close of the Socket closes u and ends
// the goroutine that sends late packets.
func (f *Filter) Wrap(u *net.UDPConn) *Socket {
	s := &Socket{UDPConn: u, filter: f, batch: ipv4.NewPacketConn(u)}
	s.queue = newQueue(s.sendLate)
	f.add(s)
	return s
}

// Close closes the socket. What is waiting to be sent vanishes.
func (s *Socket) Close() error {
	s.filter.remove(s)
	s.queue.close()
	return s.UDPConn.Close()
}

// WriteTo sends one packet, if the rules let it pass.
func (s *Socket) WriteTo(b []byte, to net.Addr) (int, error) {
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("faults: writing to %v: it is no UDP address", to)
	}
	n, _, err := s.WriteMsgUDP(b, nil, u)
	return n, err
}

// WriteMsgUDP sends one packet, or, where oob asks the kernel to cut b into
// segments, several. Packets that vanish or wait count as written.
func (s *Socket) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	l := s.filter.link(to.AddrPort())
	size := segmentBytes(oob)
	r := l.rule.Load()
	if r == nil {
		l.passed.Add(packets(len(b), size))
		return s.UDPConn.WriteMsgUDP(b, oob, to)
	}
	p := late{oob: oob, to: unmapped(to.AddrPort()), link: l}
	if size == 0 {
		size = len(b)
	} else {
		p.oob = withoutSegmentBytes(oob)
	}
	if err := s.writeEach(*r, b, size, p); err != nil {
		return 0, 0, err
	}
	return len(b), len(oob), nil
}

// packets is how many packets b makes when it is cut every size bytes.
func packets(bytes, size int) uint64 {
	if size == 0 || bytes == 0 {
		return 1
	}
	return uint64((bytes + size - 1) / size)
}

// writeEach gives each packet in b its own fate. An empty packet is a packet.
func (s *Socket) writeEach(r Rule, b []byte, size int, p late) error {
	now := time.Now()
	for first := true; first || len(b) > 0; first = false {
		p.data = b[:min(size, len(b))]
		b = b[len(p.data):]
		d := p.link.send(r, now, len(p.data))
		for _, at := range d.all() {
			if err := s.leave(p, at, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// leave sends a packet now or puts a copy of it in the queue.
func (s *Socket) leave(p late, at, now time.Time) error {
	if !at.After(now) {
		p.link.passed.Add(1)
		_, _, err := s.UDPConn.WriteMsgUDPAddrPort(p.data, p.oob, p.to)
		return err
	}
	if !s.queue.push(p.copy(), at) {
		p.link.dropped.Add(1)
	}
	return nil
}

// sendLate sends what has waited. An error has nobody to be told to: for QUIC the
// packet has left long ago, and is lost as packets are.
func (s *Socket) sendLate(p late) {
	p.link.passed.Add(1)
	p.link.delayed.Add(1)
	_, _, _ = s.UDPConn.WriteMsgUDPAddrPort(p.data, p.oob, p.to)
}

// ReadBatch reads packets as QUIC does, without those that the rules take away and
// those that are probes. It returns with at least one packet or an error.
func (s *Socket) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	for {
		n, err := s.batch.ReadBatch(ms, flags)
		if err != nil || n <= 0 {
			return n, err
		}
		if kept := s.admit(ms[:n]); kept > 0 {
			return kept, nil
		}
	}
}

// admit moves the packets that are let in to the front and returns their number.
// Bytes are copied rather than messages exchanged, since the reader knows its
// buffers by position.
func (s *Socket) admit(ms []ipv4.Message) (kept int) {
	for i := range ms {
		m := &ms[i]
		if !s.admits(m) {
			continue
		}
		if kept < i {
			to := &ms[kept]
			copy(to.Buffers[0], m.Buffers[0][:m.N])
			copy(to.OOB, m.OOB[:m.NN])
			to.N, to.NN, to.Addr, to.Flags = m.N, m.NN, m.Addr, m.Flags
		}
		kept++
	}
	return kept
}

func (s *Socket) admits(m *ipv4.Message) bool {
	from, ok := m.Addr.(*net.UDPAddr)
	if !ok {
		return true
	}
	addr := from.AddrPort()
	if !s.filter.link(addr).admits() {
		return false
	}
	return !s.filter.heard.note(m.Buffers[0][:m.N], plain(addr), time.Now)
}

// late is a packet that waits, with all that sending it needs.
type late struct {
	data, oob []byte
	to        netip.AddrPort
	link      *link
}

// copy returns the packet with its own bytes: the writer uses its buffers again.
func (p late) copy() late {
	both := make([]byte, 0, len(p.data)+len(p.oob))
	both = append(append(both, p.data...), p.oob...)
	p.data, p.oob = both[:len(p.data):len(p.data)], both[len(p.data):]
	return p
}

// bytes is what the packet takes of the queue's room.
func (p late) bytes() int { return len(p.data) + len(p.oob) }

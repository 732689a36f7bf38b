package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// DNS answers for the zone mesh: where NAME.mesh is reached from here, which is
// where this node's proxies listen. The instances themselves are reached through
// them, by peers that prove who they are; an address of theirs in a DNS answer
// would go around that.
type DNS struct {
	mesh *Mesh
	// addrs are where the proxies listen.
	addrs []net.IP
	// httpPort is where the HTTP proxy listens, or 0.
	httpPort uint16
}

const (
	// dnsTTL is short: what is here costs nothing to ask again.
	dnsTTL = 5
	// dnsNegativeTTL is how long others may believe that a name is not there.
	dnsNegativeTTL = 1
	// dnsFindTimeout is how long a question waits for a name nobody has heard of
	// here; resolvers ask again after some seconds.
	dnsFindTimeout = 2 * time.Second
	dnsUDPMax      = 1232 // what passes everywhere in one packet
	dnsTimeout     = 5 * time.Second
)

// NewDNS answers with these addresses, which should be loopback or private.
// httpPort is the port of the HTTP proxy there, or 0.
func (m *Mesh) NewDNS(addrs []net.IP, httpPort uint16) *DNS {
	return &DNS{m, addrs, httpPort}
}

// Serve answers over UDP and TCP until ctx ends.
func (d *DNS) Serve(ctx context.Context, udp net.PacketConn, tcp net.Listener) error {
	servers := []*dns.Server{
		{PacketConn: udp, Handler: d, UDPSize: dnsUDPMax, ReadTimeout: dnsTimeout, WriteTimeout: dnsTimeout},
		{Listener: tcp, Handler: d, ReadTimeout: dnsTimeout, WriteTimeout: dnsTimeout},
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.mesh.ctx, cancel)()
	ended := make(chan error, len(servers))
	for _, s := range servers {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { ended <- s.ActivateAndServe() }()
		select {
		case <-started:
			defer context.AfterFunc(ctx, func() { s.Shutdown() })()
		case err := <-ended:
			return errors.Join(fmt.Errorf("mesh: DNS: %w", err), udp.Close(), tcp.Close())
		}
	}
	var errs []error
	for range servers {
		errs = append(errs, <-ended)
		cancel() // one without the other is half a server
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("mesh: DNS: %w", err)
	}
	return nil
}

// ServeDNS answers one question.
func (d *DNS) ServeDNS(w dns.ResponseWriter, asked *dns.Msg) {
	answer := new(dns.Msg).SetReply(asked)
	answer.Authoritative = true
	if len(asked.Question) != 1 || asked.Opcode != dns.OpcodeQuery {
		answer.SetRcode(asked, dns.RcodeNotImplemented)
	} else {
		d.answer(answer, asked.Question[0])
	}
	if _, overUDP := w.RemoteAddr().(*net.UDPAddr); overUDP {
		answer.Truncate(udpSize(asked))
	}
	w.WriteMsg(answer) // a client that has gone asks again
}

// udpSize is how long an answer to a question may be over UDP.
func udpSize(asked *dns.Msg) int {
	if opt := asked.IsEdns0(); opt != nil {
		return min(max(dns.MinMsgSize, int(opt.UDPSize())), dnsUDPMax)
	}
	return dns.MinMsgSize
}

func (d *DNS) answer(answer *dns.Msg, q dns.Question) {
	host := strings.ToLower(q.Name)
	if host == zone+"." {
		d.nothing(answer, dns.RcodeSuccess)
		return
	}
	if !dns.IsSubDomain(zone+".", host) || q.Qclass != dns.ClassINET {
		answer.Authoritative = false
		answer.Rcode = dns.RcodeRefused
		return
	}
	name, err := nameOf(host)
	if err != nil {
		d.nothing(answer, dns.RcodeNameError)
		return
	}
	ctx, cancel := context.WithTimeout(d.mesh.ctx, dnsFindTimeout)
	defer cancel()
	known, err := d.mesh.Await(ctx, name)
	switch {
	case err != nil && d.mesh.unsure():
		// Whoever believes this will not ask again for a while: say so only when sure.
		answer.Rcode = dns.RcodeServerFailure
	case err != nil:
		d.nothing(answer, dns.RcodeNameError)
	case len(known.Usable()) == 0:
		d.nothing(answer, dns.RcodeSuccess) // its owners have all taken it away
	default:
		d.records(answer, q, name)
	}
}

// unsure reports whether this node may know less than others.
func (m *Mesh) unsure() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.store.cold
}

// records fills in what was asked for.
func (d *DNS) records(answer *dns.Msg, q dns.Question, name string) {
	head := func(kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: q.Name, Rrtype: kind, Class: dns.ClassINET, Ttl: dnsTTL}
	}
	for _, ip := range d.addrs {
		v4 := ip.To4()
		switch {
		case q.Qtype == dns.TypeA && v4 != nil:
			answer.Answer = append(answer.Answer, &dns.A{Hdr: head(dns.TypeA), A: v4})
		case q.Qtype == dns.TypeAAAA && v4 == nil:
			answer.Answer = append(answer.Answer, &dns.AAAA{Hdr: head(dns.TypeAAAA), AAAA: ip})
		}
	}
	if q.Qtype == dns.TypeSRV {
		for _, port := range d.portsOf(name) {
			answer.Answer = append(answer.Answer, &dns.SRV{Hdr: head(dns.TypeSRV), Weight: 1, Port: port, Target: name + "." + zone + "."})
		}
	}
	if len(answer.Answer) == 0 {
		d.nothing(answer, dns.RcodeSuccess)
	}
}

// portsOf are the ports of a name's TCP proxies, or of the HTTP proxy.
func (d *DNS) portsOf(name string) (ports []uint16) {
	for _, a := range d.mesh.ports.of(name) {
		if tcp, ok := a.(*net.TCPAddr); ok {
			ports = append(ports, uint16(tcp.Port))
		}
	}
	if len(ports) == 0 && d.httpPort != 0 {
		ports = append(ports, d.httpPort)
	}
	return ports
}

// nothing says that there is no such name or record, and for how long to believe it.
func (d *DNS) nothing(answer *dns.Msg, code int) {
	answer.Rcode = code
	answer.Ns = append(answer.Ns, &dns.SOA{
		Hdr: dns.RR_Header{Name: zone + ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: dnsNegativeTTL},
		Ns:  "ns." + zone + ".", Mbox: "hostmaster." + zone + ".",
		Serial: 1, Refresh: 60, Retry: 60, Expire: 3600, Minttl: dnsNegativeTTL,
	})
}

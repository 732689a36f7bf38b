package mesh

import (
	"net"
	"testing"

	"github.com/miekg/dns"
)

func startDNS(t testing.TB, n *testNode, addrs []net.IP, httpPort uint16) string {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- n.NewDNS(addrs, httpPort).Serve(t.Context(), udp, tcp) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return udp.LocalAddr().String()
}

func TestDNS(t *testing.T) {
	nodes := startNodes(t, 2, nil)
	if err := nodes[0].Register(startWeb(t, "one").service("pricefeed")); err != nil {
		t.Fatal(err)
	}
	if err := nodes[0].Register(Service{Name: "lines", To: startLines(t, "x")}); err != nil {
		t.Fatal(err)
	}
	caller := nodes[1]
	eventually(t, "known, and sure of it", func() bool {
		return caller.states("pricefeed")[Serving] == 1 && caller.states("lines")[Serving] == 1 && !caller.Resolve("lines").Stale
	})
	_, port, err := net.SplitHostPort(caller.proxyTCP(t, "lines"))
	if err != nil {
		t.Fatal(err)
	}
	at := startDNS(t, caller, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, 7080)
	for _, test := range []struct {
		name string
		kind uint16
		code int
		want string
	}{
		{"pricefeed.mesh.", dns.TypeA, dns.RcodeSuccess, "127.0.0.1"},
		{"PriceFeed.MESH.", dns.TypeA, dns.RcodeSuccess, "127.0.0.1"},
		{"pricefeed.mesh.", dns.TypeAAAA, dns.RcodeSuccess, "::1"},
		{"pricefeed.mesh.", dns.TypeSRV, dns.RcodeSuccess, "0 1 7080 pricefeed.mesh."},
		{"lines.mesh.", dns.TypeSRV, dns.RcodeSuccess, "0 1 " + port + " lines.mesh."},
		{"pricefeed.mesh.", dns.TypeMX, dns.RcodeSuccess, ""},
		{"mesh.", dns.TypeA, dns.RcodeSuccess, ""},
		{"nobody.mesh.", dns.TypeA, dns.RcodeNameError, ""},
		{"not_a_name.mesh.", dns.TypeA, dns.RcodeNameError, ""},
		{"example.com.", dns.TypeA, dns.RcodeRefused, ""},
	} {
		for _, network := range []string{"udp", "tcp"} {
			client := dns.Client{Net: network, Timeout: dnsTimeout}
			answer, _, err := client.Exchange(new(dns.Msg).SetQuestion(test.name, test.kind), at)
			if err != nil {
				t.Fatalf("%s %s over %s: %v", test.name, dns.TypeToString[test.kind], network, err)
			}
			got := ""
			if len(answer.Answer) > 0 {
				got = answer.Answer[0].String()[len(answer.Answer[0].Header().String()):]
			}
			if answer.Rcode != test.code || got != test.want {
				t.Errorf("%s %s over %s: %s %q, want %s %q", test.name, dns.TypeToString[test.kind], network,
					dns.RcodeToString[answer.Rcode], got, dns.RcodeToString[test.code], test.want)
			}
			if test.want == "" && test.code != dns.RcodeRefused && (len(answer.Ns) != 1 || answer.Ns[0].Header().Ttl != dnsNegativeTTL) {
				t.Errorf("%s: no SOA says how long nothing is to be believed", test.name)
			}
		}
	}
}

package p2p

import (
	"crypto/rand"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	ma "github.com/multiformats/go-multiaddr"
)

func validConfig(t testing.TB) Config {
	c := DefaultConfig()
	c.Identity, _ = testIdentity(t)
	c.Network = "n"
	return c
}

func TestDefaultConfigLacksOnlyIdentityAndNetwork(t *testing.T) {
	if err := validConfig(t).Validate(); err != nil {
		t.Fatal(err)
	}
	err := DefaultConfig().Validate()
	if err == nil || !strings.Contains(err.Error(), "Identity") || !strings.Contains(err.Error(), "Network") {
		t.Fatalf("both are missing, but: %v", err)
	}
}

func TestValidateListsEveryFaultAtOnce(t *testing.T) {
	_, id := testIdentity(t)
	rsa, _, err := crypto.GenerateRSAKeyPair(2048, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	named := Peer{ID: id, Addrs: []ma.Multiaddr{ma.StringCast("/dns4/example.org/udp/1/quic-v1")}}
	faults := map[string]func(*Config){
		"Identity":            func(c *Config) { c.Identity = rsa },
		"Network":             func(c *Config) { c.Network = "a/b" },
		"Provider is":         func(c *Config) { c.Provider = strings.Repeat("x", 65) },
		"Listen \"nonsense\"": func(c *Config) { c.Listen = []string{"nonsense"} },
		"Announce \"/dns4":    func(c *Config) { c.Announce = []string{"/dns4/example.org/tcp/1"} },
		"Committee[0]":        func(c *Config) { c.Committee = []Peer{named} },
		"Bundle[1]":           func(c *Config) { c.Bundle = []Peer{{ID: id}, {ID: id}} },
		"Records[\"a/b\"]":    func(c *Config) { c.Records = map[string]RecordRules{"a/b": nil} },
		"Beat is":             func(c *Config) { c.Beat = 0 },
		"DeadAfter is":        func(c *Config) { c.DeadAfter = time.Hour },
		"StallAfter is":       func(c *Config) { c.StallAfter = 0 },
		"HealEvery is":        func(c *Config) { c.HealEvery = 0 },
		"DialTimeout is":      func(c *Config) { c.DialTimeout = 0 },
		"RelayAfter is":       func(c *Config) { c.RelayAfter = 0 },
		"Reach is":            func(c *Config) { c.Reach = "maybe" },
		"Follow is":           func(c *Config) { c.Follow = -1 },
		"FollowersMax is":     func(c *Config) { c.FollowersMax = -1 },
		"PeersWanted is":      func(c *Config) { c.PeersWanted = 0 },
		"PeersMax is":         func(c *Config) { c.PeersMax = -1 },
		"ConnsPerAddress is":  func(c *Config) { c.ConnsPerAddress = 0 },
		"BlockBytesMax is":    func(c *Config) { c.BlockBytesMax = 2 << 20 },
		"QueueBytesMax is":    func(c *Config) { c.QueueBytesMax = 0 },
	}
	all := validConfig(t)
	for want, spoil := range faults {
		c := validConfig(t)
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		spoil(&all)
	}
	err = all.Validate()
	for want := range faults {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the list of all faults lacks %s", want)
		}
	}
	if _, err := Open(all); err == nil {
		t.Error("Open takes a bad configuration")
	}
}

// Fields that have no wrong value are all named here, so that a new field is
// either checked or considered.
func TestEveryFieldIsCheckedOrFree(t *testing.T) {
	free := "ListenUDP BookPath Blocks Server Gossip DHT MDNS NAT RelayService AddressDiscovery Logger Registerer"
	checked := "Identity Network Provider Listen Announce Committee Bundle Follow FollowersMax Records Beat DeadAfter StallAfter " +
		"Reach HealEvery DialTimeout RelayAfter PeersWanted PeersMax ConnsPerAddress BlockBytesMax QueueBytesMax"
	known := strings.Fields(free + " " + checked)
	typ := reflect.TypeFor[Config]()
	if typ.NumField() != len(known) {
		t.Errorf("Config has %d fields, %d are known here", typ.NumField(), len(known))
	}
	for _, f := range known {
		if _, ok := typ.FieldByName(f); !ok {
			t.Errorf("Config has no field %s", f)
		}
	}
}

func TestParsePeer(t *testing.T) {
	_, id := testIdentity(t)
	p, err := ParsePeer("/ip4/192.0.2.1/udp/4001/quic-v1/p2p/" + id.String())
	if err != nil || p.ID != id || len(p.Addrs) != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	for _, bad := range []string{"", "x", "/ip4/192.0.2.1/udp/4001/quic-v1", "/dns4/example.org/udp/1/quic-v1/p2p/" + id.String()} {
		if _, err := ParsePeer(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

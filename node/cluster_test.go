package node

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// cluster is real nodes of one network in this process: real sockets on
// loopback, real disks in a temporary directory.
type cluster struct {
	t       testing.TB
	dir     string
	bundle  *Bundle
	faucet  ed25519.PrivateKey   // has most of everything
	traders []ed25519.PrivateKey // have a million of everything
	keys    []ed25519.PrivateKey
	nodes   []*member
	trading ledger.Names
	shape   []func(*Config)
}

// member is one node of a cluster, running or not.
type member struct {
	*Node
	cfg  Config
	stop func()
}

// tradersOf is how many funded traders a cluster has.
const tradersOf = 100

var providers = []string{"aws", "gcp", "azure", "hetzner"}

// newCluster makes a network of n validators, with configurations of this shape, and
// starts them all.
func newCluster(t testing.TB, n int, shape ...func(*Config)) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir(), shape: shape}
	_, c.faucet, _ = ed25519.GenerateKey(nil)
	g := &ledger.Genesis{
		Name: "test", Params: ledger.DefaultParams(),
		Assets: []ledger.Asset{{Symbol: "BTC", Decimals: 8}, {Symbol: "USDT", Decimals: 6}},
		Markets: []ledger.Market{{
			Base: 0, Quote: 1, Tick: ledger.Decimal{Units: 1, Decimals: 2}, Lot: 10_000, STP: ledger.ExpireMaker,
		}},
	}
	fund := func(key ed25519.PrivateKey, units uint64) {
		for asset := range g.Assets {
			g.Balances = append(g.Balances, ledger.Balance{
				Account: ledger.AccountOf(key), Asset: ledger.AssetID(asset), Amount: ledger.Units(units),
			})
		}
	}
	fund(c.faucet, 1<<60)
	g.Governors = ledger.Council{Threshold: 1, Members: []ledger.Account{ledger.AccountOf(c.faucet)}}
	for i := range tradersOf {
		c.traders = append(c.traders, ed25519.NewKeyFromSeed(binary.BigEndian.AppendUint64(make([]byte, 24), uint64(i))))
		fund(c.traders[i], 1<<50)
	}
	slices.SortFunc(g.Balances, func(a, b ledger.Balance) int {
		return cmp.Or(bytes.Compare(a.Account[:], b.Account[:]), cmp.Compare(a.Asset, b.Asset))
	})
	for i := range n {
		cfg := c.config(i)
		key, err := CreateKey(cfg.KeyPath(), Lock{Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		about, err := About{Provider: providers[i%4], Region: providers[i%4], Addrs: []string{fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", freePort(t))}}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		g.Committee.Validators = append(g.Committee.Validators, ledger.Validator{Key: ledger.AccountOf(key), Weight: 1, About: about})
		c.keys = append(c.keys, key)
	}
	var err error
	if c.bundle, err = NewBundle(g, nil, c.faucet); err != nil {
		t.Fatal(err)
	}
	c.trading = ledger.Names{Assets: g.Assets, Markets: g.Markets}
	for i := range n {
		cfg := c.config(i)
		v, _ := c.bundle.Validator(ledger.AccountOf(c.keys[i]))
		cfg.Listen = v.Addrs
		if err := c.bundle.WriteBundle(cfg.BundlePath()); err != nil {
			t.Fatal(err)
		}
		if err := InitStore(cfg); err != nil {
			t.Fatal(err)
		}
		c.nodes = append(c.nodes, &member{cfg: cfg})
		c.start(i)
	}
	return c
}

func (c *cluster) config(i int) Config {
	cfg := DefaultConfig()
	cfg.DataDir = filepath.Join(c.dir, fmt.Sprint(i))
	cfg.APIListen = "127.0.0.1:0"
	cfg.MinRound = 10 * time.Millisecond
	cfg.MDNS, cfg.NAT = false, false
	for _, form := range c.shape {
		form(&cfg)
	}
	if err := cfg.MakeDataDir(); err != nil {
		c.t.Fatal(err)
	}
	return cfg
}

var discard = slog.New(slog.DiscardHandler)

// start opens and runs a node. It is stopped with the test at the latest.
func (c *cluster) start(i int) {
	c.t.Helper()
	m := c.nodes[i]
	log := discard
	if os.Getenv("HOLDFAST_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})).With("node", i)
	}
	n, err := Open(m.cfg, log)
	if err != nil {
		c.t.Fatal(err)
	}
	m.Node = n
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	stopped := false
	m.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			c.t.Errorf("node %d ended: %v", i, err)
		}
		if err := n.Close(); err != nil {
			c.t.Errorf("closing node %d: %v", i, err)
		}
	}
	c.t.Cleanup(m.stop)
}

// op is a signed operation of the faucet.
func (c *cluster) op(key ed25519.PrivateKey, lines ...string) []byte {
	c.t.Helper()
	var actions []ledger.Action
	for _, line := range lines {
		a, err := c.trading.ParseAction(line)
		if err != nil {
			c.t.Fatalf("%s: %v", line, err)
		}
		actions = append(actions, a)
	}
	return c.signed(key, actions)
}

func (c *cluster) signed(key ed25519.PrivateKey, actions []ledger.Action) []byte {
	c.t.Helper()
	now := time.Now()
	raw, err := ledger.Draft{
		Network: c.bundle.ID(), Account: ledger.AccountOf(key), Nonce: nonce(), TimeMs: now.UnixMilli(), Actions: actions,
	}.Sign(key)
	if err != nil {
		c.t.Fatal(err)
	}
	return raw
}

var lastNonce uint64

func nonce() uint64 {
	lastNonce = max(lastNonce+1, uint64(time.Now().UnixMilli()))
	return lastNonce
}

// eventually waits for a condition, looking again after each commit of a node.
func (c *cluster) eventually(what string, is func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !is() {
		if time.Now().After(deadline) {
			c.t.Fatalf("after a minute still not: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// untilQuorum waits until every node sees a quorum.
func (c *cluster) untilQuorum() {
	c.t.Helper()
	c.eventually("all see a quorum", func() bool {
		for _, m := range c.nodes {
			if !(backend{m.Node}).AsOf().Quorum {
				return false
			}
		}
		return true
	})
}

// submit hands an operation to a node, which must take it.
func (c *cluster) submit(node int, raw []byte) ledger.Digest {
	c.t.Helper()
	s, err := backend{c.nodes[node].Node}.Submit(context.Background(), [][]byte{raw})
	if err != nil || s[0].State == api.OpRejected {
		c.t.Fatalf("node %d does not take it: %+v, %v", node, s, err)
	}
	return s[0].ID
}

// final submits an operation and waits until it is final.
func (c *cluster) final(node int, raw []byte) api.OpStatus {
	c.t.Helper()
	return c.ends(node, c.submit(node, raw), api.OpFinal)
}

// ends waits for an operation to end as it should.
func (c *cluster) ends(node int, id ledger.Digest, want api.OpState) api.OpStatus {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := backend{c.nodes[node].Node}.Wait(ctx, id)
	if err != nil || s.State != want {
		c.t.Fatalf("node %d: it is %+v, %v: wanted %s", node, s, err, want)
	}
	return s
}

func TestClusterMakesOperationsFinal(t *testing.T) {
	c := newCluster(t, 4)
	c.untilQuorum()
	_, alice, _ := ed25519.GenerateKey(nil)
	began := time.Now()
	final := c.final(0, c.op(c.faucet, "transfer 12.5 USDT to "+ledger.AccountOf(alice).String()))
	t.Logf("final in %v", time.Since(began))
	for i := range c.nodes {
		seen := c.ends(i, final.ID, api.OpFinal)
		if seen.Commit != final.Commit || seen.Position != final.Position || seen.Refused != 0 {
			t.Errorf("node %d: %+v, node 0: %+v", i, seen, final)
		}
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.LocalAddr().(*net.UDPAddr).Port
}

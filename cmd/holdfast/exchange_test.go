package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// pemOf is a key as openssl writes it.
func pemOf(t *testing.T, key ed25519.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// town is a home with wallets and a node to talk to.
func town(t *testing.T) (*lonely, string) {
	t.Helper()
	home := isolated(t)
	for _, name := range []string{"alice", "bob", "custodian1", "custodian2", "governor1", "governor2"} {
		person(t, home, name)
	}
	n := startLonely(t)
	t.Setenv("HOLDFAST_API", n.address)
	return n, home
}

// must runs a command that must succeed and returns what it prints.
func must(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := call(t, args...)
	if code != exitOK {
		t.Fatalf("%q: exit %d: %s\n%s", args, code, stderr, stdout)
	}
	return stdout
}

// wants fails unless the text says all of these.
func wants(t *testing.T, text string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(text, want) {
			t.Errorf("no word of %q in:\n%s", want, text)
		}
	}
}

// squeeze makes columns single spaces.
func squeeze(s string) string { return regexp.MustCompile(` +`).ReplaceAllString(s, " ") }

func TestTrade(t *testing.T) {
	town(t)
	wants(t, must(t, "order", "place", "BTC-USDT", "sell", "0.5", "--at", "60000.00", "-w", "alice"),
		"final in commit 1", "place BTC-USDT sell 0.5000 at 60000.00", "order 1 NEW")
	wants(t, must(t, "order", "place", "BTC-USDT", "sell", "0.25", "--at", "60100.00", "-w", "alice", "--id", "upper", "--post-only"),
		"post-only name=upper", "order 2 NEW")
	wants(t, squeeze(must(t, "market", "book", "BTC-USDT")), "sell 60100.00 0.2500 1\nsell 60000.00 0.5000 1")
	wants(t, must(t, "order", "place", "BTC-USDT", "buy", "0.2", "--at", "60000.00", "-w", "bob"),
		"traded 0.2000 at 60000.00 on BTC-USDT: order 3 (buy) with order 1", "order 3 FILLED")
	wants(t, squeeze(must(t, "market", "trades", "BTC-USDT")), "buy 60000.00 0.2000 12000 3 1")
	wants(t, squeeze(must(t, "market", "list")), "BTC-USDT TRADING 60000.00 0.01 0.0001 5 0 1000")
	wants(t, squeeze(must(t, "wallet", "balance", "bob")), "BTC 10.1998 0", "USDT 988000 0") // the fee is 0.1 % of 0.2
	wants(t, squeeze(must(t, "wallet", "balance", "alice")), "BTC 9.25 0.55", "2 orders open")
	wants(t, squeeze(must(t, "order", "list", "alice")), "1 - BTC-USDT sell 60000.00 0.3000 0.2000 -", "2 upper BTC-USDT sell 60100.00 0.2500 0.0000 -")
	wants(t, must(t, "order", "place", "BTC-USDT", "buy", "--market", "--for", "600", "-w", "bob"), "buy market for 600", "FILLED")
	must(t, "order", "place", "BTC-USDT", "buy", "0.1", "--at", "59000", "-w", "alice")
	wants(t, must(t, "order", "place", "BTC-USDT", "sell", "0.3", "--market", "-w", "bob"), "traded 0.1000 at 59000.00", "order 6 EXPIRED")
	wants(t, must(t, "order", "cancel", "--id", "upper", "-w", "alice"), "cancel target=upper", "order 2 canceled")
	wants(t, must(t, "order", "cancel", "1", "-w", "alice"), "cancel order=1", "order 1 canceled, 0.2900")
	wants(t, must(t, "order", "cancel", "--all", "-w", "alice"), "0 orders canceled")
	wants(t, must(t, "order", "cancel", "--all", "--market", "BTC-USDT", "-w", "alice"), "cancel_all BTC-USDT")
	wants(t, must(t, "wallet", "history", "bob"), "traded 0.2000 at 60000.00")
	wants(t, must(t, "wallet", "history", "bob", "--limit", "1"), "There is more: --before ")
	wants(t, must(t, "order", "place", "BTC-USDT", "buy", "0.1", "--at", "50000", "--until", "1h", "--stp", "decrement", "-w", "bob"), "until=", "stp=decrement")
	wants(t, must(t, "order", "place", "BTC-USDT", "buy", "0.1", "--at", "50000", "--tif", "ioc", "-w", "bob"), "ioc", "EXPIRED")
	wants(t, must(t, "op", "send", "cancel_all everywhere", "place BTC-USDT buy 0.2 at 50000 name=mine", "-w", "bob"), "order 7 canceled", "order 9 NEW")
}

func TestMoney(t *testing.T) {
	_, home := town(t)
	carol := filepath.Join(home, ".holdfast", "wallets", "carol.key")
	var made walletView
	if err := json.Unmarshal([]byte(must(t, "wallet", "new", "carol", "--plain", "--json")), &made); err != nil || made.File != carol {
		t.Errorf("%v: %+v", err, made)
	}
	wants(t, squeeze(must(t, "wallet", "list")), "carol "+made.Account+" false", "alice ")
	wants(t, must(t, "wallet", "show", "carol"), made.Account)
	_, stderr, code := call(t, "wallet", "balance", "carol")
	if code != exitFailure || !strings.Contains(stderr, "UNKNOWN_ACCOUNT") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	wants(t, must(t, "wallet", "send", "12.5", "USDT", "--to", "carol", "-w", "alice"), "transfer 12.5 USDT to "+made.Account)
	wants(t, must(t, "wallet", "send", "1", "USDT", "--to", made.Account, "-w", "alice"), "final")
	wants(t, squeeze(must(t, "wallet", "balance", "carol")), "USDT 13.5 0")

	deposit := []string{"wallet", "deposit", "100", "USDT", "--to", "carol", "--id", "tx-1"}
	wants(t, must(t, append(deposit, "-w", "custodian1")...), "100 USDT attested by 1 so far")
	wants(t, must(t, append(deposit, "-w", "custodian2")...), "100 USDT deposited to "+made.Account[:12])
	wants(t, squeeze(must(t, "wallet", "balance", "carol")), "USDT 113.5 0")
	if _, stderr, code := call(t, append(deposit, "-w", "alice")...); code != exitOpRefused || !strings.Contains(stderr, "NOT_CUSTODIAN") {
		t.Errorf("exit %d: %s", code, stderr)
	}

	wants(t, must(t, "wallet", "withdraw", "50", "USDT", "--to", "0xabc", "-w", "carol"), `withdraw 50 USDT fee 1 USDT to "0xabc"`, "withdrawal 1 of 50 USDT, fee 1: PENDING")
	wants(t, must(t, "wallet", "balance", "carol"), "withdrawal 1 of 50 USDT, fee 1, to 0xabc: PENDING")
	for _, line := range []string{"sign_withdrawal 1", `complete_withdrawal 1 "tx-2"`} {
		must(t, "op", "send", line, "-w", "custodian1")
		must(t, "op", "send", line, "-w", "custodian2")
	}
	wants(t, squeeze(must(t, "wallet", "balance", "carol")), "USDT 62.5 0")
	wants(t, must(t, "wallet", "history", "carol"), "COMPLETED", "from "+ledger.AccountOf(personKey("alice")).String()[:12])
}

// TestRefused: what the network says no to, with the code that scripts read.
func TestRefused(t *testing.T) {
	town(t)
	must(t, "wallet", "new", "poor", "--plain")
	for _, tc := range []struct {
		code int
		want string
		args []string
	}{
		{exitOpRefused, "INSUFFICIENT_BALANCE", []string{"order", "place", "BTC-USDT", "sell", "11", "--at", "60000", "-w", "alice"}},
		{exitOpRefused, "UNKNOWN_ORDER", []string{"order", "cancel", "99", "-w", "alice"}},
		{exitOpRefused, "UNKNOWN_ACCOUNT", []string{"wallet", "send", "1", "USDT", "--to", "alice", "-w", "poor"}},
		{exitOpRefused, "NOTIONAL", []string{"order", "place", "BTC-USDT", "buy", "0.0001", "--at", "1", "-w", "alice"}},
		{exitOpRefused, "FEE_TOO_LOW", []string{"wallet", "withdraw", "1", "BTC", "--to", "x", "--fee", "0", "-w", "alice"}},
		{exitUsage, "PRICE_FILTER", []string{"order", "place", "BTC-USDT", "buy", "1", "--at", "60000.001", "-w", "alice"}},
		{exitUsage, "BAD_PRECISION", []string{"wallet", "send", "1.0000001", "USDT", "--to", "bob", "-w", "alice"}},
		{exitUsage, "LOT_SIZE", []string{"order", "place", "BTC-USDT", "buy", "0.00001", "--at", "60000", "-w", "alice"}},
		{exitUsage, "UNKNOWN_MARKET", []string{"order", "place", "BTC-EUR", "buy", "1", "--at", "60000", "-w", "alice"}},
		{exitUsage, "UNKNOWN_ASSET", []string{"wallet", "send", "1", "EUR", "--to", "bob", "-w", "alice"}},
		{exitUsage, "BAD_AMOUNT", []string{"wallet", "send", "-w", "alice", "--to", "bob", "--", "-1", "USDT"}},
		{exitUsage, "say buy or sell", []string{"order", "place", "BTC-USDT", "hold", "1", "--at", "60000", "-w", "alice"}},
		{exitUsage, "either a price", []string{"order", "place", "BTC-USDT", "buy", "1", "-w", "alice"}},
		{exitUsage, "either a price", []string{"order", "place", "BTC-USDT", "buy", "1", "--at", "1", "--market", "-w", "alice"}},
		{exitUsage, "--for is for a buy", []string{"order", "place", "BTC-USDT", "buy", "--at", "1", "--for", "1", "-w", "alice"}},
		{exitUsage, "to sell, give a quantity", []string{"order", "place", "BTC-USDT", "sell", "--market", "--for", "1", "-w", "alice"}},
		{exitUsage, "for orders with a price", []string{"order", "place", "BTC-USDT", "sell", "1", "--market", "--post-only", "-w", "alice"}},
		{exitUsage, "gtc, ioc or fok", []string{"order", "place", "BTC-USDT", "sell", "1", "--at", "1", "--tif", "gtd", "-w", "alice"}},
		{exitUsage, "no order's number", []string{"order", "cancel", "x", "-w", "alice"}},
		{exitUsage, "takes the numbers", []string{"order", "cancel", "-w", "alice"}},
		{exitUsage, "takes the numbers", []string{"order", "cancel", "1", "--all", "-w", "alice"}},
		{exitUsage, "--to is missing", []string{"wallet", "send", "1", "USDT", "-w", "alice"}},
		{exitUsage, "this is no action", []string{"op", "send", "sing a song", "-w", "alice"}},
		{exitUsage, "choose at most 24h", []string{"order", "cancel", "1", "--window", "25h", "-w", "alice"}},
		{exitUsage, "say which with --wallet", []string{"order", "list"}},
		{exitUsage, "cannot name a wallet", []string{"wallet", "new", "../x", "--plain"}},
		{exitUsage, "exclude each other", []string{"wallet", "new", "x", "--plain", "--identity", "y"}},
		{exitFailure, "holdfast wallet list", []string{"wallet", "show", "nobody"}},
		{exitFailure, "neither an account", []string{"wallet", "send", "1", "USDT", "--to", "nobody", "-w", "alice"}},
		{exitFailure, "there is a key already", []string{"wallet", "new", "alice", "--plain"}},
		{exitUsage, "is no CID", []string{"op", "show", "x"}},
		{exitUsage, "not of a dag-cbor object", []string{"op", "show", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"}},
		{exitFailure, "UNKNOWN_MARKET", []string{"market", "book", "BTC-EUR"}},
		{exitUsage, "is no address of a node", []string{"status", "--api", "localhost"}},
	} {
		stdout, stderr, code := call(t, tc.args...)
		if code != tc.code || !strings.Contains(stderr, tc.want) {
			t.Errorf("%q: exit %d, want %d with %q: %s\n%s", tc.args, code, tc.code, tc.want, stderr, stdout)
		}
	}
	// A part that was refused: the rest is done, and the exit code says so.
	stdout, stderr, code := call(t, "op", "send", "cancel order=99", "transfer 1 USDT to "+ledger.AccountOf(personKey("bob")).String(), "-w", "alice", "--json")
	var out outcome
	if err := json.Unmarshal([]byte(stdout), &out); err != nil || code != exitOpRefused || !out.Actions[0].Refused || out.Actions[1].Refused || out.Status != api.OpFinal {
		t.Errorf("%v: exit %d: %s\n%s", err, code, stderr, stdout)
	}
}

// TestOpOpen: an operation that is not final in time says so, and can be asked for.
func TestOpOpen(t *testing.T) {
	n, _ := town(t)
	n.change(func() { n.held = true })
	stdout, stderr, code := call(t, "wallet", "send", "1", "USDT", "--to", "bob", "-w", "alice", "--timeout", "300ms")
	id := regexp.MustCompile(`bafyrei[a-z2-7]+`).FindString(stderr)
	if code != exitOpOpen || !strings.Contains(stderr, "holdfast op show "+id) || !strings.Contains(stdout, "pending") || id == "" {
		t.Fatalf("exit %d: %s\n%s", code, stderr, stdout)
	}
	if stdout, _, code = call(t, "op", "show", id); code != exitOpOpen || !strings.Contains(stdout, "pending") {
		t.Errorf("exit %d:\n%s", code, stdout)
	}
	if stdout, _, code = call(t, "wallet", "send", "2", "USDT", "--to", "bob", "-w", "alice", "--wait=false", "--json"); code != exitOK || !strings.Contains(stdout, `"pending"`) {
		t.Errorf("without waiting: exit %d:\n%s", code, stdout)
	}
	waited := make(chan int, 1)
	go func() {
		_, _, code := call(t, "op", "show", id, "--wait")
		waited <- code
	}()
	n.release()
	if code := <-waited; code != exitOK {
		t.Errorf("waiting: exit %d", code)
	}
	wants(t, must(t, "op", "show", id, "--json"), `"final"`)
	other := ledger.Digest{1}.String()
	if stdout, stderr, code = call(t, "op", "show", other); code != exitOpOpen || !strings.Contains(stdout, "unknown") || !strings.Contains(stderr, "ask another") {
		t.Errorf("unknown: exit %d: %s\n%s", code, stderr, stdout)
	}
}

// silent is an address where nobody listens.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// TestNextNode: when a node does not answer, or takes nothing, the next does.
func TestNextNode(t *testing.T) {
	n, _ := town(t)
	dead := silent(t)
	both := dead + "," + n.address
	wants(t, must(t, "wallet", "send", "1", "USDT", "--to", "bob", "-w", "alice", "--api", both), "final")
	wants(t, must(t, "status", "--api", dead, "--api", n.address), "well")
	second := &lonely{t: t, bundle: n.bundle, verifier: n.verifier, l: n.l, quorum: true, ready: true, ops: n.ops, changed: make(chan struct{}), refuse: api.ErrDiskFull}
	second.serve(t.Context())
	wants(t, must(t, "wallet", "send", "1", "USDT", "--to", "bob", "-w", "alice", "--api", second.address+","+n.address), "final")
	_, stderr, code := call(t, "wallet", "send", "1", "USDT", "--to", "bob", "-w", "alice", "--api", second.address)
	if code != exitFailure || !strings.Contains(stderr, "DISK_FULL") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	for _, args := range [][]string{{"status"}, {"healthy"}, {"market", "list"}, {"wallet", "send", "1", "USDT", "--to", "bob", "-w", "alice"}} {
		_, stderr, code := call(t, append(args, "--api", dead)...)
		if code != exitFailure || !strings.Contains(stderr, "no node answers; start one") {
			t.Errorf("%q: exit %d: %s", args, code, stderr)
		}
	}
}

// TestBundleGuards: with the bundle a client does not sign by a liar's numbers.
func TestBundleGuards(t *testing.T) {
	n, home := town(t)
	mine, other := filepath.Join(home, "mine"), filepath.Join(home, "other")
	if err := n.bundle.WriteBundle(mine); err != nil {
		t.Fatal(err)
	}
	send := []string{"wallet", "send", "1", "USDT", "--to", "bob", "-w", "alice"}
	must(t, append(send, "--bundle", mine)...)
	g := exchange(t)
	g.Name = "other"
	b, err := node.NewBundle(g, nil, personKey("signer"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.WriteBundle(other); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOLDFAST_BUNDLE", other)
	if _, stderr, code := call(t, send...); code != exitFailure || !strings.Contains(stderr, "nothing is signed") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	for name, lie := range map[string]func(*tongue){
		"decimals":      func(s *tongue) { s.names.Assets[1].Decimals = 9 },
		"symbols":       func(s *tongue) { s.names.Assets[0].Symbol, s.names.Assets[1].Symbol = "USDT", "BTC" },
		"a lot":         func(s *tongue) { s.names.Markets[0].Lot *= 10 },
		"a tick":        func(s *tongue) { s.names.Markets[0].Tick.Decimals = 0 },
		"sides":         func(s *tongue) { s.names.Markets[0].Base, s.names.Markets[0].Quote = 1, 0 },
		"fewer markets": func(s *tongue) { s.names.Markets = nil },
		"the network":   func(s *tongue) { s.network[0]++ },
	} {
		g := exchange(t)
		s := &tongue{network: n.bundle.ID(), names: ledger.Names{Assets: g.Assets, Markets: g.Markets}}
		if err := s.agrees(n.bundle); err != nil {
			t.Fatal(err)
		}
		lie(s)
		if s.agrees(n.bundle) == nil {
			t.Errorf("a lie about %s was believed", name)
		}
	}
}

func TestHealth(t *testing.T) {
	n, _ := town(t)
	wants(t, must(t, "healthy"), "The node is well.")
	wants(t, squeeze(must(t, "status")), "(example)", "aws frankfurt", "state well", "4 of 4 connected, 3 are a quorum")
	wants(t, squeeze(must(t, "peers")), "validator gcp zurich direct 1.2ms", "validator hetzner helsinki away")
	n.change(func() { n.quorum, n.ready = false, false })
	stdout, stderr, code := call(t, "healthy", "--json")
	if code != exitUnhealthy || !strings.Contains(stderr, "it sees no quorum") || !strings.Contains(stdout, `"healthy": false`) {
		t.Errorf("exit %d: %s\n%s", code, stderr, stdout)
	}
	if _, stderr, code = call(t, "healthy", "--wait", "--timeout", "300ms"); code != exitUnhealthy || !strings.Contains(stderr, "it sees no quorum") {
		t.Errorf("waiting in vain: exit %d: %s", code, stderr)
	}
	waited := make(chan int, 1)
	go func() {
		_, _, code := call(t, "healthy", "--wait", "--timeout", "1m")
		waited <- code
	}()
	n.change(func() { n.quorum, n.ready = true, true })
	if code := <-waited; code != exitOK {
		t.Errorf("waiting: exit %d", code)
	}
	n.change(func() { n.quorum = false })
	for _, args := range [][]string{{"market", "list"}, {"market", "book", "BTC-USDT"}, {"wallet", "balance", "alice"}, {"order", "list", "alice"}, {"peers"}, {"market", "trades", "BTC-USDT"}} {
		wants(t, must(t, args...), "The node sees no quorum: this is as of commit 0, 1.5s ago.")
	}
}

// TestJSONEverywhere: every command prints one JSON value when it is asked to.
func TestJSONEverywhere(t *testing.T) {
	town(t)
	for _, line := range []string{
		"status", "peers", "healthy", "market list", "market book BTC-USDT", "market trades BTC-USDT", "wallet list", "wallet show alice",
		"wallet balance alice", "wallet history alice", "order list alice", "order place BTC-USDT sell 0.5 --at 60000 -w alice",
		"order cancel 1 -w alice", "wallet send 1 USDT --to bob -w alice", "wallet withdraw 1 USDT --to x -w alice",
		"wallet deposit 1 USDT --to bob --id y -w custodian1", "config show", "version",
	} {
		stdout := must(t, append(strings.Fields(line), "--json")...)
		d := json.NewDecoder(strings.NewReader(stdout))
		var v any
		if err := d.Decode(&v); err != nil || d.More() {
			t.Errorf("%s: %v:\n%s", line, err, stdout)
		}
	}
}

// TestWatch: what happens is told, also after the node was away.
func TestWatch(t *testing.T) {
	n, _ := town(t)
	must(t, "order", "place", "BTC-USDT", "sell", "0.5", "--at", "60000", "-w", "alice")
	ctx, stop := context.WithCancel(t.Context())
	stdout, stderr := newSyncBuffer(), newSyncBuffer()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"order", "watch", "alice", "--api", silent(t) + "," + n.address}, stdout, stderr)
	}()
	until := func(want string) {
		t.Helper()
		for !strings.Contains(stdout.String(), want) {
			select {
			case <-stdout.got:
			case code := <-ended:
				t.Fatalf("it ended with %d: %s", code, stderr)
			case <-time.After(time.Minute):
				t.Fatalf("never told %q:\n%s", want, stdout)
			}
		}
	}
	until("open: order 1: sell 0.5000 at 60000.00 on BTC-USDT")
	must(t, "order", "place", "BTC-USDT", "buy", "0.2", "--at", "60000", "-w", "bob")
	until("traded 0.2000 at 60000.00")
	stop()
	if code := <-ended; code != exitOK {
		t.Errorf("exit %d: %s", code, stderr)
	}
	wants(t, stderr.String(), "trying again")
	if strings.Count(stdout.String(), "traded 0.2000") != 1 {
		t.Errorf("told twice:\n%s", stdout)
	}
}

// TestWalletLocks: the passphrase is needed to sign, and for nothing else.
func TestWalletLocks(t *testing.T) {
	_, home := town(t)
	lockedPerson(t, home, "locked", "correct horse")
	must(t, "wallet", "send", "5", "USDT", "--to", "locked", "-w", "alice")
	t.Setenv("HOLDFAST_PASSPHRASE", "wrong horse")
	wants(t, squeeze(must(t, "wallet", "balance", "locked")), "USDT 5 0")
	_, stderr, code := call(t, "wallet", "send", "1", "USDT", "--to", "bob", "-w", "locked")
	if code != exitFailure || !strings.Contains(stderr, "the passphrase is wrong") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	file := write(t, filepath.Join(home, "p"), "correct horse\n")
	must(t, "wallet", "send", "1", "USDT", "--to", "bob", "-w", "locked", "--passphrase-file", file)
	wants(t, squeeze(must(t, "wallet", "balance", "locked")), "USDT 4 0")
	must(t, "wallet", "new", "byfile", "--identity", ageIdentity(t, home))
	must(t, "wallet", "send", "5", "USDT", "--to", "byfile", "-w", "alice")
	must(t, "wallet", "send", "1", "USDT", "--to", "bob", "-w", "byfile", "--identity", filepath.Join(home, "identity"))
}

// lockedPerson is a wallet as wallet new makes it, but for the cost of guessing.
func lockedPerson(t *testing.T, home, name, passphrase string) {
	t.Helper()
	to, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	to.SetWorkFactor(4)
	var file bytes.Buffer
	fmt.Fprintf(&file, "# holdfast ed25519 %s\n", ledger.AccountOf(personKey(name)))
	armored := armor.NewWriter(&file)
	w, err := age.Encrypt(armored, to)
	if err == nil {
		_, err = io.WriteString(w, pemOf(t, personKey(name)))
	}
	if err = errors.Join(err, w.Close(), armored.Close()); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(home, ".holdfast", "wallets", name+walletSuffix), file.String())
}

// TestOddNodes: what a broken or lying node says is refused, not believed.
func TestOddNodes(t *testing.T) {
	network := func(change func(*api.Network, *api.Markets)) error {
		n := api.Network{Network: ledger.Digest{1}.String(), Assets: []api.Asset{{Asset: "BTC", Decimals: 8, WithdrawalFeeMin: "0"}, {Asset: "USDT", ID: 1, Decimals: 6, WithdrawalFeeMin: "1"}}}
		m := api.Markets{Markets: []api.Market{{Market: "BTC-USDT", Base: "BTC", Quote: "USDT", Tick: "0.01", Lot: "0.0001"}}}
		change(&n, &m)
		_, err := newTongue(n, m)
		return err
	}
	if err := network(func(*api.Network, *api.Markets) {}); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(*api.Network, *api.Markets){
		func(n *api.Network, _ *api.Markets) { n.Network = "x" },
		func(n *api.Network, _ *api.Markets) { n.Assets[1].ID = 0 },
		func(n *api.Network, _ *api.Markets) { n.Assets[1].Decimals = 300 },
		func(n *api.Network, _ *api.Markets) { n.Assets[1].Decimals = -1 },
		func(n *api.Network, _ *api.Markets) { n.Assets[1].WithdrawalFeeMin = "?" },
		func(_ *api.Network, m *api.Markets) { m.Markets[0].ID = 7 },
		func(_ *api.Network, m *api.Markets) { m.Markets[0].Base = "EUR" },
		func(_ *api.Network, m *api.Markets) { m.Markets[0].Quote = "EUR" },
		func(_ *api.Network, m *api.Markets) { m.Markets[0].Tick = "0" },
		func(_ *api.Network, m *api.Markets) { m.Markets[0].Tick = "" },
		func(_ *api.Network, m *api.Markets) { m.Markets[0].Lot = "0" },
		func(_ *api.Network, m *api.Markets) { m.Markets[0].Lot = strings.Repeat("9", 30) },
	} {
		if network(change) == nil {
			t.Errorf("case %d was believed", i)
		}
	}
}

func TestParseDecimal(t *testing.T) {
	for text, want := range map[string]ledger.Decimal{"0.01": {Units: 1, Decimals: 2}, "0.010": {Units: 1, Decimals: 2}, "1": {Units: 1}, "100": {Units: 100}, "0.25": {Units: 25, Decimals: 2}, "10.0": {Units: 10}} {
		if got, err := parseDecimal(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ".", "x", "-1", "1.", ".5", "1e3", "0." + strings.Repeat("0", 19) + "1", strings.Repeat("9", 21), fmt.Sprintf("0.%s1", strings.Repeat("0", 300))} {
		if got, err := parseDecimal(text); err == nil {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// describeNext is the example's description with replacements, without what follows its
// validators.
func describeNext(t *testing.T, pairs ...string) string {
	t.Helper()
	text, _, ok := strings.Cut(edit(t, pairs...), "[[assets]]")
	if !ok {
		t.Fatal("the example has no assets")
	}
	return text
}

// heavier makes the example's first validator weigh two.
func heavier(text string) string { return strings.Replace(text, "weight = 1", "weight = 2", 1) }

// fifth is one more validator of the example.
func fifth(key string, weight int, addr string) string {
	return fmt.Sprintf("[[validators]]\nkey = %q\nweight = %d\nprovider = \"upcloud\"\nregion = \"oslo\"\noperator = \"fifth.example\"\naddrs = [%q]\n", key, weight, addr)
}

// TestChangeRefused: what is no vote, and why; none of it reaches the node.
func TestChangeRefused(t *testing.T) {
	n, home := town(t)
	whole := fifth(strings.Repeat("a", 64), 1, "/ip4/192.0.2.5/tcp/1") + specExample[strings.Index(specExample, "[[assets]]"):strings.Index(specExample, "# Custodians")]
	whole = describeNext(t) + whole
	replaced := func(old, new string) string {
		if !strings.Contains(whole, old) {
			t.Fatalf("the description has no %q", old)
		}
		return strings.ReplaceAll(whole, old, new)
	}
	governor := ledger.AccountOf(personKey("governor1")).String()
	for _, tc := range []struct {
		name, text, wallet string
		code               int
		want               []string
	}{
		{"a provider too heavy", describeNext(t, `"gcp"`, `"aws"`), "governor1", exitRefused, []string{`provider "aws" alone could halt the network: it holds 2 of weight 4, at most 1 may be lost`, "Move validators"}},
		{"a region too heavy", describeNext(t, `"zurich"`, `"paris"`), "governor1", exitRefused, []string{`region "paris" alone`}},
		{"a weight too heavy", heavier(describeNext(t)), "governor1", exitRefused, []string{`it holds 2 of weight 5, at most 1 may be lost`}},
		{"no network", describeNext(t, "weight = 1", "wieght = 1"), "governor1", exitFailure, []string{`there is no "validators.wieght"`}},
		{"another network", describeNext(t, `"example"`, `"other"`), "governor1", exitFailure, []string{`of the network "other", the node of "example"`, "nothing is sent"}},
		{"no governor", whole, "alice", exitFailure, []string{"is no governor of this network", "the votes of 2 of these", governor}},
		{"no wallet", whole, "nobody", exitFailure, []string{"holdfast wallet list"}},
		{"another asset", whole + "[[assets]]\nsymbol = \"EUR\"\ndecimals = 2\n", "governor1", exitFailure, []string{"changes the committee and nothing else", "  asset EUR"}},
		{"an asset's fee", replaced(`withdrawal_fee_min = "1"`, `withdrawal_fee_min = "2"`), "governor1", exitFailure, []string{"  asset USDT"}},
		{"a market's fee", replaced("taker_ppm = 1000", "taker_ppm = 1"), "governor1", exitFailure, []string{"  market BTC-USDT"}},
		{"other custodians", whole + "[custodians]\nthreshold = 1\nmembers = [\"" + governor + "\"]\n", "governor1", exitFailure, []string{"  custodians"}},
		{"other governors", whole + "[governors]\nthreshold = 1\nmembers = [\"" + governor + "\"]\n", "governor1", exitFailure, []string{"  governors"}},
		{"other params", whole + "[params]\nfills_max = 7\n", "governor1", exitFailure, []string{"  params"}},
		{"balances", whole + "[[balances]]\naccount = \"" + governor + "\"\nasset = \"BTC\"\namount = \"1\"\n", "governor1", exitFailure, []string{"  balances", "--bundle"}},
		{"addresses to begin with", replaced("bootstrap = []", `bootstrap = ["/ip4/192.0.2.9/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"]`), "governor1", exitFailure, []string{"  bootstrap"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := write(t, filepath.Join(home, "next.toml"), tc.text)
			stdout, stderr, code := call(t, "network", "change", file, "-w", tc.wallet)
			if code != tc.code || stdout != "" {
				t.Errorf("exit %d, want %d:\n%s", code, tc.code, stdout)
			}
			wants(t, stderr, tc.want...)
		})
	}
	if len(n.ops) > 0 {
		t.Errorf("%d operations were sent", len(n.ops))
	}
}

// TestChangeVotes: two governors of two vote for a committee that one joins, one leaves
// and one moves in.
func TestChangeVotes(t *testing.T) {
	n, home := town(t)
	next := describeNext(t, strings.Repeat("4", 64), strings.Repeat("b", 64), `"zurich"`, `"geneva"`, "192.0.2.3", "192.0.2.33")
	file := write(t, filepath.Join(home, "next.toml"), next)
	change := func(args ...string) changeView {
		t.Helper()
		var v changeView
		if err := json.Unmarshal([]byte(must(t, append([]string{"network", "change", file, "--json"}, args...)...)), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	peer := func(i int) string { return n.bundle.Validators()[i].PeerID().String() }
	left := peer(3)

	wants(t, squeeze(must(t, "network", "change", file, "--dry-run")), "votes needed 2 of 2 governors", "joins 1 hetzner helsinki", "leaves 1 hetzner helsinki",
		"changes 1 gcp zurich -> geneva", peer(1), "/ip4/192.0.2.3/udp/4001/quic-v1 -> /ip4/192.0.2.33/udp/4001/quic-v1", "2 providers: aws+gcp")
	v := change("--dry-run")
	if len(v.Joins) != 1 || len(v.Leaves) != 1 || v.Leaves[0].Peer != left || len(v.Changes) != 2 || v.Changes[0].Was.Region != "zurich" || v.Vote != nil || v.Same || !v.NewEpoch {
		t.Errorf("the dry run says %+v", v)
	}
	if len(n.ops) > 0 {
		t.Fatal("a dry run has sent something")
	}

	wants(t, must(t, "network", "change", file, "-w", "governor1"), "leaves", "set_committee of 4 validators", "1 of 2 votes: other governors")
	_, stderr, code := call(t, "network", "change", file, "-w", "governor1")
	if code != exitOpRefused || !strings.Contains(stderr, "DUPLICATE_VOTE") {
		t.Errorf("the same vote again: exit %d: %s", code, stderr)
	}
	// Another description is another proposal.
	other := write(t, filepath.Join(home, "other.toml"), strings.Replace(next, `"geneva"`, `"bern"`, 1))
	wants(t, must(t, "network", "change", other, "-w", "governor2"), "1 of 2 votes")
	v = change("-w", "governor2")
	if !v.Decided || v.Votes != 2 || v.VotesNeed != 2 || v.Vote == nil || v.Vote.Status != api.OpFinal {
		t.Errorf("the vote says %+v", v)
	}
	if v = change("-w", "governor1"); !v.Same || v.Vote != nil {
		t.Errorf("of the committee there is: %+v", v)
	}
	wants(t, must(t, "network", "change", file), "there is nothing to vote for")

	// Words alone begin no epoch.
	file = write(t, filepath.Join(home, "next.toml"), strings.Replace(next, `"geneva"`, `"basel"`, 1))
	wants(t, must(t, "network", "change", file, "--dry-run"), "geneva -> basel", "no epoch begins")
}

// TestCommitteeChanges is a running network of which governors change the committee: the
// validators' weights, and a fifth that has been an observer. The network goes on with
// it, also when one of the five is away, and the fifth comes back as what it is.
func TestCommitteeChanges(t *testing.T) {
	if testing.Short() {
		t.Skip("five real nodes")
	}
	home := isolated(t)
	governors := fmt.Sprintf("threshold = 2\nmembers = [%q, %q]", person(t, home, "governor1"), person(t, home, "governor2"))
	pairs := []string{"threshold = 1\nmembers = [\"" + strings.Repeat("8", 64) + "\"]", governors, strings.Repeat("9", 64), person(t, home, "alice")}
	nodes, bundle := makeNodes(t, 5, pairs...)
	must(t, "join", bundle, "--data-dir", nodes[4].dir)
	joins := []string{"--provider", "upcloud", "--announce", nodes[4].address()}
	for _, n := range nodes[:4] {
		n.start(t)
	}
	nodes[4].start(t, joins...)
	for _, n := range nodes {
		well(t, n.api)
	}
	t.Setenv("HOLDFAST_BUNDLE", bundle)

	for i, n := range nodes[:4] {
		pairs = append(pairs, strings.Repeat(fmt.Sprint(i+1), 64), n.key, fmt.Sprintf("/ip4/192.0.2.%d/udp/4001/quic-v1", i+1), n.address())
	}
	pairs = append(pairs, `, "/ip4/192.0.2.1/tcp/4001"`, "", "weight = 1", "weight = 2")
	head, rest, _ := strings.Cut(edit(t, pairs...), "[[assets]]")
	file := write(t, filepath.Join(home, "next.toml"), head+fifth(nodes[4].key, 2, nodes[4].address())+"[[assets]]"+rest)
	wants(t, squeeze(must(t, "network", "change", file, "-w", "governor1", "--api", nodes[0].api)), "joins 2 upcloud", "changes 1 -> 2 aws", "1 of 2 votes")
	wants(t, must(t, "network", "change", file, "-w", "governor2", "--api", nodes[1].api), "2 of 2 votes: the next epoch begins")
	committee := func(n *running) (c api.Committee) {
		t.Helper()
		client, err := api.NewClient(n.api)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = client.Committee(t.Context()); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, n := range nodes {
		eventually(t, "the next epoch, with everybody's weight", func() bool {
			c := committee(n)
			return c.Epoch == 1 && c.Weight == 10 && c.Quorum == 7 && len(c.Validators) == 5
		})
	}
	for _, n := range nodes {
		well(t, n.api)
	}
	nodes[3].end(t)
	final(t, nodes[4].api, "wallet", "send", "1", "USDT", "--to", "governor1", "-w", "alice", "--api", nodes[0].api)
	final(t, nodes[0].api, "wallet", "send", "1", "USDT", "--to", "governor1", "-w", "alice", "--api", nodes[4].api)
	nodes[3].start(t)
	well(t, nodes[3].api)
	nodes[4].end(t)
	nodes[4].start(t, joins...)
	well(t, nodes[4].api)
	wants(t, squeeze(must(t, "status", "--api", nodes[4].api)), "validator", "of epoch 1")
	if c := committee(nodes[4]); len(c.Validators) != 5 || !c.Validators[4].Self || c.Validators[4].Weight != 2 {
		t.Errorf("the fifth's committee is %+v", c)
	}
	wants(t, must(t, "network", "change", file, "--api", nodes[2].api), "there is nothing to vote for")
}

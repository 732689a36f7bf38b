package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestTreeAgainstPlain compares the kept tree with one built from scratch, in
// sizes around the powers of two, and climbs every path.
func TestTreeAgainstPlain(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var kept tree
	var leaves []Digest
	for len(leaves) < 70 {
		for range 1 + rng.IntN(3) {
			leaf := sha256.Sum256(fmt.Append(nil, rng.Uint64()))
			leaves = append(leaves, leaf)
			kept.set(uint32(len(leaves)-1), leaf)
		}
		for range rng.IntN(3) {
			at := rng.IntN(len(leaves))
			leaves[at] = sha256.Sum256(fmt.Append(nil, rng.Uint64()))
			kept.set(uint32(at), leaves[at])
		}
		root := kept.root()
		if want := plainRoot(leaves); root != want {
			t.Fatalf("of %d leaves the root is %x, want %x", len(leaves), root, want)
		}
		for at := range leaves {
			path := kept.path(nil, uint32(at))
			if got, ok := climb(leaves[at], uint32(at), uint32(len(leaves)), path); !ok || got != root {
				t.Fatalf("the path of leaf %d of %d climbs to %x, %v", at, len(leaves), got, ok)
			}
			if _, ok := climb(leaves[at], uint32(at), uint32(len(leaves)), append(path, make([]byte, 32)...)); ok {
				t.Fatal("a path with one sibling too many climbs")
			}
		}
	}
}

func plainRoot(row []Digest) Digest {
	for len(row) > 1 {
		var above []Digest
		for pair := range slices.Chunk(row, 2) {
			if len(pair) == 2 {
				above = append(above, sha256.Sum256(slices.Concat([]byte{1}, pair[0][:], pair[1][:])))
			} else {
				above = append(above, pair[0])
			}
		}
		row = above
	}
	return row[0]
}

// busyWorld has something of everything.
func busyWorld(t testing.TB) *world {
	w := newWorld(t, plainGenesis())
	named := limit(Buy, 90, 7)
	copy(named.ClientID[:], "mine")
	gtd := limit(Sell, 120, 3)
	gtd.TIF, gtd.ExpireAtMs = GTD, startMs+5_000
	w.do("A", limit(Sell, 100, 10), limit(Buy, 99, 10), named, gtd)
	w.do("B", limit(Buy, 100, 4), limit(Buy, 99, 1))
	w.do("C", Action{Kind: KindWithdraw, Asset: 0, Amount: Units(5), Detail: &Detail{Fee: Units(1), Reference: "there"}})
	w.do("k1", Action{Kind: KindSignWithdrawal, Withdrawal: 1})
	attest := func(id string, amount uint64) Action {
		return Action{Kind: KindAttestDeposit, Amount: Units(amount), Detail: &Detail{Account: name("F"), Reference: id}}
	}
	w.do("k1", attest("one", 5), attest("two", 6))
	w.do("k2", attest("one", 5), attest("two", 7))
	w.do("g1", Action{Kind: KindSetMarketStatus, Status: StatusHalt})
	w.commit(w.sign("nobody", limit(Buy, 1, 1)))
	return w
}

// TestProof verifies each account's proof, and refuses every proof with one bit
// changed, one byte more or one byte less, another root and another key.
func TestProof(t *testing.T) {
	w := busyWorld(t)
	root := w.l.Root()
	for of := AccountRef(1); int(of) <= w.l.Accounts(); of++ {
		key := w.l.Account(of)
		proof, ok := w.l.AppendProof(nil, key)
		if !ok {
			t.Fatalf("no proof of account %d", of)
		}
		state, head, err := VerifyProof(root, key, proof)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := w.l.State(key)
		if fmt.Sprint(state) != fmt.Sprint(want) || head.Commit != w.l.index {
			t.Fatalf("proved %v at commit %d, want %v", state, head.Commit, want)
		}
		for bit := range 8 * len(proof) {
			proof[bit/8] ^= 1 << (bit % 8)
			if _, _, err := VerifyProof(root, key, proof); err == nil {
				t.Fatalf("account %d: the proof holds with bit %d changed", of, bit)
			}
			proof[bit/8] ^= 1 << (bit % 8)
		}
		for n := range proof {
			if _, _, err := VerifyProof(root, key, proof[:n]); err == nil {
				t.Fatalf("account %d: %d bytes of the proof hold", of, n)
			}
		}
		if _, _, err := VerifyProof(root, key, append(slices.Clone(proof), 0)); err == nil {
			t.Fatal("a proof holds with a byte more")
		}
		if _, _, err := VerifyProof(root, name("X"), proof); err == nil {
			t.Fatal("a proof holds for another account")
		}
	}
	if _, ok := w.l.AppendProof(nil, name("X")); ok {
		t.Fatal("a proof of an account that is not there")
	}
	w.do("A", limit(Buy, 1, 1))
	proof, _ := w.l.AppendProof(nil, name("A"))
	if _, _, err := VerifyProof(root, name("A"), proof); err == nil {
		t.Fatal("a proof holds under an older root")
	}
}

// TestCommitteeProof verifies a proof of the committee, and refuses it with one bit
// changed, a byte more or less, or under another root.
func TestCommitteeProof(t *testing.T) {
	w := busyWorld(t)
	committee := &Committee{Validators: []Validator{{Key: name("v1"), Weight: 3, About: []byte("about it")}, {Key: name("v2"), Weight: 4}}}
	for _, governor := range []string{"g1", "g2"} {
		w.do(governor, Action{Kind: KindSetCommittee, Detail: &Detail{NewCommittee: committee}})
	}
	root, want := w.l.Root(), w.l.Committee()
	if fmt.Sprint(want) != fmt.Sprint(*committee) {
		t.Fatalf("the committee is %v", want)
	}
	proof := w.l.AppendCommitteeProof(nil)
	got, head, err := VerifyCommitteeProof(root, proof)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) || head.Commit != w.l.index {
		t.Fatalf("proved %v at commit %d: %v", got, head.Commit, err)
	}
	for bit := range 8 * len(proof) {
		proof[bit/8] ^= 1 << (bit % 8)
		if _, _, err := VerifyCommitteeProof(root, proof); !errors.Is(err, ErrProof) {
			t.Fatalf("the proof holds with bit %d changed: %v", bit, err)
		}
		proof[bit/8] ^= 1 << (bit % 8)
	}
	for _, n := range []int{0, headBytes, headBytes + 3, len(proof) - 1} {
		if _, _, err := VerifyCommitteeProof(root, proof[:n]); !errors.Is(err, ErrProof) {
			t.Fatalf("%d bytes of the proof hold: %v", n, err)
		}
	}
	if _, _, err := VerifyCommitteeProof(root, append(slices.Clone(proof), 0)); err == nil {
		t.Fatal("a proof holds with a byte more")
	}
	w.do("A", limit(Buy, 1, 1))
	if _, _, err := VerifyCommitteeProof(w.l.Root(), proof); err == nil {
		t.Fatal("a proof holds under a later root")
	}
}

// TestRootCoversTheState changes one thing at a time and sees another root each
// time.
func TestRootCoversTheState(t *testing.T) {
	base := busyWorld(t).l.Root()
	if busyWorld(t).l.Root() != base {
		t.Fatal("the same commits give another root")
	}
	l := func() *Ledger { return busyWorld(t).l }
	order := func(l *Ledger) *order { return &l.orders.records[l.orderByID(1)] }
	changes := map[string]func(*Ledger){
		"a balance":        func(l *Ledger) { l.wallets.records[1].available = Units(1) },
		"a hold":           func(l *Ledger) { l.wallets.records[1].held = Units(1) },
		"an order's price": func(l *Ledger) { order(l).price++ },
		"what remains":     func(l *Ledger) { order(l).remaining++ },
		"what executed":    func(l *Ledger) { order(l).executed++ },
		"a name":           func(l *Ledger) { l.extras.records[1].name[3]++ },
		"an expiry":        func(l *Ledger) { l.extras.records[2].expireAtMs++ },
		"a nonce":          func(l *Ledger) { l.nonces[l.accountOf(ptr(name("A")))].all[0].Nonce-- },
		"a result":         func(l *Ledger) { l.nonces[l.accountOf(ptr(name("A")))].all[0].Refused++ },
		"a floor":          func(l *Ledger) { l.nonces[l.accountOf(ptr(name("A")))].floor++ },
		"a withdrawal":     func(l *Ledger) { l.withdrawals.records[1].votes[0]++ },
		"an address":       func(l *Ledger) { l.withdrawals.records[1].address = "their" },
		"a deposit":        func(l *Ledger) { l.deposits[1].credited = false },
		"a claim":          func(l *Ledger) { l.deposits[2].claims[1].votes++ },
		"a proposal":       func(l *Ledger) { l.proposals[0].votes++ },
		"a refusal":        func(l *Ledger) { l.refusals[0].id[0]++ },
		"a refusal's time": func(l *Ledger) { l.refusals[0].commit++ },
		"a parameter":      func(l *Ledger) { l.params.ReopenMs++ },
		"a status":         func(l *Ledger) { l.books[0].Status++ },
		"a last price":     func(l *Ledger) { l.books[0].last++ },
		"fees":             func(l *Ledger) { l.assets[0].fees = Units(9) },
		"deposited":        func(l *Ledger) { l.assets[1].deposited = Units(9) },
		"withdrawn":        func(l *Ledger) { l.assets[1].withdrawn = Units(9) },
		"the index":        func(l *Ledger) { l.index++ },
		"the time":         func(l *Ledger) { l.timeMs++ },
		"the digest":       func(l *Ledger) { l.digest[0]++ },
		"the next order":   func(l *Ledger) { l.lastID++ },
		"the next payment": func(l *Ledger) { l.lastWithdrawal++ },
		"reopening":        func(l *Ledger) { l.reopenUntilMs++ },
		"the network":      func(l *Ledger) { l.network[0]++ },
	}
	for what, change := range changes {
		c := l()
		change(c)
		for of := AccountRef(1); int(of) < len(c.accounts); of++ {
			c.touch(of)
		}
		c.merkle.touches, c.merkle.rules = []uint32{1, 2}, true
		if c.Root() == base {
			t.Errorf("%s changed and the root did not", what)
		}
	}
}

func ptr[T any](v T) *T { return &v }

// TestRootWhateverIsRead asks one of two ledgers for everything after each
// commit.
func TestRootWhateverIsRead(t *testing.T) {
	quiet, asked := newWorld(t, plainGenesis()), newWorld(t, plainGenesis())
	rng := rand.New(rand.NewPCG(3, 3))
	for range 300 {
		who := string("ABCDE"[rng.IntN(5)])
		a := limit(Side(rng.IntN(2)), Ticks(95+rng.IntN(10)), Lots(1+rng.IntN(5)))
		for _, w := range []*world{quiet, asked} {
			w.time += 10
			w.do(who, a)
		}
		asked.l.Root()
		asked.l.AppendProof(nil, name(who))
		asked.l.AppendSnapshot(nil)
		asked.l.State(name(who))
		asked.l.Depth(nil, 0, Buy, 5)
		asked.l.Check(asked.sign(who, a))
		asked.nonce--
	}
	if quiet.l.Root() != asked.l.Root() {
		t.Fatal("reading changed the root")
	}
}

// FuzzVerifyProof: no bytes but the proof itself prove anything, and none panic.
func FuzzVerifyProof(f *testing.F) {
	w := busyWorld(f)
	key, root := name("A"), w.l.Root()
	proof, _ := w.l.AppendProof(nil, key)
	f.Add(proof)
	f.Add(proof[:headBytes+8])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := VerifyProof(root, key, b); (err == nil) != bytes.Equal(b, proof) {
			t.Errorf("%x: %v", b, err)
		}
	})
}

// FuzzVerifyCommitteeProof: the same of the committee's proof.
func FuzzVerifyCommitteeProof(f *testing.F) {
	w := busyWorld(f)
	root, proof := w.l.Root(), w.l.AppendCommitteeProof(nil)
	f.Add(proof)
	f.Add(proof[:headBytes+8])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := VerifyCommitteeProof(root, b); (err == nil) != bytes.Equal(b, proof) {
			t.Errorf("%x: %v", b, err)
		}
	})
}

// BenchmarkRoot is the root after 1 000 changed accounts of 1 000 000, each of
// which owns two assets and has sent two ops.
func BenchmarkRoot(b *testing.B) {
	const accounts, changed = 1_000_000, 1_000
	l, err := New(plainGenesis())
	if err != nil {
		b.Fatal(err)
	}
	for i := range accounts {
		of := l.addAccount(ptr(name(fmt.Sprintf("%08d", i))))
		for asset := range AssetID(2) {
			if !l.assets[asset].deposit(&l.wallets.records[l.needWallet(of, asset)], Units(1_000)) {
				b.Fatal("overflow")
			}
		}
		for n := range uint64(2) {
			l.nonces[of].keep(Result{Nonce: startMs + n}, 100)
		}
	}
	l.Root()
	rng := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	for b.Loop() {
		for range changed {
			of := AccountRef(1 + rng.IntN(accounts))
			l.wallets.records[l.walletOf(of, 0)].available = Units(rng.Uint64())
			l.touch(of)
		}
		l.Root()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1_000, "ms/root")
}

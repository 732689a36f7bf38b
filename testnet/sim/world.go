package sim

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// The exchange that every run trades on: three assets, two markets with fees of
// either sign, custodians and governors that decide by two of three.
const (
	btc  = ledger.AssetID(0)
	eth  = ledger.AssetID(1)
	usdt = ledger.AssetID(2)

	tradersDefault = 8
	councilSize    = 3
	councilNeeds   = 2
)

// who names a party of a run and its number; the key follows from both.
type who struct {
	role   string
	number int
}

// key is the party's key. It is the same in every run, so that a seed's bytes
// differ from another's by what happened alone.
func (w who) key() ed25519.PrivateKey {
	b := binary.BigEndian.AppendUint32([]byte("holdfast simulated "+w.role), uint32(w.number))
	seed := sha256.Sum256(b)
	return ed25519.NewKeyFromSeed(seed[:])
}

// council makes the members of a council and their keys, by account.
func council(role string) (ledger.Council, []ed25519.PrivateKey) {
	c := ledger.Council{Threshold: councilNeeds}
	keys := make([]ed25519.PrivateKey, councilSize)
	for i := range keys {
		keys[i] = who{role, i}.key()
	}
	sortKeys(keys)
	for _, k := range keys {
		c.Members = append(c.Members, ledger.AccountOf(k))
	}
	return c, keys
}

// world is who takes part in a run.
type world struct {
	genesis    *ledger.Genesis
	network    ledger.Digest
	validators []ed25519.PrivateKey
	traders    []ed25519.PrivateKey
	custodians []ed25519.PrivateKey
	governors  []ed25519.PrivateKey
}

func newWorld(weights []int, traders int) *world {
	w := &world{genesis: &ledger.Genesis{
		Name: "simulated",
		Assets: []ledger.Asset{
			{Symbol: "BTC", Decimals: 8, WithdrawalFeeMin: ledger.Units(1_000)},
			{Symbol: "ETH", Decimals: 18, WithdrawalFeeMin: ledger.Units(1_000_000)},
			{Symbol: "USDT", Decimals: 6, WithdrawalFeeMin: ledger.Units(1_000)},
		},
		Params: ledger.DefaultParams(),
	}}
	g := w.genesis
	g.Markets = []ledger.Market{
		// A tick of 0.01 USDT for a BTC and a lot of 0.0001 BTC: one unit of USDT.
		{Base: btc, Quote: usdt, Tick: ledger.Decimal{Units: 1, Decimals: 2}, Lot: 10_000,
			MinNotional: ledger.Units(1_000_000), MakerPPM: -50, TakerPPM: 400, BandPPM: 100_000,
			Reference: 6_000_000, STP: ledger.ExpireMaker},
		{Base: eth, Quote: usdt, Tick: ledger.Decimal{Units: 1, Decimals: 2}, Lot: 100_000_000_000_000,
			MinNotional: ledger.Units(1_000_000), MakerPPM: 100, TakerPPM: 100, STP: ledger.Decrement},
	}
	g.Custodians, w.custodians = council("custodian")
	g.Governors, w.governors = council("governor")
	for i, weight := range weights {
		key := who{"validator", i}.key()
		w.validators = append(w.validators, key)
		g.Committee.Validators = append(g.Committee.Validators, ledger.Validator{Key: ledger.AccountOf(key), Weight: uint64(weight)})
	}
	for i := range traders {
		w.traders = append(w.traders, who{"trader", i}.key())
	}
	sortKeys(w.traders)
	for _, key := range w.traders {
		a := ledger.AccountOf(key)
		tokens, _ := ledger.Units(1_000_000_000_000_000_000).Mul(100)
		g.Balances = append(g.Balances,
			ledger.Balance{Account: a, Asset: btc, Amount: ledger.Units(5 * 100_000_000)},
			ledger.Balance{Account: a, Asset: eth, Amount: tokens},
			ledger.Balance{Account: a, Asset: usdt, Amount: ledger.Units(300_000 * 1_000_000)},
		)
	}
	id, err := g.ID()
	if err != nil {
		panic("sim: invariant broken: the world's genesis: " + err.Error())
	}
	w.network = id
	return w
}

// sortKeys orders keys by account, as a genesis must list them.
func sortKeys(keys []ed25519.PrivateKey) {
	slices.SortFunc(keys, func(a, b ed25519.PrivateKey) int {
		return bytes.Compare(a.Public().(ed25519.PublicKey), b.Public().(ed25519.PublicKey))
	})
}

// newRules are the rules of the first epoch's blocks, without a look into their
// payload.
func newRules(w *world) *dag.Rules {
	var members []dag.Member
	for _, v := range w.genesis.Committee.Validators {
		members = append(members, dag.Member{Key: v.Key, Weight: v.Weight})
	}
	committee, err := dag.NewCommittee(members)
	if err != nil {
		panic("sim: invariant broken: the world's committee: " + err.Error())
	}
	return &dag.Rules{Network: dag.Digest(w.network), Committee: committee, Limits: dag.DefaultLimits()}
}

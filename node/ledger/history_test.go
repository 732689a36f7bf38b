package ledger

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what happens into testdata/history instead of comparing")

// TestHistories plays the histories in testdata/history. A history is stanzas: a
// command per line, a line ----, and what happened. Each op is a commit of its
// own, unless the stanza says that they come together. After each commit all invariants are checked, and a ledger restored
// from a snapshot goes on in its place.
//
//	new [k=v ...]                a ledger: A to E own 1000000 BASE and QUOTE each
//	WHO buy|sell PRICE xQTY [post|ioc|fok] [until=+MS] [name=N] [stp=MODE]
//	WHO market buy|sell xQTY | budget=N
//	WHO cancel|amend|replace TARGET [xQTY | force order...]; TARGET is #id or a name
//	WHO cancel-all
//	WHO transfer|withdraw|attest|...
//	time +MS                     before the next commit
//	together                     the stanza's ops are one commit
//	book, wallets WHO...         print
func TestHistories(t *testing.T) {
	files, err := filepath.Glob("testdata/history/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no histories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := playHistory(t, string(b))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(b) {
				t.Errorf("the history went otherwise (-rewrite renews it):\n%s", firstDifference(string(b), got))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\n want %s\n got  %s", i+1, w[i], g[i])
		}
	}
	return fmt.Sprintf("%d lines, got %d", len(w), len(g))
}

func playHistory(t *testing.T, text string) string {
	var out strings.Builder
	h := &history{world: newWorld(t, plainGenesis()), out: &out}
	for stanza := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		commands, _, _ := strings.Cut(stanza, "----")
		var ops []Op
		for line := range strings.Lines(commands) {
			out.WriteString(line)
			line = strings.TrimSpace(line)
			if line != "" && line[0] != '#' {
				ops = h.command(strings.Fields(line), ops)
			}
		}
		if !strings.Contains(stanza, "----") {
			out.WriteString("\n\n") // a comment alone
			continue
		}
		out.WriteString("----\n")
		if h.together || len(ops) == 0 && h.idle {
			h.play(ops)
		} else {
			for i := range ops {
				h.play(ops[i : i+1])
			}
		}
		h.idle, h.together = false, false
		for _, print := range h.prints {
			print()
		}
		h.prints = nil
		out.WriteString("\n")
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}

type history struct {
	*world
	out      *strings.Builder
	idle     bool // commit even without ops
	together bool
	prints   []func()
}

// play commits ops and writes what happened.
func (h *history) play(ops []Op) {
	for _, e := range h.commit(ops...) {
		h.out.WriteString(h.text(&e) + "\n")
	}
	h.l = restored(h.t, h.l, 1<<20)
}

// command runs or collects one line.
func (h *history) command(f []string, ops []Op) []Op {
	switch f[0] {
	case "new":
		h.fresh(f[1:])
	case "time":
		h.time += int64(h.number(f[1]))
		h.nonce = max(h.nonce, uint64(h.time))
		h.idle = true
	case "together":
		h.together = true
	case "book":
		h.prints = append(h.prints, h.book)
	case "wallets":
		h.prints = append(h.prints, func() { h.wallets(f[1:]) })
	default:
		return append(ops, h.opOf(f))
	}
	return ops
}

func (h *history) fail(format string, args ...any) {
	h.t.Helper()
	h.t.Fatalf("history: "+format, args...)
}

func (h *history) number(s string) uint64 {
	n, err := strconv.ParseUint(strings.TrimLeft(s, "+x#"), 10, 64)
	if err != nil {
		h.fail("%q is no number", s)
	}
	return n
}

func (h *history) fresh(options []string) {
	m := plainMarket()
	g := plainGenesis()
	for _, o := range options {
		k, v, _ := strings.Cut(o, "=")
		rate, _ := strconv.Atoi(v)
		switch k {
		case "maker":
			m.MakerPPM = int32(rate)
		case "taker":
			m.TakerPPM = int32(rate)
		case "fees":
			m.FeeAsset = map[string]FeeAsset{"received": FeeReceived, "quote": FeeQuote}[v]
		case "band":
			m.BandPPM = uint32(rate)
		case "reference":
			m.Reference = Ticks(rate)
		case "min":
			m.MinNotional = Units(uint64(rate))
		case "open":
			m.OpenOrdersMax = uint32(rate)
		case "fills":
			g.Params.FillsMax = uint32(rate)
		case "nonces":
			g.Params.NonceWindow = uint32(rate)
		default:
			h.fail("new: %q", o)
		}
	}
	g.Markets = []Market{m}
	h.world = newWorld(h.t, g)
}

var stpWords = map[string]STP{"maker": ExpireMaker, "taker": ExpireTaker, "both": ExpireBoth, "decrement": Decrement, "allow": AllowSelf}

// opOf is one op; a + between words separates its actions.
func (h *history) opOf(f []string) Op {
	who, nonce, late := f[0], uint64(0), int64(0)
	var actions []Action
	for part := range splitWords(f[1:], "+") {
		if k, v, ok := strings.Cut(part[0], "="); ok && k == "nonce" {
			nonce = h.number(v) + startMs
			part = part[1:]
		}
		if k, v, ok := strings.Cut(part[0], "="); ok && k == "late" {
			late = int64(h.number(v))
			part = part[1:]
		}
		actions = append(actions, h.actionOf(part))
	}
	if nonce == 0 {
		h.nonce++
		nonce = h.nonce
	}
	h.time -= late
	op := h.signAt(who, nonce, actions...)
	h.time += late
	return op
}

func splitWords(f []string, at string) func(func([]string) bool) {
	return func(yield func([]string) bool) {
		for len(f) > 0 {
			n := slices.Index(f, at)
			if n < 0 {
				n = len(f)
			}
			if !yield(f[:n]) {
				return
			}
			f = f[min(n+1, len(f)):]
		}
	}
}

func (h *history) actionOf(f []string) (a Action) {
	assets := map[string]AssetID{"BASE": 0, "QUOTE": 1}
	detail := func() *Detail { a.Detail = &Detail{}; return a.Detail }
	switch f[0] {
	case "buy", "sell", "market":
		a.Kind = KindPlace
		h.order(&a, f)
	case "cancel":
		a.Kind = KindCancel
		h.targetOf(&a, f[1])
	case "amend":
		a.Kind = KindAmend
		h.targetOf(&a, f[1])
		a.Quantity = Lots(h.number(f[2]))
	case "replace":
		a.Kind = KindReplace
		h.targetOf(&a, f[1])
		rest := f[2:]
		if rest[0] == "force" {
			a.ContinueOnFailure, rest = true, rest[1:]
		}
		h.order(&a, rest)
	case "cancel-all":
		a = Action{Kind: KindCancelAll, AllMarkets: true}
	case "transfer":
		a = Action{Kind: KindTransfer, Asset: assets[f[2]], Amount: Units(h.number(f[3]))}
		detail().Account = name(f[1])
	case "withdraw":
		a = Action{Kind: KindWithdraw, Asset: assets[f[1]], Amount: Units(h.number(f[2]))}
		detail().Fee = Units(h.number(f[3]))
		a.Detail.Reference = "address"
	case "attest":
		a = Action{Kind: KindAttestDeposit, Asset: assets[f[3]], Amount: Units(h.number(f[4]))}
		*detail() = Detail{Reference: f[1], Account: name(f[2])}
	case "cancel-withdrawal", "sign", "complete", "fail":
		a.Kind = map[string]Kind{"cancel-withdrawal": KindCancelWithdrawal, "sign": KindSignWithdrawal, "complete": KindCompleteWithdrawal, "fail": KindFailWithdrawal}[f[0]]
		a.Withdrawal = WithdrawalID(h.number(f[1]))
		detail()
	case "status":
		a = Action{Kind: KindSetMarketStatus, Status: map[string]Status{"trading": StatusTrading, "post-only": StatusPostOnly, "cancel-only": StatusCancelOnly, "halt": StatusHalt}[f[1]]}
	case "list":
		a = Action{Kind: KindListAsset}
		detail().NewAsset = &Asset{Symbol: f[1]}
	case "nonce-window":
		a = Action{Kind: KindSetParams}
		p := h.l.params
		p.NonceWindow = uint32(h.number(f[1]))
		detail().NewParams = &p
	default:
		h.fail("action %q", f)
	}
	return a
}

func (h *history) targetOf(a *Action, s string) {
	if s[0] == '#' {
		a.Order = OrderID(h.number(s))
		return
	}
	copy(a.Target[:], s)
}

func (h *history) order(a *Action, f []string) {
	if f[0] == "market" {
		a.Type, f = MarketOrder, f[1:]
	}
	a.Side = map[string]Side{"buy": Buy, "sell": Sell}[f[0]]
	f = f[1:]
	if a.Type != MarketOrder {
		a.Price, f = Ticks(h.number(f[0])), f[1:]
	}
	for _, o := range f {
		switch k, v, _ := strings.Cut(o, "="); {
		case o[0] == 'x':
			a.Quantity = Lots(h.number(o))
		case o == "post":
			a.Type = PostOnly
		case o == "ioc":
			a.TIF = IOC
		case o == "fok":
			a.TIF = FOK
		case k == "until":
			a.TIF, a.ExpireAtMs = GTD, h.time+int64(h.number(v))
		case k == "name":
			copy(a.ClientID[:], v)
		case k == "budget":
			a.Amount = Units(h.number(v))
		case k == "stp" && stpWords[v] != 0:
			a.STP = stpWords[v]
		default:
			h.fail("order option %q", o)
		}
	}
}

// who is an account's short name.
func (h *history) who(of AccountRef) string {
	key := h.l.Account(of)
	return strings.TrimRight(string(key[:31]), "\x00")
}

var sideWords = [...]string{"buy", "sell"}

func units(a Amount) uint64 { return a.lo }

// text is an event as a line.
func (h *history) text(e *Event) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, " "+format, args...) }
	if e.Account != 0 {
		b.WriteString(h.who(e.Account) + " ")
	}
	b.WriteString(e.Kind.String())
	if e.Reason != ReasonNone {
		say("%v", e.Reason)
	}
	switch e.Kind {
	case EventTrade:
		say("#%d %s x%d at %d with #%d of %s: %d; fees %d/%d; maker %v, %d left",
			e.Order, sideWords[e.Side], e.Quantity, e.Price, e.Maker, h.who(e.Counterparty), units(e.Amount), fee(e.Fee, e.Rebate), fee(e.MakerFee, e.MakerRebate), e.State, e.Remaining)
	case EventPlaced, EventCanceled, EventExpired, EventReduced:
		say("#%d %s", e.Order, sideWords[e.Side])
		if e.Price != 0 {
			say("at %d", e.Price)
		}
		say("%v executed %d, %d left", e.State, e.Executed, e.Remaining)
		if e.Kind == EventPlaced && e.Executed > 0 {
			say("for %d", units(e.Amount))
		}
		if e.Kind == EventReduced {
			say("by %d", e.Quantity)
		}
	case EventAllCanceled:
		say("%d orders", e.Quantity)
	case EventTransferred:
		say("to %s: %d of asset %d", h.who(e.Counterparty), units(e.Amount), e.Asset)
	case EventAttested, EventDeposited:
		say("%d of asset %d, %d votes", units(e.Amount), e.Asset, e.Votes)
	case EventWithdrawal:
		say("#%d %v: %d + %d of asset %d, %d votes", e.Withdrawal, e.WithdrawalState, units(e.Amount), units(e.Fee), e.Asset, e.Votes)
	case EventVoted:
		say("%d votes", e.Votes)
	case EventMarketStatus:
		say("%d", e.Status)
	case EventDuplicate:
		say("of commit %d", e.First)
	case EventReopening:
		say("until +%d", e.UntilMs-h.time)
	}
	if e.Op != NoOp && e.Action == NoAction {
		say("(the whole op)")
	}
	return b.String()
}

func fee(a Amount, rebate bool) int64 {
	if rebate {
		return -int64(units(a))
	}
	return int64(units(a))
}

func (h *history) book() {
	for _, side := range []Side{Sell, Buy} {
		var lines []string
		h.l.Book(0, side, func(o OpenOrder, of AccountRef) bool {
			lines = append(lines, fmt.Sprintf("%s %d x%d #%d %s\n", sideWords[side], o.Price, o.Remaining, o.ID, h.who(of)))
			return true
		})
		if side == Sell {
			slices.Reverse(lines)
		}
		for _, line := range lines {
			h.out.WriteString(line)
		}
	}
}

func (h *history) wallets(who []string) {
	for _, n := range who {
		if n == "fees" {
			for _, a := range h.l.Assets() {
				fmt.Fprintf(h.out, "fees %s %d\n", a.Symbol, units(a.Fees))
			}
			continue
		}
		state, _ := h.l.State(name(n))
		for _, b := range state.Balances {
			fmt.Fprintf(h.out, "%s %s %d, %d held\n", n, h.l.assets[b.Asset].Symbol, units(b.Available), units(b.Held))
		}
	}
}

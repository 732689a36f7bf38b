package testnet

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// recorded is a run that was recorded: four real nodes, one of them cut off for five
// of ten seconds (scenario "small" of testdata/small.toml). Record another, when the
// format changes, with: holdfast testnet run testnet/testdata/small.toml
func recorded(t *testing.T) *history { return recordedIn(t, "run.tar.gz") }

// recordedIn reads a run that was recorded into an archive of testdata.
func recordedIn(t *testing.T, archive string) *history {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open(filepath.Join("testdata", archive))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(z); ; {
		head, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if head.Typeflag != tar.TypeReg {
			continue
		}
		b, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(head.Name)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h, err := readHistory(dir)
	if err != nil {
		t.Fatal(err)
	}
	h.patience = 2 * time.Second // a wrong history is searched for an order to the end
	return h
}

func promiseOf(t *testing.T, all []Promise, name string) Promise {
	t.Helper()
	i := slices.IndexFunc(all, func(p Promise) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("there is no promise %q", name)
	}
	return all[i]
}

func TestARecordedRunHolds(t *testing.T) {
	h := recorded(t)
	all := judge(t.Context(), h)
	for _, p := range all {
		if p.Outcome != Held {
			t.Errorf("%s: %s: %s", p.Name, p.Outcome, p.Why)
		}
	}
	if v := verdictOf(all); v != Held {
		t.Errorf("the verdict is %s", v)
	}
	if c := count(h); c.Final < 200 || c.Unknown != 0 {
		t.Errorf("counted %+v", c)
	}
}

// find returns the first operation that is as wanted.
func find(t *testing.T, h *history, want func(*OpRecord) bool) *OpRecord {
	t.Helper()
	for i := range h.ops {
		if want(&h.ops[i]) {
			return &h.ops[i]
		}
	}
	t.Fatal("the record has no such operation")
	return nil
}

func finalOf(kind string) func(*OpRecord) bool {
	return func(o *OpRecord) bool { return o.Kind == kind && o.Status == api.OpFinal && !o.Refused }
}

// outside is an operation asked for away from the node that was cut off.
func outside(o *OpRecord) bool { return o.Provider != "aws" && o.Status == api.OpFinal }

// duringCut is a time in the middle of the cut.
func duringCut(h *history) int64 { return (h.faults[0].At + h.faults[1].At) / 2 }

// planted are edits of the record, each of which breaks one promise.
var planted = []struct {
	name    string
	promise string
	want    Outcome
	edit    func(*testing.T, *history)
}{
	{"a node has another commit", "one order on all nodes", Broken, func(_ *testing.T, h *history) {
		h.commits[2][40].Commit = h.commits[2][41].Commit
	}},
	{"a node takes a commit back", "one order on all nodes", Broken, func(_ *testing.T, h *history) {
		c := h.commits[1][7]
		c.Commit = h.commits[1][8].Commit
		h.again = append(h.again, c)
	}},
	{"a node has another root", "one order on all nodes", Broken, func(_ *testing.T, h *history) {
		h.roots[0].Root = strings.Repeat("0", 64)
	}},
	{"a byte of a block is another", "one order on all nodes", Broken, func(t *testing.T, h *history) {
		i := slices.IndexFunc(h.blocks, func(b BlocksRecord) bool { return len(b.Blocks) > 2 })
		h.blocks[i].Blocks[1][len(h.blocks[i].Blocks[1])/2] ^= 1
	}},
	{"two blocks of a commit change places", "one order on all nodes", Broken, func(_ *testing.T, h *history) {
		i := slices.IndexFunc(h.blocks, func(b BlocksRecord) bool { return len(b.Blocks) > 2 })
		b := &h.blocks[i]
		b.Blocks[0], b.Blocks[1] = b.Blocks[1], b.Blocks[0]
	}},
	{"the blocks of the last commits were not recorded", "one order on all nodes", Inconclusive, func(_ *testing.T, h *history) {
		h.blocks = h.blocks[:len(h.blocks)-5]
	}},
	{"a payment of another amount", "linearizable accounts", Broken, func(t *testing.T, h *history) {
		find(t, h, finalOf("transfer")).Amount++
	}},
	{"a read of a unit more", "linearizable accounts", Broken, func(t *testing.T, h *history) {
		oneUnitMore(t, h)
	}},
	{"an operation that took effect after it was answered", "linearizable accounts", Broken, func(t *testing.T, h *history) {
		o := find(t, h, finalOf("transfer"))
		o.Ended = o.Invoked + 1
	}},
	{"an operation nobody knows the end of", "linearizable accounts", Inconclusive, func(t *testing.T, h *history) {
		o := find(t, h, finalOf("transfer"))
		o.Status, o.Ended = api.OpPending, 0
	}},
	{"a trade of another size", "linearizable markets", Broken, func(t *testing.T, h *history) {
		o := find(t, h, func(o *OpRecord) bool { return finalOf("place")(o) && trimZeros(o.Executed) != "0" })
		o.Executed = ""
	}},
	{"a cancel of an order that was not there", "linearizable markets", Broken, func(t *testing.T, h *history) {
		find(t, h, func(o *OpRecord) bool { return o.Kind == "cancel" && o.Status == api.OpFinal && o.Refused }).Refused = false
	}},
	{"a withdrawal told as another's", "withdrawals paid more than once", Broken, func(t *testing.T, h *history) {
		find(t, h, finalOf("withdraw")).Withdrawal++
	}},
	{"an acknowledged operation without an end", "acknowledged operations without an outcome", Broken, func(t *testing.T, h *history) {
		o := find(t, h, outside)
		o.Status, o.Ended = api.OpPending, 0
	}},
	{"an executed operation told as expired", "what clients were told and what was executed", Broken, func(t *testing.T, h *history) {
		find(t, h, outside).Status = api.OpExpired
	}},
	{"an executed operation told as rejected", "what clients were told and what was executed", Broken, func(t *testing.T, h *history) {
		find(t, h, outside).Status = api.OpRejected
	}},
	{"an operation told as final in another commit", "what clients were told and what was executed", Broken, func(t *testing.T, h *history) {
		find(t, h, outside).Commit++
	}},
	{"a refused action told as done", "what clients were told and what was executed", Broken, func(t *testing.T, h *history) {
		find(t, h, func(o *OpRecord) bool { return o.Status == api.OpFinal && o.Refused }).Refused = false
	}},
	{"a read of a unit more", "reads that differ from the commit they name", Broken, func(t *testing.T, h *history) {
		oneUnitMore(t, h)
	}},
	{"a read that goes back", "reads that went back in a session", Broken, func(_ *testing.T, h *history) {
		last := h.reads[len(h.reads)-1]
		last.Commit, last.Invoked = 1, last.Answered+1
		h.reads = append(h.reads, last)
	}},
	{"a cut-off node that claims a quorum", "reads of a cut-off node that do not say so", Broken, func(_ *testing.T, h *history) {
		for i := range h.reads {
			h.reads[i].Quorum = true
		}
	}},
	{"an operation that waits eleven seconds", "operations not served where there is a quorum", Broken, func(t *testing.T, h *history) {
		o := find(t, h, outside)
		o.Ended = o.Invoked + int64(servedMax) + int64(time.Second)
	}},
	{"an order that expires in spite of a quorum", "operations not served where there is a quorum", Broken, func(t *testing.T, h *history) {
		find(t, h, outside).Status = api.OpExpired
	}},
	{"three seconds without a commit", "longest gap without a commit", Broken, func(_ *testing.T, h *history) {
		h.scenario.Promises.MaxGapMs = 2500
		from := duringCut(h) - int64(1500*time.Millisecond)
		forget(h, 1, from, from+int64(3*time.Second))
		forget(h, 2, from, from+int64(3*time.Second))
		forget(h, 3, from, from+int64(3*time.Second))
		forget(h, 0, from, from+int64(3*time.Second))
	}},
	{"commits while no side has a quorum", "commits without a quorum", Broken, func(_ *testing.T, h *history) {
		h.scenario.Promises.NoCommit = true
		for i := range h.faults {
			h.faults[i].Fault.From, h.faults[i].Fault.To = []string{"aws", "gcp"}, []string{"azure", "hetzner"}
		}
	}},
	{"no time without a quorum to judge", "commits without a quorum", Inconclusive, func(_ *testing.T, h *history) {
		h.scenario.Promises.NoCommit = true
	}},
	{"a node that comes back late", "recovery after healing", Broken, func(_ *testing.T, h *history) {
		h.scenario.Promises.RecoveryMs = 2000
		healed := h.faults[1].At
		forget(h, 0, healed, healed+int64(2500*time.Millisecond))
	}},
	{"a node that never comes back", "recovery after healing", Broken, func(_ *testing.T, h *history) {
		forget(h, 0, h.faults[1].At, 1<<62)
	}},
	{"an old read where there is a quorum", "oldest read where there is a quorum", Broken, func(_ *testing.T, h *history) {
		for i := range h.reads {
			if h.reads[i].Provider == "gcp" {
				h.reads[i].AgeMs = 60_000
			}
		}
	}},
	{"a second process that nobody notices", "a second process with one key stops, or is proved to lie", Broken, func(_ *testing.T, h *history) {
		h.scenario.Promises.ProofMs = 1000
		h.faults[0].Fault.Kind, h.faults[1].Fault.Kind = Twin, Twin
	}},
	{"a second process that notices late", "a second process with one key stops, or is proved to lie", Broken, func(_ *testing.T, h *history) {
		h.scenario.Promises.ProofMs = 1000
		h.faults[0].Fault.Kind, h.faults[1].Fault.Kind = Twin, Twin
		h.alarms = append(h.alarms, AlarmRecord{At: h.faults[0].At + int64(2*time.Second)})
	}},
	{"memory that grows", "growth of memory, goroutines and files", Broken, func(_ *testing.T, h *history) {
		stretchResources(h)
		for i := range h.resources {
			h.resources[i].RSSBytes += int64(i) << 20
		}
	}},
	{"too few samples to judge", "growth of memory, goroutines and files", Inconclusive, func(_ *testing.T, h *history) {
		h.scenario.Promises.Flat = true
	}},
	{"a cut that lets packets through", "faults that did not bite", Inconclusive, func(_ *testing.T, h *history) {
		for i := range h.matrices {
			c := &h.matrices[i].Cells[0][1]
			c.Heard = c.Sent
		}
	}},
	{"a cut beyond the one that was done", "faults that did not bite", Inconclusive, func(_ *testing.T, h *history) {
		for i := range h.matrices {
			h.matrices[i].Cells[1][2].Heard = 0
		}
	}},
	{"a cut that nobody ran into", "faults that did not bite", Inconclusive, func(_ *testing.T, h *history) {
		for i := range h.matrices {
			c := &h.matrices[i].Cells[0][1]
			c.Dropped = uint64(c.Sent - c.Heard)
		}
	}},
	{"a fault that was not measured", "faults that did not bite", Inconclusive, func(_ *testing.T, h *history) { h.matrices = nil }},
	{"a fault that was not done", "faults that did not bite", Inconclusive, func(_ *testing.T, h *history) { h.faults = nil }},
	{"a fault that failed", "faults that did not bite", Inconclusive, func(_ *testing.T, h *history) { h.faults[0].Error = "no" }},
}

func TestPlantedViolationsAreFound(t *testing.T) {
	for _, tc := range planted {
		t.Run(tc.promise+"/"+tc.name, func(t *testing.T) {
			h := recorded(t)
			tc.edit(t, h)
			h.cut = nil
			p := promiseOf(t, judge(t.Context(), h), tc.promise)
			if p.Outcome != tc.want || p.Held != (tc.want == Held) || len(p.Why) == 0 {
				t.Errorf("the outcome is %s, not %s; why: %q", p.Outcome, tc.want, p.Why)
			}
		})
	}
}

func oneUnitMore(t *testing.T, h *history) {
	t.Helper()
	for i := range h.reads {
		for j := range h.reads[i].Balances {
			b := &h.reads[i].Balances[j]
			if b.Asset != "USDT" || h.reads[i].Commit == 0 {
				continue
			}
			asset := assets()[USDT]
			a, err := asset.ParseAmount(b.Available)
			if err != nil {
				t.Fatal(err)
			}
			a, _ = a.Add(ledger.Units(1))
			b.Available = asset.FormatAmount(a)
			return
		}
	}
	t.Fatal("the record has no read")
}

// forget takes a node's commits between two times out of the record.
func forget(h *history, node int, from, to int64) {
	h.commits[node] = slices.DeleteFunc(h.commits[node], func(c CommitRecord) bool { return c.Seen > from && c.Seen < to })
}

// stretchResources makes a long life of one node's samples.
func stretchResources(h *history) {
	h.scenario.Promises.Flat = true
	one := h.resources[len(h.resources)-1]
	h.resources = slices.Repeat([]ResourceRecord{one}, 400)
}

// What the ledger itself would have to do wrong cannot be planted in a record.
func TestMoneyAndPaymentsAreSummedUp(t *testing.T) {
	asset := ledger.AssetTotals{
		Asset: assets()[USDT], Deposited: ledger.Units(100), Withdrawn: ledger.Units(30), Fees: ledger.Units(5),
	}
	right := []ledger.Amount{ledger.Units(40), ledger.Units(25)}
	if err := addsUp(asset, right); err != nil {
		t.Error(err)
	}
	for _, wrong := range [][]ledger.Amount{
		{ledger.Units(40), ledger.Units(24)}, {ledger.Units(40), ledger.Units(26)}, {ledger.MaxAmount, ledger.Units(1)}, nil,
	} {
		if addsUp(asset, wrong) == nil {
			t.Errorf("%v adds up", wrong)
		}
	}
	if p := checkMoney(&replayed{states: make([]ledgerState, 2), broken: []string{"off by one"}}); p.Outcome != Broken || p.Value != 1 {
		t.Errorf("money that does not add up is %+v", p)
	}
	if p := checkMoney(&replayed{}); p.Outcome != Inconclusive {
		t.Errorf("no commit at all is %+v", p)
	}

	h := recorded(t)
	r := replay(h)
	if p := checkWithdrawals(h, r); p.Outcome != Held || len(r.paid) == 0 {
		t.Fatalf("%+v, %d payments", p, len(r.paid))
	}
	for w, paid := range r.paid {
		r.paid[w] = append(paid, paid[0])
		break
	}
	if p := checkWithdrawals(h, r); p.Outcome != Broken {
		t.Errorf("a withdrawal paid twice is %+v", p)
	}
}

func TestReportStandsAlone(t *testing.T) {
	h := recorded(t)
	v, err := Judge(t.Context(), h.dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(v.Report)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, want := range []string{`id="timeline"`, `class="fault"`, "cut aws", `id="promises"`, `id="sides"`, `class="matrix"`, ">cut<", "one order on all nodes", `<polyline points="1`} {
		if !strings.Contains(page, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	for _, bad := range []string{"http://", "https://", "src=", "@import", "url(", "NaN", "Inf"} {
		if strings.Contains(page, bad) {
			t.Errorf("the report has %q", bad)
		}
	}
}

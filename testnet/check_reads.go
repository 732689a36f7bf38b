package testnet

import (
	"cmp"
	"slices"
	"time"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// checkReads is P5: each answer is what the account had after the commit it names,
// a session with one node never goes back, and a node that is cut off says so.
func checkReads(h *history, r *replayed) []Promise {
	var untrue, back, dated findings
	answers := 0
	for i := range h.reads {
		if read := &h.reads[i]; read.Error == "" {
			answers++
			checkTrue(read, r, &untrue)
		}
	}
	checkSessions(h, &back)
	checkDated(h, &dated)
	if answers == 0 && h.scenario.Load.Reads > 0 {
		untrue.lacks("no read was answered")
	}
	return []Promise{
		untrue.none("reads that differ from the commit they name", "reads"),
		back.none("reads that went back in a session", "reads"),
		dated.none("reads of a cut-off node that do not say so", "reads"),
	}
}

// checkSessions: of two reads of one client from one node, of which the first was
// answered before the second was asked, the second is not of an earlier commit, unless
// it says that it may be behind.
func checkSessions(h *history, f *findings) {
	type session struct{ client, node int }
	reads := make(map[session][]*ReadRecord)
	for i := range h.reads {
		if read := &h.reads[i]; read.Error == "" {
			s := session{read.Client, read.Node}
			reads[s] = append(reads[s], read)
		}
	}
	for _, asked := range reads { // order: each session by itself; findings are counted
		answered := slices.Clone(asked)
		slices.SortFunc(answered, func(a, b *ReadRecord) int { return cmp.Compare(a.Answered, b.Answered) })
		var newest uint64
		for _, read := range asked {
			for len(answered) > 0 && answered[0].Answered < read.Invoked {
				newest = max(newest, answered[0].Commit)
				answered = answered[1:]
			}
			if read.Commit < newest && read.Quorum {
				f.broke("client %d read commit %d from node %d after it had been answered commit %d there", read.Client, read.Commit, read.Node, newest)
			}
		}
	}
}

func checkTrue(read *ReadRecord, r *replayed, f *findings) {
	if read.Commit >= uint64(len(r.states)) {
		return // its blocks came after the end of the recording
	}
	was, known := r.reads[read.Account].at(read.Commit)
	if !known {
		f.broke("account %.16s... was read as of commit %d and does not exist", read.Account, read.Commit)
		return
	}
	got := make(map[string][2]string)
	for _, b := range read.Balances {
		got[b.Asset] = [2]string{b.Available, b.Held}
	}
	for id := range r.names.Assets {
		asset := &r.names.Assets[id]
		want := [2]string{text(was.available[id], asset), text(was.held[id], asset)}
		is, told := got[asset.Symbol]
		if !told {
			is = [2]string{"0", "0"}
		}
		if !sameAmount(is[0], want[0]) || !sameAmount(is[1], want[1]) {
			f.broke("account %.16s... had %s available and %s held of %s after commit %d; node %d said %s and %s",
				read.Account, want[0], want[1], asset.Symbol, read.Commit, read.Node, is[0], is[1])
		}
	}
}

// text is an amount as people and the API write it.
func text(a ledger.Amount, asset *ledger.Asset) string { return asset.FormatAmount(a) }

// sameAmount compares two decimal strings, whatever zeros they end in.
func sameAmount(a, b string) bool { return trimZeros(a) == trimZeros(b) }

func trimZeros(s string) string {
	point := false
	for _, r := range s {
		point = point || r == '.'
	}
	if !point {
		return s
	}
	for s[len(s)-1] == '0' {
		s = s[:len(s)-1]
	}
	if s[len(s)-1] == '.' {
		s = s[:len(s)-1]
	}
	return s
}

// noticeMax is how long a node may take to notice that it is cut off: its own
// heartbeats' two seconds, and one for a machine that is busy.
const noticeMax = 3 * time.Second

// checkDated holds reads of nodes on sides without a quorum against their dates.
func checkDated(h *history, f *findings) {
	for i := range h.reads {
		read := &h.reads[i]
		if read.Error != "" || !read.Quorum {
			continue
		}
		for _, span := range h.without(read.Node) {
			if read.Invoked > span.from+int64(noticeMax) && read.Answered < span.to {
				f.broke("node %d, cut off for %v, answered as of commit %d that it sees a quorum",
					read.Node, time.Duration(read.Answered-span.from).Round(time.Millisecond), read.Commit)
			}
		}
	}
}

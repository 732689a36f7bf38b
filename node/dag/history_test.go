package dag

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write what happened into the histories of testdata")

// TestHistories plays the text histories of testdata/histories. A history is
// blocks of commands, each followed by a line of dashes and what happened since
// the dashes before:
//
//	run 100ms
//	----
//	0.100s 0-3: round 12, 10 commits up to leader 10/1
//
// Lines from # on, and what stands outside of blocks, are prose. The commands are
// the methods of history, below. -rewrite renews what happened; commit a change
// when you can explain each line.
func TestHistories(t *testing.T) {
	files, err := filepath.Glob("testdata/histories/*.txt")
	if err != nil || len(files) < 7 {
		t.Fatalf("only %d histories found: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !bytes.Equal([]byte(got), want) {
				t.Errorf("another history than %s; -rewrite shows it:\n%s", file, lineDiff(string(want), got))
			}
		})
	}
}

// play runs a history and returns it with what happened.
func play(t *testing.T, text string) string {
	h := &history{t: t}
	var out strings.Builder
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		out.WriteString(line)
		if i < len(lines)-1 {
			out.WriteByte('\n')
		}
		if line != "----" {
			h.command(strings.TrimSpace(strings.SplitN(line, "#", 2)[0]))
			continue
		}
		for i+1 < len(lines) && lines[i+1] != "" { // the old account
			i++
		}
		out.WriteString(h.happened())
	}
	return out.String()
}

// history is a test network under the commands of a file.
type history struct {
	t     *testing.T
	n     *network
	news  []string
	group []int
	slow  map[Author]time.Duration
	seen  []seenOf
	was   []string
}

// seenOf is how much of a node's log was told already.
type seenOf struct{ evidence, faults, returned, final int }

func (h *history) command(line string) {
	if line == "" {
		return
	}
	word := strings.Fields(line)
	run, ok := map[string]func([]string){
		"network": h.network, "start": h.start, "crash": h.crash, "restart": h.restart, "lose-disk": h.loseDisk,
		"ask": h.ask, "load": h.load, "cut": h.cut, "heal": h.heal, "op": h.op, "run": h.run, "slow": h.slowDown, "liar": h.liar,
		"commits": h.commits, "leaders": h.leaders, "committee": h.committee, "slot": h.slot, "disconnected": h.disconnected,
	}[word[0]]
	if !ok {
		h.t.Fatalf("no such command: %q", line)
	}
	run(word[1:])
}

func (h *history) say(format string, args ...any) {
	h.news = append(h.news, fmt.Sprintf(format, args...))
}

// happened drains the news.
func (h *history) happened() string {
	if len(h.news) == 0 {
		h.say("ok")
	}
	out := strings.Join(h.news, "\n") + "\n"
	h.news = nil
	return out
}

// network 1 1 1 1: the weights of the validators
func (h *history) network(args []string) {
	var weights []uint64
	for _, a := range args {
		weights = append(weights, uint64(h.number(a)))
	}
	h.n = newNetwork(h.t, weights...)
	h.group, h.seen, h.was = make([]int, len(weights)), make([]seenOf, len(weights)), make([]string, len(weights))
	h.slow = map[Author]time.Duration{}
	h.n.cut = func(a, b Author) bool { return h.group[a] != h.group[b] }
	h.n.delay = func(from, _ Author) time.Duration { return 5*time.Millisecond + h.slow[from] }
	c := h.n.rules.Committee
	h.say("N %d, F %d, Q %d, V %d", c.Total(), c.Faulty(), c.Quorum(), c.Validity())
}

// start 0 1: opens nodes on what their disks hold; without a name, all
func (h *history) start(args []string) { h.n.start(h.authors(args)...) }

func (h *history) restart(args []string) { h.start(args) }

func (h *history) crash(args []string) {
	for _, a := range h.authors(args) {
		h.n.nodes[a].crash()
	}
}

// lose-disk 3: starts the node with its key and nothing else
func (h *history) loseDisk(args []string) {
	for _, a := range h.authors(args) {
		n := h.n.nodes[a]
		n.disk, n.byRef, n.commits, n.pending = nil, map[Digest]*Block{}, nil, nil
		h.seen[a] = seenOf{}
		n.config.Recovering = true
		n.open()
		h.n.ask(n)
	}
}

// ask 3: a recovering node asks again
func (h *history) ask(args []string) {
	for _, a := range h.authors(args) {
		h.n.ask(h.n.nodes[a])
	}
}

// load 0 50ms 40: node 0 gets 40 operations, one each 50 ms
func (h *history) load(args []string) {
	every := h.duration(args[1])
	for i := range h.number(args[2]) {
		h.op([]string{args[0], fmt.Sprintf("l%d", i+1)})
		h.n.run(every)
	}
}

// cut 0,1 2,3: only nodes of one group hear each other
func (h *history) cut(args []string) {
	for i, group := range args {
		for _, a := range h.authors(strings.Split(group, ",")) {
			h.group[a] = i
		}
	}
}

func (h *history) heal([]string) { clear(h.group) }

// disconnected 0,1,2 3: the first know that the stream to the second is down
func (h *history) disconnected(args []string) {
	for _, a := range h.authors(strings.Split(args[0], ",")) {
		n := h.n.nodes[a]
		n.step(func(now time.Time) Effects { return n.core.Connected(now, h.authors(args[1:])[0], false) })
	}
}

// op 2 deposit: node 2 has an operation to order
func (h *history) op(args []string) {
	n := h.n.nodes[h.authors(args[:1])[0]]
	n.pending = append(n.pending, []byte(args[1]))
	n.step(func(now time.Time) Effects { return n.core.Tick(now) })
}

// slow 2 400ms: what node 2 sends takes that much longer
func (h *history) slowDown(args []string) { h.slow[h.authors(args[:1])[0]] = h.duration(args[1]) }

// liar 1: from now on node 1 signs two blocks a round, one for even nodes and one for odd
func (h *history) liar(args []string) {
	for _, a := range h.authors(args) {
		h.n.nodes[a].liar = true
	}
}

// committee 1 1 1 2: this committee is to follow; every node has executed the operation
func (h *history) committee(args []string) {
	var weights []uint64
	for _, a := range args {
		weights = append(weights, uint64(h.number(a)))
	}
	for _, n := range h.n.nodes {
		rules := h.n.rules
		rules.Epoch, rules.Committee = rules.Epoch+1, keyedCommittee(h.t, weights...)
		n.next = &rules
		if n.up {
			n.step(n.core.CloseEpoch)
		}
	}
	if len(weights) > len(h.n.nodes) {
		h.t.Fatalf("the network has no node %d", len(weights)-1)
	}
}

// run 100ms: lets time pass and tells where everybody is
func (h *history) run(args []string) {
	h.n.run(h.duration(args[0]))
	at := fmt.Sprintf("%.3fs", h.n.now.Sub(testStart).Seconds())
	for a := 0; a < len(h.n.nodes); {
		state := h.state(Author(a))
		b := a
		for b+1 < len(h.n.nodes) && h.state(Author(b+1)) == state {
			b++
		}
		who := strconv.Itoa(a)
		if b > a {
			who += "-" + strconv.Itoa(b)
		}
		h.say("%s %s: %s", at, who, state)
		a = b + 1
	}
	h.tell()
}

// state is a node in one line.
func (h *history) state(a Author) string {
	n := h.n.nodes[a]
	if !n.up {
		return "down"
	}
	s := n.core.Status()
	line := fmt.Sprintf("round %d, own %d, %d commits", s.Round, s.OwnRound, s.Commit)
	if s.Epoch > 0 {
		line = fmt.Sprintf("epoch %d, ", s.Epoch) + line
	}
	if s.Commit > 0 {
		l := n.commits[len(n.commits)-1].Leader
		line += fmt.Sprintf(" up to leader %d/%d", l.Round, l.Author)
	}
	for _, flag := range []struct {
		on   bool
		name string
	}{{s.Recovering, "recovering"}, {s.Stalled, "stalled"}, {s.Twin, "has a twin"}, {s.Closing, "closing"}, {s.Closed, "closed"}, {s.Waiting > 0, fmt.Sprintf("%d blocks wait", s.Waiting)}} {
		if flag.on {
			line += ", " + flag.name
		}
	}
	return line
}

// tell tells what nodes saw since the last time, those that saw the same together.
func (h *history) tell() {
	var order []string
	who := map[string][]string{}
	add := func(a int, format string, args ...any) {
		what := fmt.Sprintf(format, args...)
		if who[what] == nil {
			order = append(order, what)
		}
		who[what] = append(who[what], strconv.Itoa(a))
	}
	for a, n := range h.n.nodes {
		s := &h.seen[a]
		if final := n.finalOps(); len(final) > s.final {
			fresh := final[s.final:]
			if len(fresh) > 12 {
				fresh = append(append(slices.Clone(fresh[:3]), fmt.Sprintf("... %d ...", len(fresh)-6)), fresh[len(fresh)-3:]...)
			}
			add(a, "final: %s", strings.Join(fresh, " "))
			s.final = len(final)
		}
		if fresh := n.evidence[s.evidence:]; len(fresh) > 0 {
			add(a, "proof against %d, first in round %d", fresh[0].First.Author(), fresh[0].First.Round())
		}
		for _, f := range n.faults[s.faults:] {
			add(a, "%s", hideDigest(f))
		}
		for _, r := range n.returned[s.returned:] {
			add(a, "returned: %s", r)
		}
		s.evidence, s.faults, s.returned = len(n.evidence), len(n.faults), len(n.returned)
	}
	for _, what := range order {
		h.say("  %s: %s", strings.Join(who[what], ","), what)
	}
}

func hideDigest(err error) string {
	text := err.Error()
	if twin, ok := err.(*TwinError); ok {
		text = strings.ReplaceAll(text, twin.Block.Ref().String(), fmt.Sprintf("%d/%d", twin.Block.Round(), twin.Block.Author()))
	}
	return text
}

// commits 0 3 5: commits 3 to 5 as node 0 has them, blocks as round/author
func (h *history) commits(args []string) {
	n := h.n.nodes[h.number(args[0])]
	for _, c := range n.commits[h.number(args[1])-1 : min(h.number(args[2]), len(n.commits))] {
		var blocks []string
		for _, b := range c.Blocks {
			s := fmt.Sprintf("%d/%d", b.Round(), b.Author())
			for _, op := range b.Payload() {
				s += "(" + string(op) + ")"
			}
			if b.Flags() != 0 {
				s += "!"
			}
			blocks = append(blocks, s)
		}
		h.say("commit %d, epoch %d, at %d ms: %s", c.Index, c.Epoch, int64(c.TimeMs)-testStart.UnixMilli(), strings.Join(blocks, " "))
	}
}

// leaders 1 12: the schedule of these rounds
func (h *history) leaders(args []string) {
	var leaders []string
	r := h.n.nodes[0].config.Rules
	for round := h.number(args[0]); round <= h.number(args[1]); round++ {
		leaders = append(leaders, fmt.Sprintf("%d/%d", round, LeaderOf(r.Committee, r.Network, r.Epoch, uint64(round))))
	}
	h.say("leaders %s", strings.Join(leaders, " "))
}

// slot 5 1: how many versions of the slot each node has accepted
func (h *history) slot(args []string) {
	s := Slot{uint64(h.number(args[0])), Author(h.number(args[1]))}
	for _, n := range h.n.nodes {
		if !n.up {
			continue
		}
		versions := 0
		for v := n.core.graph.slot(s); v != nil; v = v.version {
			versions++
		}
		h.say("%d has %d blocks in slot %d/%d", n.self, versions, s.Round, s.Author)
	}
}

func (h *history) authors(args []string) []Author {
	var out []Author
	for _, a := range args {
		out = append(out, Author(h.number(a)))
	}
	return out
}

func (h *history) number(s string) int {
	v, err := strconv.Atoi(s)
	if err != nil || v < 0 {
		h.t.Fatalf("not a number: %q", s)
	}
	return v
}

func (h *history) duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		h.t.Fatal(err)
	}
	return d
}

// lineDiff shows the lines that are only in one of two texts.
func lineDiff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	var out strings.Builder
	for _, l := range w {
		if !slices.Contains(g, l) {
			fmt.Fprintf(&out, "- %s\n", l)
		}
	}
	for _, l := range g {
		if !slices.Contains(w, l) {
			fmt.Fprintf(&out, "+ %s\n", l)
		}
	}
	return out.String()
}

package dag

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The file of decision cases, format 1. The reader is strict: a key it does not know, a key given twice, a rule it
// cannot follow or an expectation it cannot check is an error, for a case that is half understood proves nothing.

// A commitCase is one DAG, the rules it is judged by and what must come out.
type commitCase struct {
	id         string
	dag        *plainDAG
	rules      plainRules
	sameResult *bool // whether the other way of blaming gives the same decisions
	slots      []plainDecision
	sequence   []plainDecision
	committed  []string
	depth      int           // rounds kept before the last commit's; 0: nothing is collected
	commits    []plainCommit // nil: not told
}

const (
	caseSchedule = "author=(round+offset) mod n, offsets evaluated 0..L-1"
	caseGenesis  = "implicit block <author>0 at round 0 for every authority"
	caseOrder    = "round asc, author asc, id asc; genesis never committed"
)

// caseSemantics are the keys under which a file tells in prose what its words mean.
var caseSemantics = []string{"vote", "certificate", "direct_commit", "direct_skip", "indirect", "sequence", "how_field",
	"scan_range", "validity_note", "linearisation_note"}

// readCommitCases reads a whole file of cases.
func readCommitCases(data []byte) ([]commitCase, error) {
	file, err := caseObject(data)
	if err != nil {
		return nil, err
	}
	var (
		version   int
		semantics map[string]string
		raw       []json.RawMessage
	)
	file.take("format_version", &version)
	file.takeIfThere("semantics", &semantics)
	file.take("cases", &raw)
	if err := file.done(); err != nil {
		return nil, err
	}
	if version != 1 {
		return nil, fmt.Errorf("format_version %d, want 1", version)
	}
	for k := range semantics {
		if !slices.Contains(caseSemantics, k) {
			return nil, fmt.Errorf("semantics: unknown key %q", k)
		}
	}
	if len(raw) == 0 {
		return nil, errors.New("no cases")
	}
	var cases []commitCase
	ids := make(map[string]bool)
	for i, r := range raw {
		c, err := readCommitCase(r)
		if err != nil {
			return nil, fmt.Errorf("case %d %q: %w", i, c.id, err)
		}
		if ids[c.id] {
			return nil, fmt.Errorf("case %d: id %q again", i, c.id)
		}
		ids[c.id] = true
		cases = append(cases, c)
	}
	return cases, nil
}

func readCommitCase(data json.RawMessage) (c commitCase, err error) {
	o, err := caseObject(data)
	if err != nil {
		return c, err
	}
	var (
		text, genesis                      string
		committee, rules, last, linear     json.RawMessage
		blocks, slots, sequence, committed []json.RawMessage
	)
	o.take("id", &c.id)
	o.takeIfThere("description", &text)
	o.takeIfThere("notes", &text)
	o.take("committee", &committee)
	o.take("rules", &rules)
	o.take("last_decided", &last)
	o.take("genesis", &genesis)
	o.take("blocks", &blocks)
	o.take("expected_slots", &slots)
	o.take("expected_sequence", &sequence)
	o.take("expected_committed_leaders", &committed)
	o.takeIfThere("expected_linearisation", &linear)
	if err := o.done(); err != nil {
		return c, err
	}
	if genesis != caseGenesis {
		return c, fmt.Errorf("unknown genesis %q", genesis)
	}
	steps := []func() error{
		func() error { return c.readCommittee(committee) },
		func() error { return c.readLastDecided(last) },
		func() error { return c.readRules(rules, blocks) },
		func() (err error) { c.slots, err = c.readDecisions(slots, true); return },
		func() (err error) { c.sequence, err = c.readDecisions(sequence, false); return },
		func() error { return c.readLeaders(committed) },
		func() error { return c.readLinearisation(linear) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *commitCase) readCommittee(data json.RawMessage) error {
	o, err := caseObject(data)
	if err != nil {
		return err
	}
	var (
		authorities                        []string
		weights                            []uint64
		total, quorum, maxFaulty, validity uint64
	)
	o.take("authorities", &authorities)
	o.take("weights", &weights)
	o.take("total", &total)
	o.take("quorum", &quorum)
	o.take("max_faulty", &maxFaulty)
	o.take("validity", &validity)
	if err := o.done(); err != nil {
		return fmt.Errorf("committee: %w", err)
	}
	if len(authorities) == 0 || len(authorities) != len(weights) {
		return fmt.Errorf("committee: %d authorities with %d weights", len(authorities), len(weights))
	}
	var sum uint64
	for i, w := range weights {
		sum += w
		if authorities[i] == "" || slices.Contains(authorities[:i], authorities[i]) {
			return fmt.Errorf("committee: authority %q is empty or twice there", authorities[i])
		}
	}
	f := (sum - 1) / 3
	if q := 2*sum/3 + 1; total != sum || quorum != q || maxFaulty != f || validity != f+1 {
		return fmt.Errorf("committee: weights give total %d, quorum %d, max_faulty %d, validity %d", sum, q, f, f+1)
	}
	c.dag = newPlainDAG(authorities, weights)
	c.rules.quorum = quorum
	return nil
}

func (c *commitCase) readLastDecided(data json.RawMessage) error {
	o, err := caseObject(data)
	if err != nil {
		return err
	}
	o.take("round", &c.rules.lastDecided.round)
	o.take("offset", &c.rules.lastDecided.offset)
	if err := o.done(); err != nil {
		return fmt.Errorf("last_decided: %w", err)
	}
	if s := c.rules.lastDecided; s.round < 0 || s.offset < 0 {
		return fmt.Errorf("last_decided: %+v", s)
	}
	return nil
}

func (c *commitCase) readRules(data json.RawMessage, blocks []json.RawMessage) error {
	o, err := caseObject(data)
	if err != nil {
		return err
	}
	var (
		wave, perRound, parentsMax    int
		leaderRounds, schedule, blame string
		pipelined, same               bool
		offsets                       []int
	)
	o.take("wave_length", &wave)
	o.take("leader_rounds", &leaderRounds)
	o.take("pipelined", &pipelined)
	o.take("round_offsets", &offsets)
	o.take("leaders_per_round", &perRound)
	o.take("leader_schedule", &schedule)
	o.take("blame_rule", &blame)
	o.take("max_parents_per_author", &parentsMax)
	if o.takeIfThere("same_result_with_blame_rule_author", &same) {
		c.sameResult = &same
	}
	if err := o.done(); err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	n := len(c.dag.authors)
	isLeaderRound, err := parseLeaderRounds(leaderRounds)
	switch {
	case err != nil:
		return fmt.Errorf("rules: %w", err)
	case wave != 3:
		return fmt.Errorf("rules: wave_length %d: the rule is for waves of three", wave)
	case schedule != caseSchedule:
		return fmt.Errorf("rules: unknown leader_schedule %q", schedule)
	case blame != "slot" && blame != "author":
		return fmt.Errorf("rules: unknown blame_rule %q", blame)
	case perRound < 0 || perRound > n:
		return fmt.Errorf("rules: %d leaders_per_round of %d authorities", perRound, n)
	case parentsMax < 1:
		return fmt.Errorf("rules: max_parents_per_author %d", parentsMax)
	case pipelined != (len(offsets) > 1):
		return fmt.Errorf("rules: pipelined %v with round_offsets %v", pipelined, offsets)
	}
	// The rounds are told twice; where the two disagree there is no telling which is meant.
	for r := 1; r <= 12; r++ {
		if isLeaderRound(r) != slices.Contains(offsets, r%wave) {
			return fmt.Errorf("rules: leader_rounds %q and round_offsets %v differ at round %d", leaderRounds, offsets, r)
		}
	}
	c.rules.blameAuthor = blame == "author"
	c.rules.leaders = func(round int) []string {
		if !isLeaderRound(round) {
			return nil
		}
		var leaders []string
		for offset := range perRound {
			leaders = append(leaders, c.dag.authors[(round+offset)%n])
		}
		return leaders
	}
	return c.readBlocks(blocks, parentsMax)
}

var (
	everyRound = regexp.MustCompile(`^every round r>=(\d+)$`)
	moduloOf   = regexp.MustCompile(`^rounds r>=(\d+) with r mod (\d+) ?(==|in) ?[\[({]?(\d+(?:, ?\d+)*)[\])}]?$`)
)

// parseLeaderRounds understands "every round r>=1" and "rounds r>=1 with r mod 3==0".
func parseLeaderRounds(text string) (func(round int) bool, error) {
	if m := everyRound.FindStringSubmatch(text); m != nil {
		first, err := strconv.Atoi(m[1])
		return func(r int) bool { return r >= first }, err
	}
	m := moduloOf.FindStringSubmatch(text)
	if m == nil {
		return nil, fmt.Errorf("unknown leader_rounds %q", text)
	}
	first, err := strconv.Atoi(m[1])
	if err != nil {
		return nil, err
	}
	modulus, err := strconv.Atoi(m[2])
	if err != nil || modulus == 0 {
		return nil, fmt.Errorf("leader_rounds %q: modulus", text)
	}
	var rests []int
	for _, s := range strings.Split(m[4], ",") {
		rest, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil {
			return nil, err
		}
		rests = append(rests, rest)
	}
	return func(r int) bool { return r >= first && slices.Contains(rests, r%modulus) }, nil
}

func (c *commitCase) readBlocks(data []json.RawMessage, parentsMax int) error {
	var blocks []*plainBlock
	ids := make(map[string]*plainBlock)
	for i, raw := range data {
		o, err := caseObject(raw)
		if err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
		b := new(plainBlock)
		o.take("id", &b.id)
		o.take("round", &b.round)
		o.take("author", &b.author)
		o.take("parents", &b.parents)
		if err := o.done(); err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
		switch {
		case b.id == "" || ids[b.id] != nil || c.dag.genesis(b.id):
			return fmt.Errorf("block %d: id %q is empty or taken", i, b.id)
		case !slices.Contains(c.dag.authors, b.author):
			return fmt.Errorf("block %q: unknown author %q", b.id, b.author)
		case b.round < 1:
			return fmt.Errorf("block %q: round %d", b.id, b.round)
		}
		ids[b.id] = b
		blocks = append(blocks, b)
	}
	// A file lists blocks in any order; by round, parents come first.
	slices.SortStableFunc(blocks, func(a, b *plainBlock) int { return a.round - b.round })
	for _, b := range blocks {
		perAuthor := make(map[string]int)
		for i, p := range b.parents {
			author, round := strings.TrimSuffix(p, "0"), 0
			if !c.dag.genesis(p) {
				parent := ids[p]
				if parent == nil {
					return fmt.Errorf("block %q: unknown parent %q", b.id, p)
				}
				author, round = parent.author, parent.round
			}
			perAuthor[author]++
			if round >= b.round || slices.Contains(b.parents[:i], p) || perAuthor[author] > parentsMax {
				return fmt.Errorf("block %q: parent %q is not below it, twice there, or one too many of its author", b.id, p)
			}
		}
		c.dag.add(b)
	}
	return nil
}

// readDecisions reads expected slots, or without how the expected sequence.
func (c *commitCase) readDecisions(data []json.RawMessage, how bool) ([]plainDecision, error) {
	var all []plainDecision
	for i, raw := range data {
		o, err := caseObject(raw)
		if err != nil {
			return nil, fmt.Errorf("decision %d: %w", i, err)
		}
		var d plainDecision
		o.take("round", &d.slot.round)
		o.take("offset", &d.slot.offset)
		o.take("leader", &d.leader)
		o.take("decision", &d.decision)
		o.takeOrNull("block", &d.block)
		if how {
			o.takeOrNull("how", &d.how)
		}
		if err := o.done(); err != nil {
			return nil, fmt.Errorf("decision %d: %w", i, err)
		}
		switch {
		case !slices.Contains([]string{"commit", "skip", "undecided"}, d.decision):
			return nil, fmt.Errorf("decision %d: unknown decision %q", i, d.decision)
		case !slices.Contains([]string{"direct", "indirect", ""}, d.how):
			return nil, fmt.Errorf("decision %d: unknown how %q", i, d.how)
		case (d.decision == "commit") != (d.block != ""):
			return nil, fmt.Errorf("decision %d: %s of block %q", i, d.decision, d.block)
		case d.block != "" && c.dag.blocks[d.block] == nil:
			return nil, fmt.Errorf("decision %d: unknown block %q", i, d.block)
		}
		all = append(all, d)
	}
	return all, nil
}

func (c *commitCase) readLeaders(data []json.RawMessage) error {
	for _, raw := range data {
		var id string
		if err := json.Unmarshal(raw, &id); err != nil || c.dag.blocks[id] == nil {
			return fmt.Errorf("expected_committed_leaders: unknown block %s", raw)
		}
		c.committed = append(c.committed, id)
	}
	return nil
}

func (c *commitCase) readLinearisation(data json.RawMessage) error {
	if data == nil || bytes.Equal(data, []byte("null")) {
		return nil
	}
	o, err := caseObject(data)
	if err != nil {
		return err
	}
	var (
		order   string
		commits []json.RawMessage
	)
	o.takeOrNull("gc_depth", &c.depth)
	o.take("order_in_commit", &order)
	o.take("commits", &commits)
	if err := o.done(); err != nil {
		return fmt.Errorf("expected_linearisation: %w", err)
	}
	if order != caseOrder {
		return fmt.Errorf("expected_linearisation: unknown order_in_commit %q", order)
	}
	if c.depth < 0 {
		return fmt.Errorf("expected_linearisation: gc_depth %d", c.depth)
	}
	c.commits = []plainCommit{}
	for i, raw := range commits {
		o, err := caseObject(raw)
		if err != nil {
			return fmt.Errorf("commit %d: %w", i, err)
		}
		var commit plainCommit
		o.take("leader", &commit.leader)
		o.take("gc_round_used", &commit.collected)
		o.take("blocks", &commit.blocks)
		if err := o.done(); err != nil {
			return fmt.Errorf("commit %d: %w", i, err)
		}
		for j, id := range commit.blocks {
			if c.dag.blocks[id] == nil || slices.Contains(commit.blocks[:j], id) {
				return fmt.Errorf("commit %d: block %q is unknown or twice there", i, id)
			}
		}
		c.commits = append(c.commits, commit)
	}
	return nil
}

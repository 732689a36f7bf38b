package dag

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A ruleFunc decides every slot of a view and linearises what is decided, rounds being collected depth after the last
// commit; depth 0 collects nothing.
type ruleFunc func(d *plainDAG, rules plainRules, depth int) ([]plainDecision, []plainCommit, error)

func plainRule(d *plainDAG, rules plainRules, depth int) ([]plainDecision, []plainCommit, error) {
	all := decidePlainly(d, rules)
	return all, linearisePlainly(d, sequence(all), depth), nil
}

// TestCommitCases holds the rule and its twin against decision cases: every slot's decision and whether this view
// reached it directly, the output sequence, the committed leaders and, as sets, the blocks of each commit. Those of
// commit-more.json are our own, for what commit.json does not touch: no or several leaders a round, quorums by weight
// and to the block, equivocation by leader, voter and certifier, anchors that are undecided, second of their round or
// beside the certificate, skip before commit, and the edge of the collected round.
// COMMIT_CASES names another file of the same format instead, from here or from the module's root.
func TestCommitCases(t *testing.T) {
	if path := os.Getenv("COMMIT_CASES"); path != "" {
		runCommitCases(t, path)
		return
	}
	runCommitCases(t, "testdata/commit.json")
	runCommitCases(t, "testdata/commit-more.json")
}

func runCommitCases(t *testing.T, path string) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(path) {
		data, err = os.ReadFile(filepath.Join("../..", path)) // as seen from where the module's root is
	}
	if err != nil {
		t.Fatal(err)
	}
	cases, err := readCommitCases(data)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	slots, commits := 0, 0
	for _, c := range cases {
		slots += len(c.slots)
		commits += len(c.commits)
		t.Run(c.id, func(t *testing.T) {
			if err := c.check(plainRule); err != nil {
				t.Errorf("the twin: %v", err)
			}
			if err := c.check(productRule); err != nil {
				t.Errorf("the rule: %v", err)
			}
			if err := c.checkBlame(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Logf("%s: %d cases, %d slots, %d linearised commits", path, len(cases), slots, commits)
}

// check runs a rule on the case and tells every difference.
func (c *commitCase) check(rule ruleFunc) error {
	got, commits, err := rule(c.dag, c.rules, c.depth)
	if err != nil {
		return err
	}
	errs := []error{diffDecisions("slot", got, c.slots)}

	var seq []plainDecision
	var committed []string
	for _, d := range sequence(got) {
		d.how = "" // a sequence does not tell how
		seq = append(seq, d)
		if d.decision == "commit" {
			committed = append(committed, d.block)
		}
	}
	errs = append(errs, diffDecisions("sequence", seq, c.sequence))
	if !slices.Equal(committed, c.committed) {
		errs = append(errs, fmt.Errorf("committed leaders %v, want %v", committed, c.committed))
	}

	// Without an expected linearisation the commits must still be of the committed leaders.
	want := c.commits
	if want == nil {
		for _, id := range c.committed {
			want = append(want, plainCommit{leader: id})
		}
	}
	if len(commits) != len(want) {
		return errors.Join(append(errs, fmt.Errorf("%d commits, want %d", len(commits), len(want)))...)
	}
	for i, w := range want {
		g := commits[i]
		if g.leader != w.leader {
			errs = append(errs, fmt.Errorf("commit %d is of %s, want %s", i, g.leader, w.leader))
		}
		if c.commits == nil {
			continue
		}
		if g.collected != w.collected {
			errs = append(errs, fmt.Errorf("commit %d: round %d is collected, want %d", i, g.collected, w.collected))
		}
		if !slices.Equal(slices.Sorted(slices.Values(g.blocks)), slices.Sorted(slices.Values(w.blocks))) {
			errs = append(errs, fmt.Errorf("commit %d has the blocks %v, want %v", i, g.blocks, w.blocks))
		}
	}
	return errors.Join(errs...)
}

// checkBlame holds the twin to what the case says about the other way of blaming, by slot or by author.
func (c *commitCase) checkBlame() error {
	if c.sameResult == nil {
		return nil
	}
	other := c.rules
	other.blameAuthor = !other.blameAuthor
	same := diffDecisions("slot", decidePlainly(c.dag, other), c.slots) == nil
	if same != *c.sameResult {
		return fmt.Errorf("the same result with the other blame rule: %v, want %v", same, *c.sameResult)
	}
	return nil
}

func diffDecisions(what string, got, want []plainDecision) error {
	var errs []error
	if len(got) != len(want) {
		errs = append(errs, fmt.Errorf("%s: %d decisions, want %d", what, len(got), len(want)))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			errs = append(errs, fmt.Errorf("%s %d: %+v, want %+v", what, i, got[i], want[i]))
		}
	}
	return errors.Join(errs...)
}

// TestCommitCasesRefuses changes the file of cases in every way a reader could overlook: what it does not understand
// must be an error, and so must every expectation that is not met.
func TestCommitCasesRefuses(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/commit.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := judgeCommitCases(data); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"", " ", "{}", "[]", "null", `{"format_version":1,"cases":[]}`, `{"format_version":1,"cases":null}`,
		`{"format_version":1}`, string(data) + "{}", strings.Replace(string(data), `"format_version"`, `"format_version":1,"format_version"`, 1)} {
		if judgeCommitCases([]byte(s)) == nil {
			t.Errorf("taken for a file of cases: %.40q", s)
		}
	}

	// Every value of a case, one at a time, is changed, removed or joined by a stranger. Prose may say anything, and
	// some values can be others without any expectation failing: what a block is called, which round a last block is
	// of, how many parents would have been allowed, and where in front of the first slot to start.
	prose := []string{"description", "notes"}
	free := regexp.MustCompile(`\.id$|\.blocks\[\d+\]\.round$|\.last_decided\.|\.max_parents_per_author$`)
	changes := 0
	var file any
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	cases := file.(map[string]any)["cases"].([]any)
	refuse := func(path, change string) {
		changes++
		data, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		if judgeCommitCases(data) == nil {
			t.Errorf("%s: %s, and nobody noticed", path, change)
		}
	}
	changed := func(path, change string) {
		if !free.MatchString(path) {
			refuse(path, change)
		}
	}
	var walk func(path string, v any, set func(any))
	walk = func(path string, v any, set func(any)) {
		switch v := v.(type) {
		case map[string]any:
			v["stranger"] = 1
			refuse(path, "an unknown key")
			delete(v, "stranger")
			for _, k := range slices.Sorted(maps.Keys(v)) {
				if slices.Contains(prose, k) {
					continue
				}
				old := v[k]
				if k != "expected_linearisation" && k != "same_result_with_blame_rule_author" {
					delete(v, k)
					refuse(path+"."+k, "removed")
					v[k] = old
				}
				walk(path+"."+k, old, func(x any) { v[k] = x })
				v[k] = old
			}
		case []any:
			if strings.HasSuffix(path, ".parents") || strings.HasSuffix(path, "].blocks") {
				// Whether a link or a block more or less changes a decision is not for the reader to know.
				set(append(slices.Clone(v), "nobody"))
				refuse(path, "an unknown block")
				set(v)
				return
			}
			for i, old := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), old, func(x any) { v[i] = x })
				v[i] = old
			}
			if strings.Contains(path, "expected") && len(v) > 0 {
				set(v[:len(v)-1])
				refuse(path, "the last is missing")
				set(v)
			}
		case string:
			set(v + "?")
			changed(path, "changed")
		case float64:
			set(v + 1)
			changed(path, "one more")
		case bool:
			set(!v)
			refuse(path, "negated")
		case nil:
			set("direct")
			refuse(path, "not null")
		}
	}
	// One case of each kind is enough: waves, several leaders, pipelined, equivocation, weights, collection.
	kept := []string{"base_indirect_commit", "multi_missing_first_leader", "own_equivocating_leader_one_certified",
		"own_three_validators_zero_f", "own_gc_drops_late_block"}
	for _, c := range cases {
		id := c.(map[string]any)["id"].(string)
		if !slices.Contains(kept, id) {
			continue
		}
		file = map[string]any{"format_version": 1, "cases": []any{c}}
		walk(id, c, nil)
	}
	t.Logf("%d changed files refused", changes)
}

// judgeCommitCases is TestCommitCases as a value.
func judgeCommitCases(data []byte) error {
	cases, err := readCommitCases(data)
	if err != nil {
		return err
	}
	for _, c := range cases {
		if err := errors.Join(c.check(plainRule), c.check(productRule), c.checkBlame()); err != nil {
			return fmt.Errorf("%s: %w", c.id, err)
		}
	}
	return nil
}

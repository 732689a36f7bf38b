package testnet

// checkOrder is P1: every node has the same commit at every index, each commit has
// its own blocks' bytes, and at equal commits all states have the same root, which
// is the one that executing the blocks again comes to.
func checkOrder(h *history, r *replayed) Promise {
	var f findings
	for _, why := range r.wrong {
		f.broke("%s", why)
	}
	first := make(map[uint64]CommitRecord)
	for _, of := range h.commits {
		for _, c := range of {
			one, known := first[c.Index]
			if !known {
				first[c.Index] = c
				continue
			}
			if one.Commit != c.Commit || one.TimeMs != c.TimeMs {
				f.broke("commit %d is %s on node %d and %s on node %d", c.Index, one.Commit, one.Node, c.Commit, c.Node)
			}
		}
	}
	for _, c := range h.again {
		f.broke("node %d has told of commit %d twice, the second time as %s", c.Node, c.Index, c.Commit)
	}
	for _, b := range h.blocks {
		if c, known := first[b.Index]; known && c.Commit != b.Commit {
			f.broke("commit %d is %s, but its blocks were given as those of %s", b.Index, c.Commit, b.Commit)
		}
	}
	checkRoots(h, r, &f)
	if len(first) == 0 {
		f.lacks("no node told of a commit")
	}
	if last := uint64(len(first)); last > uint64(len(r.states)) && len(r.wrong) == 0 {
		f.lacks("there are %d commits, the blocks of %d are recorded", last, len(r.states)-1)
	}
	return f.none("one order on all nodes", "differences")
}

func checkRoots(h *history, r *replayed, f *findings) {
	for _, root := range h.roots {
		again, known := r.roots[root.Index]
		if known && again != root.Root {
			f.broke("after commit %d node %d has the root %.16s..., executing the blocks again gives %.16s...", root.Index, root.Node, root.Root, again)
		}
		if known && root.Index < uint64(len(r.states)) && r.states[root.Index].commit != root.Commit {
			f.broke("node %d has certified %s as commit %d, which is %s", root.Node, root.Commit, root.Index, r.states[root.Index].commit)
		}
	}
}

// checkMoney is P2, after every commit.
func checkMoney(r *replayed) Promise {
	var f findings
	for _, why := range r.broken {
		f.broke("%s", why)
	}
	if len(r.states) < 2 {
		f.lacks("no commit was executed again")
	}
	return f.none(moneyPromise, "commits at which an asset does not add up")
}

// moneyPromise is the name of P2.
const moneyPromise = "money difference"

package node

import (
	"fmt"
	"net/http"
	"net/http/pprof"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

// dotRounds is how many of the newest rounds /debug/dag draws.
const dotRounds = 20

// debug serves what an engineer wants to see of a node, under /debug/. The API
// lets only this machine read it.
func (n *Node) debug() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/replica", n.debugReplica)
	mux.HandleFunc("/debug/dag", n.debugDAG)
	return mux
}

// debugReplica writes the replica's state as text.
func (n *Node) debugReplica(w http.ResponseWriter, _ *http.Request) {
	now := n.standing.Load()
	n.mu.RLock()
	line := n.replica.String()
	n.mu.RUnlock()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "%s\n\nstatus    %+v\nown       %+v\nexecuted  %d\npool      %d operations\njournal   %d operations\n",
		line, now.status, now.own, now.executed, now.pooled, n.intake.size())
	for a, id := range now.members.peers {
		fmt.Fprintf(w, "author %2d weight %3d has round %8d  %s\n", a, now.members.committee.Weight(dag.Author(a)), now.have[a], id)
	}
}

// debugDAG draws the newest rounds of the DAG, for Graphviz.
func (n *Node) debugDAG(w http.ResponseWriter, _ *http.Request) {
	now := n.standing.Load()
	from := now.status.Top - min(now.status.Top, dotRounds)
	w.Header().Set("Content-Type", "text/vnd.graphviz; charset=utf-8")
	fmt.Fprintf(w, "digraph dag {\n\trankdir=RL; node [shape=box, fontname=monospace];\n")
	err := replica.Rounds(disk{n.store}, now.own, now.status.Epoch, from, func(ref dag.Ref, raw []byte) bool {
		b, err := dag.TrustedBlock(raw, func([][]byte) (any, error) { return nil, nil })
		if err != nil {
			return false
		}
		fmt.Fprintf(w, "\t\"%v\" [label=\"round %d author %d\\n%d operations\"];\n", ref, ref.Round, ref.Author, len(b.Payload()))
		for _, p := range b.Parents() {
			if p.Round >= from {
				fmt.Fprintf(w, "\t\"%v\" -> \"%v\";\n", ref, p)
			}
		}
		return true
	})
	if err != nil {
		fmt.Fprintf(w, "\t// the disk: %v\n", err)
	}
	fmt.Fprintln(w, "}")
}

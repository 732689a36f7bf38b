package node

import (
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/holdfast-mesh/holdfast/node/dag"
	"github.com/holdfast-mesh/holdfast/node/replica"
)

// standing is what goroutines beside the loop may know of the replica: how it
// stood after the newest step whose batch is durable. It does not change; the loop
// publishes a new one after each such step.
type standing struct {
	own      replica.Own
	verifier *replica.Verifier
	members  *members
	status   dag.Status
	have     []uint64 // per author: the newest round accepted here
	executed uint64   // index of the newest executed commit
	commitMs int64    // and its time
	pooled   int      // operations in the pool
	poolFull float64  // 0 is empty, at 1 the pool refuses
	alarm    replica.Alarm
}

// members is a committee with its peers. It does not change.
type members struct {
	committee *dag.Committee
	peers     []peer.ID // by author
	authors   map[peer.ID]dag.Author
}

func newMembers(committee *dag.Committee) *members {
	m := &members{committee: committee, authors: make(map[peer.ID]dag.Author, committee.Size())}
	for a := range committee.Size() {
		id := PeerIDOf(committee.Member(dag.Author(a)).Key)
		m.peers = append(m.peers, id)
		m.authors[id] = dag.Author(a)
	}
	return m
}

// epochRounds is how many rounds an epoch can have as streams count them.
const epochRounds = 40 // bits: at a thousand rounds a second, for thirty years

// streamRound is a round as streams count them: rising over epochs, although
// rounds begin again in each.
func streamRound(epoch, round uint64) uint64 { return epoch<<epochRounds | round }

// splitRound is the inverse of streamRound.
func splitRound(n uint64) (epoch, round uint64) {
	return n >> epochRounds, n & (1<<epochRounds - 1)
}

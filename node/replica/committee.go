package replica

import (
	"encoding/binary"

	"github.com/holdfast-mesh/holdfast/node/dag"
)

// encodeCommittee is how an epoch's committee is kept on disk.
func encodeCommittee(c *dag.Committee) []byte {
	b := binary.AppendUvarint(nil, uint64(c.Size()))
	for a := range c.Size() {
		m := c.Member(dag.Author(a))
		b = append(b, m.Key[:]...)
		b = binary.AppendUvarint(b, m.Weight)
	}
	return b
}

func decodeCommittee(b []byte) (*dag.Committee, error) {
	r := &reader{rest: b}
	n := int(r.uint(dag.CommitteeMax))
	var members []dag.Member
	for range n {
		if r.err != nil {
			break
		}
		m := dag.Member{Key: r.digest()}
		m.Weight = r.uint(maxUint64)
		members = append(members, m)
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return dag.NewCommittee(members)
}

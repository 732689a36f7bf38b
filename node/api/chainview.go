package api

import (
	"net/http"
	"strconv"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// chainEndpoints tell about what the network has agreed on.
var chainEndpoints = []endpoint{
	{
		name: "commit", method: http.MethodGet, path: "/v1/commits/{index}", answer: Commit{},
		about:  "A commit: its leader, its blocks and its operations.",
		params: []param{{name: "index", about: "From 1.", value: paramInteger}},
		says:   []*problemKind{noSuchThing, tooOld, internal},
		serve:  (*Server).commit,
	},
	{
		name: "block", method: http.MethodGet, path: "/v1/blocks/{block}", media: typeBlock,
		about:  "A block's DAG-CBOR, whose SHA-256 is in the CID it is asked for by. The header Holdfast-As-Of has the as_of.",
		params: []param{{name: "block", about: "The block's CID.", value: paramText}},
		says:   []*problemKind{noSuchThing, tooOld, internal},
		serve:  (*Server).block,
	},
	{
		name: "checkpoint", method: http.MethodGet, path: "/v1/checkpoints/latest", answer: Checkpoint{},
		about: "The newest checkpoint that a quorum has certified.",
		says:  []*problemKind{noSuchThing, internal},
		serve: (*Server).checkpoint,
	},
}

func (s *Server) commit(c *call) (any, error) {
	index, err := strconv.ParseUint(c.r.PathValue("index"), 10, 53)
	if err != nil {
		return nil, badParameter.of("The index must be a number.")
	}
	a, err := s.backend.Commit(c.r.Context(), index)
	if err != nil {
		return nil, err
	}
	a.AsOf, a.Blocks, a.Ops = s.backend.AsOf(), orEmpty(a.Blocks), orEmpty(a.Ops)
	return &a, nil
}

func (s *Server) block(c *call) (any, error) {
	id, err := c.digest("block")
	if err != nil {
		return nil, err
	}
	b, err := s.backend.Block(c.r.Context(), id)
	if err != nil {
		return nil, err
	}
	return &raw{media: typeBlock, bytes: b, asOf: s.backend.AsOf(), forever: true}, nil
}

func (s *Server) checkpoint(c *call) (any, error) {
	a, err := s.backend.Checkpoint(c.r.Context())
	if err != nil {
		return nil, err
	}
	a.AsOf, a.Votes = s.backend.AsOf(), orEmpty(a.Votes)
	return &a, nil
}

// digest returns what the path names by its CID.
func (c *call) digest(name string) (ledger.Digest, error) {
	d, err := ledger.ParseDigest(c.r.PathValue(name))
	if err != nil {
		return d, badParameter.of("The %s must be a CID: version 1, DAG-CBOR, SHA-256.", name)
	}
	return d, nil
}

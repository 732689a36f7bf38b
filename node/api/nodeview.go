package api

import (
	"net/http"

	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// nodeEndpoints tell about the node and its network.
var nodeEndpoints = []endpoint{
	{
		name: "status", method: http.MethodGet, path: "/v1/status", answer: Status{},
		about: "The node: who it is, how far it is, and what ails it.",
		serve: func(s *Server, _ *call) (any, error) {
			status := s.backend.Status()
			status.AsOf = s.backend.AsOf()
			return &status, nil
		},
	},
	{
		name: "network", method: http.MethodGet, path: "/v1/network", answer: Network{},
		about: "The network: its id, assets, councils and parameters.",
		serve: (*Server).network,
	},
	{
		name: "peers", method: http.MethodGet, path: "/v1/peers", answer: Peers{},
		about: "The peers the node knows, validators first.",
		serve: func(s *Server, _ *call) (any, error) {
			return &Peers{AsOf: s.backend.AsOf(), Peers: orEmpty(s.backend.Peers())}, nil
		},
	},
	{
		name: "committee", method: http.MethodGet, path: "/v1/committee", answer: Committee{},
		about: "The committee of the running epoch.",
		serve: func(s *Server, _ *call) (any, error) {
			committee := s.backend.Committee()
			committee.AsOf, committee.Validators = s.backend.AsOf(), orEmpty(committee.Validators)
			return &committee, nil
		},
	},
	{
		name: "contract", method: http.MethodGet, path: "/v1/contract", answer: Contract{},
		about: "What works now, with a quorum, without one and alone, per kind of operation.",
		serve: func(s *Server, _ *call) (any, error) {
			status := s.backend.Status()
			status.AsOf = s.backend.AsOf()
			return contractOf(&status), nil
		},
	},
}

// orEmpty makes JSON's [] of an empty list, where nil would be null.
func orEmpty[T any](of []T) []T {
	if of == nil {
		return []T{}
	}
	return of
}

func (s *Server) network(*call) (any, error) {
	status := s.backend.Status()
	a := &Network{Network: status.Network, Name: status.Name}
	s.view(func(l *ledger.Ledger, _ *listing, asOf AsOf) {
		a.AsOf, a.Accounts = asOf, l.Accounts()
		assets := l.Assets()
		a.Assets = make([]Asset, len(assets))
		for i := range assets {
			of := &assets[i]
			a.Assets[i] = Asset{
				Asset: of.Symbol, ID: uint16(i), Decimals: int(of.Decimals), WithdrawalFeeMin: of.FormatAmount(of.WithdrawalFeeMin),
				Deposited: of.FormatAmount(of.Deposited), Withdrawn: of.FormatAmount(of.Withdrawn), Fees: of.FormatAmount(of.Fees),
			}
		}
		custodians, governors := l.Councils()
		a.Custodians, a.Governors = councilOf(&custodians), councilOf(&governors)
		a.Params = Params(l.Params())
	})
	return a, nil
}

func councilOf(c *ledger.Council) Council {
	members := make([]string, len(c.Members))
	for i := range members {
		members[i] = c.Members[i].String()
	}
	return Council{Threshold: int(c.Threshold), Members: members}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// defaultAPI is where a node on this machine listens.
const defaultAPI = "http://127.0.0.1:8080"

// gateway is the nodes a client talks to: the first that answers. Every node
// takes every operation, so when one does not answer the next is as good.
type gateway struct {
	clients []*api.Client
	names   []string // their addresses
	// bundle, if there is one, is what the client itself knows of the network.
	bundle *node.Bundle
}

// gatewayFlags say which nodes.
type gatewayFlags struct {
	api    []string
	bundle string
}

func (f *gatewayFlags) add(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.api, "api", nil, "address of a node's API, or several: the next is asked when one does not answer (default: "+envPrefix+"API or "+defaultAPI+")")
}

// addTrust is for commands that sign: they should not have to believe a node.
func (f *gatewayFlags) addTrust(c *cobra.Command) {
	f.add(c)
	c.Flags().StringVar(&f.bundle, "bundle", "", "the network's bundle: refuse to sign for another network, or by another's numbers (default: "+envPrefix+"BUNDLE)")
}

func (f *gatewayFlags) open() (*gateway, error) {
	addresses := f.api
	if len(addresses) == 0 {
		addresses = strings.FieldsFunc(os.Getenv(envPrefix+"API"), func(r rune) bool { return r == ',' || r == ' ' })
	}
	if len(addresses) == 0 {
		addresses = []string{defaultAPI}
	}
	g := &gateway{names: addresses}
	for _, address := range addresses {
		client, err := api.NewClient(address)
		if err != nil {
			return nil, usageError{err}
		}
		g.clients = append(g.clients, client)
	}
	path := f.bundle
	if path == "" {
		path = os.Getenv(envPrefix + "BUNDLE")
	}
	if path != "" {
		var err error
		if g.bundle, err = node.ReadBundle(path); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// ask puts a question to the nodes in turn until one answers. A refusal is an
// answer, unless it is about the node and not the question.
func ask[T any](ctx context.Context, g *gateway, question func(context.Context, *api.Client) (T, error)) (T, error) {
	var failed []error
	for i, client := range g.clients {
		answer, err := question(ctx, client)
		if err == nil || ctx.Err() != nil || !elsewhere(err) {
			return answer, err
		}
		failed = append(failed, fmt.Errorf("%s: %w", g.names[i], err))
	}
	var none T
	err := errors.Join(failed...)
	if problem := (*api.Problem)(nil); errors.As(err, &problem) {
		return none, err
	}
	return none, fmt.Errorf("no node answers; start one with holdfast run, or give the address of one with --api:\n%w", err)
}

// elsewhere says whether another node may answer what this one did not: it cannot
// be reached, has no room, or is on its way down.
func elsewhere(err error) bool {
	problem := (*api.Problem)(nil)
	if !errors.As(err, &problem) {
		return true
	}
	return problem.Status >= http.StatusInternalServerError || problem.Status == http.StatusTooManyRequests
}

// tongue is the network as a client that signs must know it: its id and the
// names and steps of assets and markets.
type tongue struct {
	network ledger.Digest
	names   ledger.Names
	about   api.Network // what the node has said
	markets api.Markets
}

// learn asks a node for the network's names and, if there is a bundle, holds
// them against it: who signs by a lying node's decimals pays a thousandfold.
func (g *gateway) learn(ctx context.Context) (*tongue, error) {
	network, err := ask(ctx, g, func(ctx context.Context, c *api.Client) (api.Network, error) { return c.Network(ctx) })
	if err != nil {
		return nil, err
	}
	markets, err := ask(ctx, g, func(ctx context.Context, c *api.Client) (api.Markets, error) { return c.Markets(ctx) })
	if err != nil {
		return nil, err
	}
	t, err := newTongue(network, markets)
	if err != nil {
		return nil, fmt.Errorf("the node's description of the network makes no sense: %w", err)
	}
	if g.bundle != nil {
		if err := t.agrees(g.bundle); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func newTongue(network api.Network, markets api.Markets) (*tongue, error) {
	id, err := ledger.ParseDigest(network.Network)
	if err != nil {
		return nil, err
	}
	t := &tongue{network: id, about: network, markets: markets}
	for i, a := range network.Assets {
		if int(a.ID) != i || a.Decimals < 0 || a.Decimals > ledger.DecimalsMax {
			return nil, fmt.Errorf("asset %s has number %d and %d decimals", a.Asset, a.ID, a.Decimals)
		}
		asset := ledger.Asset{Symbol: a.Asset, Decimals: uint8(a.Decimals)}
		if asset.WithdrawalFeeMin, err = asset.ParseAmount(a.WithdrawalFeeMin); err != nil {
			return nil, fmt.Errorf("asset %s: %w", a.Asset, err)
		}
		t.names.Assets = append(t.names.Assets, asset)
	}
	for i, m := range markets.Markets {
		market, err := t.market(m)
		if int(m.ID) != i {
			err = fmt.Errorf("it has number %d", m.ID)
		}
		if err != nil {
			return nil, fmt.Errorf("market %s: %w", m.Market, err)
		}
		t.names.Markets = append(t.names.Markets, market)
	}
	return t, nil
}

// market reads what is needed to write and read orders.
func (t *tongue) market(m api.Market) (out ledger.Market, err error) {
	if out.Base, err = t.names.Asset(m.Base); err != nil {
		return out, err
	}
	if out.Quote, err = t.names.Asset(m.Quote); err != nil {
		return out, err
	}
	if out.Tick, err = parseDecimal(m.Tick); err != nil {
		return out, err
	}
	lot, err := t.names.Assets[out.Base].ParseAmount(m.Lot)
	if err != nil {
		return out, err
	}
	var fits bool
	if out.Lot, fits = lot.Uint64(); !fits || out.Lot == 0 || out.Tick.Units == 0 {
		return out, fmt.Errorf("its steps are %s and %s", m.Tick, m.Lot)
	}
	return out, nil
}

// agrees says whether a node's words fit the bundle. Assets and markets are only
// ever added, so those of the genesis are there for good, as they were.
func (t *tongue) agrees(b *node.Bundle) error {
	if t.network != b.ID() {
		return fmt.Errorf("the node is of network %s, the bundle of %s: nothing is signed; give --api a node of that network", t.network, b.ID())
	}
	lies := errors.New("the node's numbers of assets and markets are not those of the bundle: it lies or is broken; nothing is signed, ask another node with --api")
	g := b.Genesis()
	if len(t.names.Assets) < len(g.Assets) || len(t.names.Markets) < len(g.Markets) {
		return lies
	}
	for i, a := range g.Assets {
		if t.names.Assets[i].Symbol != a.Symbol || t.names.Assets[i].Decimals != a.Decimals {
			return lies
		}
	}
	for i, m := range g.Markets {
		if n := t.names.Markets[i]; n.Base != m.Base || n.Quote != m.Quote || n.Tick != m.Tick || n.Lot != m.Lot {
			return lies
		}
	}
	return nil
}

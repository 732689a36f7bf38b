package testnet

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/holdfast-mesh/holdfast/testnet/faults"
)

// beginOnLinks puts the fault's rule on its links; a flap goes on beside.
func (n *Network) beginOnLinks(ctx context.Context, one *inForce) error {
	if err := n.setLinks(ctx, one, true); err != nil {
		return err
	}
	if one.Kind == Flap {
		n.beside(one, func(ctx context.Context) { n.flap(ctx, one) })
	}
	return nil
}

// endOnLinks takes the fault's rule away.
func (n *Network) endOnLinks(ctx context.Context, one *inForce) error {
	return n.setLinks(ctx, one, false)
}

// setLinks puts a fault's rule on its links or takes it away, and has every node
// obey.
func (n *Network) setLinks(ctx context.Context, one *inForce, on bool) error {
	n.mu.Lock()
	if on {
		n.weather.set(one.name, one.from, one.to, one.OneWay, one.rule())
	} else {
		n.weather.clear(one.name)
	}
	n.mu.Unlock()
	return n.pushRules(ctx)
}

// pushRules has what lies between the nodes be as the faults in force say.
func (n *Network) pushRules(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock() // so that of two changes at once the later one stays
	if n.config.Harmless {
		return nil
	}
	return n.driver.obey(ctx, n.weather, n.nodes)
}

// obey has the running process take a table of rules. One that has just been started
// may not listen yet, and has read the rules of before.
func (p *process) obey(ctx context.Context, t faults.Table) error {
	ctx, cancel := context.WithTimeout(ctx, listenMax)
	defer cancel()
	for {
		if state, _ := p.now(); state != Running {
			return nil
		}
		err := p.body.filter(ctx, func(c *faults.Client) error { return c.Set(ctx, t) })
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(listenEvery):
		}
	}
}

// A process listens for faults before it does anything else.
const (
	listenMax   = 10 * time.Second
	listenEvery = 10 * time.Millisecond
)

// beside runs what goes on while a fault is in force, until stop.
func (n *Network) beside(one *inForce, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	n.mu.Lock()
	one.cancel, one.over = cancel, over
	n.mu.Unlock()
	go func() {
		defer close(over)
		f(ctx)
	}()
}

// flap lets the cut come and go. Each spell is half to one and a half of its length,
// by chance from the network's seed.
func (n *Network) flap(ctx context.Context, one *inForce) {
	chance := rand.New(rand.NewPCG(n.config.Seed, uint64(len(one.name))))
	spell := func(ms int) time.Duration {
		if ms == 0 {
			ms = flapMsDefault
		}
		return millis(float64(ms) * (0.5 + chance.Float64()))
	}
	for cut := true; ; cut = !cut {
		length := spell(one.UpMs)
		if cut {
			length = spell(one.DownMs)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(length):
		}
		if err := n.setLinks(ctx, one, !cut); err != nil {
			continue // a node that died meanwhile; its rules wait for it
		}
	}
}

// link puts the latency at rest on the links between two providers.
func (n *Network) link(l Link) error {
	a, err := pick(n.spots(), []string{l.A})
	if err != nil {
		return err
	}
	b, err := pick(n.spots(), []string{l.B})
	if err != nil {
		return err
	}
	n.weather.set("link "+l.A+" "+l.B, a, b, false, faults.Rule{Delay: millis(l.Millis)})
	return nil
}

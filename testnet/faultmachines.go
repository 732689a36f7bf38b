package testnet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// beginOnMachines does to each node of From what the fault says.
func (n *Network) beginOnMachines(ctx context.Context, one *inForce) error {
	var wrong []error
	for _, i := range one.from {
		wrong = append(wrong, n.hurt(ctx, one, i))
	}
	switch one.Kind {
	case CrashLoop:
		n.beside(one, func(ctx context.Context) { n.crashLoop(ctx, one) })
	case Flood:
		n.beside(one, func(ctx context.Context) { n.flood(ctx, one) })
	}
	return errors.Join(wrong...)
}

func (n *Network) hurt(ctx context.Context, one *inForce, i int) error {
	p := n.nodes[i]
	switch one.Kind {
	case Flood:
		return nil
	case Twin:
		return n.startTwin(ctx, one, i)
	case Pause:
		return p.pause()
	case Kill, CrashLoop:
		return p.kill()
	case DiskLost:
		return errors.Join(p.kill(), p.body.loseStore())
	case Restart:
		return n.again(p.stop(), i)
	case Forget:
		return errors.Join(p.kill(), n.forgetServices(p), n.startNode(i))
	case DiskFull:
		return n.again(p.stop(), i, "--reserve-bytes", reserveAll)
	case Corrupt:
		if err := p.stop(); err != nil {
			return err
		}
		return n.again(p.flipBit(n.config.Seed), i)
	}
	panic(fmt.Sprintf("testnet: invariant broken: nothing does %q to a machine", one.Kind))
}

// reserveAll is more room than a disk has: a node that must keep so much free finds
// its disk full. Filling the disk of whoever runs this would hurt more than the node.
const reserveAll = "1000000GiB"

func (n *Network) again(err error, i int, more ...string) error {
	if err != nil {
		return err
	}
	return n.startNode(i, more...)
}

// endOnMachines has each node of From run as before.
func (n *Network) endOnMachines(ctx context.Context, one *inForce) error {
	var wrong []error
	for _, i := range one.from {
		wrong = append(wrong, n.mend(ctx, one, i))
	}
	return errors.Join(wrong...)
}

func (n *Network) mend(ctx context.Context, one *inForce, i int) error {
	p := n.nodes[i]
	switch one.Kind {
	case Twin:
		return n.endTwin(ctx, one)
	case Pause:
		return n.goOn(p)
	case Kill:
		return n.startNode(i)
	case CrashLoop:
		return n.again(p.kill(), i)
	case DiskLost:
		return n.startNode(i, "--recover")
	case DiskFull:
		return n.again(p.stop(), i)
	}
	return nil
}

// goOn wakes a paused node and tells it the rules that changed meanwhile.
func (n *Network) goOn(p *process) error {
	if err := p.resume(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainMax)
	defer cancel()
	return n.pushRules(ctx)
}

// crashLoop starts the nodes and kills each within the second, over and over.
func (n *Network) crashLoop(ctx context.Context, one *inForce) {
	chance := rand.New(rand.NewPCG(n.config.Seed, uint64(one.from[0])))
	for {
		for _, i := range one.from {
			if err := n.startNode(i); err != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(crashMin + time.Duration(chance.Int64N(int64(crashSpread)))):
		}
		for _, i := range one.from {
			if err := n.nodes[i].kill(); err != nil {
				return
			}
		}
	}
}

// A node in a crash loop lives for half a second to two: it opens its store, replays,
// and sometimes says a word to its peers.
const (
	crashMin    = 500 * time.Millisecond
	crashSpread = 1500 * time.Millisecond
)

// storePath is the store in a node's directory.
func storePath(dir string) string { return filepath.Join(dir, "store") }

// flipBit changes one bit in the largest file of the node's store.
func (p *process) flipBit(seed uint64) error {
	path, size, err := largestFile(storePath(p.dir))
	if err != nil {
		return err
	}
	chance := rand.New(rand.NewPCG(seed, uint64(size)))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	defer f.Close()
	at, b := chance.Int64N(size), make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	b[0] ^= 1 << chance.IntN(8)
	if _, err := f.WriteAt(b, at); err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	return nil
}

func largestFile(dir string) (path string, size int64, err error) {
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > size {
			path, size = p, info.Size()
		}
		return err
	})
	if err == nil && path == "" {
		err = fmt.Errorf("testnet: there is nothing in %s to corrupt", dir)
	}
	return path, size, err
}

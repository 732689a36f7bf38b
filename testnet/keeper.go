package testnet

import "runtime"

// keeper starts processes from one thread that lives as long as the network. Linux
// ends a process with its parent's thread, not with its parent; without a keeper a
// node could die because a goroutine moved.
type keeper struct {
	work chan func()
	done chan struct{}
}

func newKeeper() *keeper {
	k := &keeper{work: make(chan func()), done: make(chan struct{})}
	go k.run()
	return k
}

func (k *keeper) run() {
	defer close(k.done)
	runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
	for f := range k.work {
		f()
	}
}

// do runs f on the keeper's thread and returns its error.
func (k *keeper) do(f func() error) error {
	result := make(chan error, 1)
	k.work <- func() { result <- f() }
	return <-result
}

// close ends the thread, and with it every process it started that still runs.
func (k *keeper) close() {
	close(k.work)
	<-k.done
}

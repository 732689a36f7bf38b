package testnet

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// endWithParent has the kernel kill a node when the testnet's thread ends, however
// that ends; a paused node too, which could not see its input close. A group of its
// own keeps a terminal's interrupt from reaching the nodes before us.
func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// stoppedWithin is the longest a signalled process may take to stand still: a thread
// in an uninterruptible disk write stops only after it.
const stoppedWithin = 10 * time.Second

// awaitStopped waits until every thread of the signalled process has stopped. It is
// not told of the process's end, which await waits for.
func awaitStopped(pid int) error {
	for end := time.Now().Add(stoppedWithin); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("it ended while it was paused: %w", err)
		case info.Signo != 0:
			return nil
		}
	}
	return fmt.Errorf("process %d goes on %v after SIGSTOP", pid, stoppedWithin)
}

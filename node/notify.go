package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"
)

// A service manager hears how a node is over a datagram socket that it names in the
// environment (sd_notify(3)). The protocol is a line of text a message; it is written
// here rather than taken from a library because that is all there is to it.
const (
	notifySocketEnv = "NOTIFY_SOCKET"
	watchdogEnv     = "WATCHDOG_USEC"
	watchdogPIDEnv  = "WATCHDOG_PID"

	notifyReady    = "READY=1"
	notifyStopping = "STOPPING=1"
	notifyAlive    = "WATCHDOG=1"
	notifyStatus   = "STATUS="

	// notifyTimeout bounds one message: a manager that does not read must not hold up
	// the node.
	notifyTimeout = time.Second
	// statusEvery is how often the manager is told how the node stands, for people
	// who ask it.
	statusEvery = 5 * time.Second
)

// Notifier tells the service manager that started this process how the node is. The
// zero Notifier, and a nil one, tell nobody.
type Notifier struct {
	socket   string
	watchdog time.Duration // the manager's patience; 0: it has no watchdog
	log      *slog.Logger
}

// NotifierFromEnvironment finds the service manager. Without one it tells nobody.
func NotifierFromEnvironment(log *slog.Logger) (*Notifier, error) {
	n := &Notifier{socket: os.Getenv(notifySocketEnv), log: log}
	if n.socket == "" {
		return n, nil
	}
	if c := n.socket[0]; c != '/' && c != '@' {
		return nil, fmt.Errorf("%s is %q: it must be the path of a socket, or begin with @", notifySocketEnv, n.socket)
	}
	if pid := os.Getenv(watchdogPIDEnv); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return n, nil // the watchdog is another process's
	}
	if text := os.Getenv(watchdogEnv); text != "" {
		us, err := strconv.ParseInt(text, 10, 64)
		if err != nil || us <= 0 || us > (24*time.Hour).Microseconds() {
			return nil, fmt.Errorf("%s is %q: it must be a number of microseconds, a day at most", watchdogEnv, text)
		}
		n.watchdog = time.Duration(us) * time.Microsecond
	}
	return n, nil
}

// tell sends a message. That nobody hears it is no fault of the node's.
func (n *Notifier) tell(message string) {
	if n == nil || n.socket == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err == nil {
		err = errors.Join(send(conn, message), conn.Close())
	}
	if err != nil {
		n.log.Warn("the service manager does not hear", "message", message, "err", err)
	}
}

func send(conn *net.UnixConn, message string) error {
	if err := conn.SetWriteDeadline(time.Now().Add(notifyTimeout)); err != nil {
		return err
	}
	_, err := conn.Write([]byte(message))
	return err
}

// Watch tells the manager that the node takes part, how it stands, and until ctx ends
// that its loop turns; then that it is stopping. A loop that is stuck is not told of,
// so that the manager starts the node anew. A full disk is no reason to: the loop waits
// for room on purpose, and turns while it does.
func (n *Notifier) Watch(ctx context.Context, node *Node) {
	if n == nil || n.socket == "" {
		return
	}
	every := statusEvery
	if n.watchdog > 0 {
		every = min(every, n.watchdog/3)
	}
	n.tell(notifyReady + "\n" + notifyStatus + node.summary())
	again := time.NewTicker(every)
	defer again.Stop()
	for turned := node.turns.Load(); ; {
		select {
		case <-again.C:
		case <-ctx.Done():
			n.tell(notifyStopping)
			return
		}
		node.inbox.signal() // an idle loop may sleep for longer than the manager's patience
		message := notifyStatus + node.summary()
		if now := node.turns.Load(); now != turned {
			turned = now
			message = notifyAlive + "\n" + message
		}
		n.tell(message)
	}
}

// summary is how the node stands, on one line.
func (n *Node) summary() string {
	s := backend{n}.Status()
	state := "follows"
	switch {
	case s.Alarm != "":
		state = "has stopped: " + s.Alarm
	case s.DiskFull:
		state = "takes no operations: the disk is full"
	case s.Recovering:
		state = "asks the others what it said"
	case s.CatchingUp, !s.Ready:
		state = "is catching up"
	case !s.AsOf.Quorum:
		state = "sees no quorum"
	case s.Validator:
		state = "validates"
	}
	return fmt.Sprintf("%s; commit %d, %d peers", state, s.AsOf.Commit, s.Peers)
}

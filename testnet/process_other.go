//go:build !linux

package testnet

import "syscall"

// endWithParent gives a node a group of its own, so that a terminal's interrupt does
// not reach it before us. It ends when its input closes, unless it is paused then.
func endWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// awaitStopped does not wait here: a thread may run on for a moment after the signal.
func awaitStopped(int) error { return nil }

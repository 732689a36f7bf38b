// Command holdfast is the one program of the project: it runs a node, keeps a
// wallet, places orders, and starts, cuts and judges test networks.
//
// Only this package reads flags, prints, and exits; everything it does is a call
// into another room.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes of every subcommand that names none of its own.
const (
	exitOK      = 0
	exitFailure = 1 // the work failed; the error says why
	exitUsage   = 2 // the command line was wrong; nothing was done
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run does what the arguments say and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "holdfast:", err)
	if usage := (usageError{}); errors.As(err, &usage) {
		fmt.Fprintf(stderr, "Run '%s --help' for what it takes.\n", command.CommandPath())
		return exitUsage
	}
	if coded := (exitError{}); errors.As(err, &coded) {
		return coded.code
	}
	return exitFailure
}

// usageError is a fault of the command line itself.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitError is a failure with an exit code that its command documents.
type exitError struct {
	error
	code int
}

func (e exitError) Unwrap() error { return e.error }

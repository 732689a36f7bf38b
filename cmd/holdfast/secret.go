package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/holdfast-mesh/holdfast/node"
)

// secretFlags say how a key is encrypted, or opened.
type secretFlags struct {
	identityFile, passphraseFile string
	plain                        bool
}

// addOpen puts the flags on a command that opens keys, addMake on one that makes
// them.
func (f *secretFlags) addOpen(c *cobra.Command) {
	c.Flags().StringVar(&f.identityFile, "identity", "", "an age identity file that opens the key")
	c.Flags().StringVar(&f.passphraseFile, "passphrase-file", "", "a file with one line, the passphrase; else "+envPrefix+"PASSPHRASE, else you are asked")
}

func (f *secretFlags) addMake(c *cobra.Command) {
	f.addOpen(c)
	f.addPlain(c)
}

func (f *secretFlags) addPlain(c *cobra.Command) {
	c.Flags().BoolVar(&f.plain, "plain", false, "do not encrypt the key: for test networks")
}

// lock is what the flags come to. A person is asked when there is a terminal.
func (f *secretFlags) lock(c *cobra.Command) (node.Lock, error) {
	ways := 0
	for _, given := range []bool{f.identityFile != "", f.passphraseFile != "", f.plain} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		return node.Lock{}, usageError{errors.New("--plain, --identity and --passphrase-file exclude each other: a key has one lock")}
	}
	l := node.Lock{Plain: f.plain, IdentityFile: f.identityFile, Passphrase: asker(c)}
	if f.passphraseFile != "" {
		l.Passphrase = func(bool) (string, error) { return node.ReadPassphrase(f.passphraseFile) }
	}
	return l, nil
}

// asker takes a passphrase from the environment or asks for it on the terminal,
// a new one twice.
func asker(c *cobra.Command) func(fresh bool) (string, error) {
	return func(fresh bool) (string, error) {
		if text, ok := os.LookupEnv(envPrefix + "PASSPHRASE"); ok {
			return text, nil
		}
		in, ok := c.InOrStdin().(*os.File)
		if !ok || !term.IsTerminal(int(in.Fd())) {
			return "", fmt.Errorf("%w: there is no terminal to ask for its passphrase on: give --passphrase-file, --identity or %sPASSPHRASE", node.ErrKeyLocked, envPrefix)
		}
		first, err := askHidden(in, c.ErrOrStderr(), "Passphrase: ")
		if err != nil || !fresh {
			return first, err
		}
		second, err := askHidden(in, c.ErrOrStderr(), "The same again: ")
		if err == nil && first != second {
			err = errors.New("the two passphrases differ: nothing was made")
		}
		return first, err
	}
}

func askHidden(in *os.File, prompts io.Writer, prompt string) (string, error) {
	fmt.Fprint(prompts, prompt)
	b, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(prompts)
	if err != nil {
		return "", fmt.Errorf("passphrase: %w", err)
	}
	return string(b), nil
}

// questions asks a person, line by line.
type questions struct {
	in  *bufio.Scanner
	out io.Writer
	err error // the first failure; after it, answers are empty
}

func newQuestions(c *cobra.Command) *questions {
	return &questions{in: bufio.NewScanner(c.InOrStdin()), out: c.ErrOrStderr()}
}

// ask returns the answer, or what stands for an empty one.
func (q *questions) ask(question, empty string) string {
	if q.err != nil {
		return ""
	}
	if empty != "" {
		question += " [" + empty + "]"
	}
	fmt.Fprint(q.out, question+": ")
	if !q.in.Scan() {
		if q.err = q.in.Err(); q.err == nil {
			q.err = io.ErrUnexpectedEOF
		}
		return ""
	}
	if text := q.in.Text(); text != "" {
		return text
	}
	return empty
}

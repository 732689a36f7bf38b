package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/node/ledger"
)

// walletSuffix ends the name of a wallet's key file.
const walletSuffix = ".key"

// walletsMax bounds the wallets of a directory that are listed.
const walletsMax = 10_000

// walletFlags say whose wallet.
type walletFlags struct {
	dir, name string
	secret    secretFlags
}

// add puts the flags on a command that needs to know whose wallet, addSign on one
// that opens it.
func (f *walletFlags) add(c *cobra.Command) {
	f.addDir(c)
	c.Flags().StringVarP(&f.name, "wallet", "w", "", "the wallet's name (default: "+envPrefix+"WALLET, or the only one there is)")
}

func (f *walletFlags) addDir(c *cobra.Command) {
	c.Flags().StringVar(&f.dir, "wallets", "", "the directory of the wallets (default: "+envPrefix+"WALLETS, or wallets in ~/.holdfast)")
}

func (f *walletFlags) addSign(c *cobra.Command) {
	f.add(c)
	f.secret.addOpen(c)
}

func (f *walletFlags) directory() string {
	for _, dir := range []string{f.dir, os.Getenv(envPrefix + "WALLETS")} {
		if dir != "" {
			return dir
		}
	}
	return filepath.Join(defaultDataDir(), "wallets")
}

// path is where the wallet with this name is, or would be.
func (f *walletFlags) path(name string) (string, error) {
	fine := name != "" && len(name) <= node.LabelBytesMax && name[0] != '.' && name[0] != '-'
	for _, r := range name {
		fine = fine && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-')
	}
	if !fine {
		return "", usageError{fmt.Errorf("%q cannot name a wallet: use letters, digits, '.', '_' and '-', %d at most", name, node.LabelBytesMax)}
	}
	return filepath.Join(f.directory(), name+walletSuffix), nil
}

// names lists the wallets, in alphabetical order.
func (f *walletFlags) names() ([]string, error) {
	entries, err := os.ReadDir(f.directory())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("wallets: %w", err)
	}
	var all []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), walletSuffix); ok && len(all) < walletsMax {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all, nil
}

// chosen is the name of the wallet that is meant.
func (f *walletFlags) chosen() (string, error) {
	for _, name := range []string{f.name, os.Getenv(envPrefix + "WALLET")} {
		if name != "" {
			return name, nil
		}
	}
	names, err := f.names()
	switch {
	case err != nil:
		return "", err
	case len(names) == 0:
		return "", fmt.Errorf("there is no wallet in %s: make one with holdfast wallet new NAME", f.directory())
	case len(names) > 1:
		return "", usageError{fmt.Errorf("there are %d wallets (%s): say which with --wallet", len(names), strings.Join(names[:min(len(names), 8)], ", "))}
	}
	return names[0], nil
}

// inspect says what a wallet's file says without being opened.
func (f *walletFlags) inspect(name string) (node.KeyInfo, error) {
	path, err := f.path(name)
	if err != nil {
		return node.KeyInfo{}, err
	}
	info, err := node.InspectKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there is no wallet %q in %s: holdfast wallet list shows those there are", name, f.directory())
	}
	return info, err
}

// account is the chosen wallet's.
func (f *walletFlags) account() (ledger.Account, error) {
	name, err := f.chosen()
	if err != nil {
		return ledger.Account{}, err
	}
	info, err := f.inspect(name)
	return info.Account, err
}

// open returns the chosen wallet's key, and where its file is.
func (f *walletFlags) open(c *cobra.Command) (key ed25519.PrivateKey, path string, err error) {
	name, err := f.chosen()
	if err != nil {
		return nil, "", err
	}
	if _, err := f.inspect(name); err != nil {
		return nil, "", err
	}
	path, err = f.path(name)
	if err != nil {
		return nil, "", err
	}
	lock, err := f.secret.lock(c)
	if err != nil {
		return nil, "", err
	}
	key, err = node.LoadKey(path, lock)
	return key, path, err
}

// party reads whom money goes to: an account in hexadecimal, or the name of a
// wallet here.
func (f *walletFlags) party(text string) (ledger.Account, error) {
	if account, err := ledger.ParseAccount(text); err == nil {
		return account, nil
	}
	info, err := f.inspect(text)
	if err != nil {
		return ledger.Account{}, fmt.Errorf("%q is neither an account, which has 64 hexadecimal digits, nor a wallet here: %w", text, err)
	}
	return info.Account, nil
}

package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// house is the table of rooms: which packages there are, and which of ours each
// may import. It is the picture of docs/structure.md as data; nothing points back,
// so several people can build at once.
var house = []room{
	{path: "storage"},
	{path: "p2p"},
	{path: "node/ledger", pure: true},
	{path: "node/dag", pure: true},
	{path: "node/replica", pure: true, mayImport: []string{"node/dag", "node/ledger"}},
	{path: "testnet/sim", pure: true, mayImport: []string{"node/replica", "node/dag", "node/ledger"}},
	{path: "node/mesh", mayImport: []string{"p2p"}},
	{path: "node/api", mayImport: []string{"node/ledger"}},
	{path: "node/faucet", mayImport: []string{"node/api", "node/ledger", "storage"}},
	{path: "node", mayImport: []string{
		"node/api", "node/replica", "node/mesh", "node/dag", "node/ledger", "p2p", "storage",
	}},
	{path: "testnet/faults"},
	{path: "testnet/dnsplan", pure: true},
	{path: "testnet", mayImport: []string{
		"node", "node/api", "node/mesh", "node/ledger", "p2p", "testnet/faults", "testnet/dnsplan",
	}},
	{path: "cmd/holdfast", mayImport: []string{
		"node", "node/api", "node/faucet", "node/replica", "node/mesh", "node/dag", "node/ledger",
		"p2p", "storage", "testnet", "testnet/sim", "testnet/faults",
	}},
}

// chainMax bounds the longest chain of own imports, in packages:
// cmd, testnet, node, replica, dag.
const chainMax = 5

func TestHouse(t *testing.T) {
	faults, err := inspect("..", house)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Error(f)
	}
}

// TestHouseCatches plants one violation of each kind, and one allowed form
// beside each that could be mistaken for it, in a module of its own.
func TestHouseCatches(t *testing.T) {
	planted, err := os.ReadFile(filepath.Join("testdata", "house.txt"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	rooms := []room{
		{path: "base", pure: true},
		{path: "left", pure: true, mayImport: []string{"base"}},
		{path: "right", mayImport: []string{"base"}},
		{path: "above", mayImport: []string{"base", "left", "right"}},
		{path: "top", mayImport: []string{"above"}},
		{path: "roof", mayImport: []string{"top"}},
		{path: "spire", mayImport: []string{"roof"}},
		{path: "missing"},
	}
	var want []string
	for _, f := range unpack(t, string(planted)) {
		path := filepath.Join(dir, f.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(f.text), 0o644); err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(f.text, "\n") {
			if _, message, ok := strings.Cut(line, "// want: "); ok {
				want = append(want, position(f.name, i+1)+": "+message)
			}
		}
	}
	want = append(want,
		"missing: the table names this package, but no such package exists",
		"shed: a package that is not in the table",
		"spire: a chain of 6 own imports (at most 5): spire, roof, top, above, right, base",
	)

	faults, err := inspect(dir, rooms)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for _, f := range faults {
		matched := false
		for _, w := range want {
			if strings.HasPrefix(f.String(), w) {
				got[w], matched = true, true
			}
		}
		if !matched {
			t.Errorf("unexpected: %s", f)
		}
		if f.remedy == "" {
			t.Errorf("no remedy: %s", f)
		}
	}
	for _, w := range want {
		if !got[w] {
			t.Errorf("not caught: %s", w)
		}
	}
	if len(want) < 20 {
		t.Errorf("only %d violations planted", len(want))
	}
}

// file is one file of a planted module.
type file struct{ name, text string }

// unpack splits the planted module: each file starts with a line "-- name --".
func unpack(t *testing.T, s string) []file {
	t.Helper()
	var files []file
	for line := range strings.Lines(s) {
		if name, ok := strings.CutPrefix(line, "-- "); ok {
			files = append(files, file{name: strings.TrimSuffix(strings.TrimSpace(name), " --")})
			continue
		}
		if len(files) == 0 {
			continue // the note at the top
		}
		files[len(files)-1].text += line
	}
	if len(files) == 0 {
		t.Fatal("nothing planted")
	}
	return files
}

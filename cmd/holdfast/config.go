package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-mesh/holdfast/node"
)

// configName is the configuration file in the data directory.
const configName = "holdfast.toml"

// configBytesMax bounds a configuration file: all settings with room for notes.
const configBytesMax = 1 << 20

// layered is a configuration and, by key, where each value is from: a flag, the
// environment, the file, the bundle, or the default, the first of them that says
// something.
type layered struct {
	config node.Config
	from   map[string]string
	bundle *node.Bundle // if there is one
	faults []error      // all of them, so that they can be told at once
}

// configFlags are the settings' flags of one command.
type configFlags struct {
	file  string            // --config
	given map[string]string // by key, in the text of the command line
}

// flagValue takes a setting's flag.
type flagValue struct {
	s  *setting
	to map[string]string
}

func (v flagValue) String() string { return "" }
func (v flagValue) Type() string   { return v.s.kind() }
func (v flagValue) Set(text string) error {
	if err := v.s.set(new(node.Config), text); err != nil {
		return err
	}
	v.to[v.s.key] = text
	return nil
}

// add puts the flags of these settings, or of all, on a command.
func (f *configFlags) add(flags *pflag.FlagSet, keys ...string) {
	f.given = make(map[string]string)
	flags.StringVar(&f.file, "config", "", "a configuration file (default: "+configName+" in data_dir)")
	for i := range settings {
		s := &settings[i]
		if len(keys) > 0 && !slices.Contains(keys, s.key) {
			continue
		}
		flag := flags.VarPF(flagValue{s, f.given}, s.flag(), "", s.about)
		if s.kind() == "bool" {
			flag.NoOptDefVal = "true"
		}
	}
}

// load puts the layers over each other. It always returns a configuration; what
// is wrong is in faults.
func (f *configFlags) load() *layered {
	l := &layered{config: node.DefaultConfig(), from: make(map[string]string)}
	l.config.DataDir = defaultDataDir()
	for i := range settings {
		l.from[settings[i].key] = "default"
	}
	l.readFile(f)
	l.readEnv()
	for i := range settings {
		if text, ok := f.given[settings[i].key]; ok {
			l.take(&settings[i], "flag --"+settings[i].flag(), settings[i].set(&l.config, text))
		}
	}
	l.readBundle()
	l.addFaults(l.config.Validate())
	return l
}

func (l *layered) take(s *setting, from string, err error) {
	if err != nil {
		l.faults = append(l.faults, fmt.Errorf("%s: %s: %w", from, s.key, err))
		return
	}
	l.from[s.key] = from
}

// addFaults takes joined errors apart and speaks of settings by their names here.
func (l *layered) addFaults(err error) {
	if err == nil {
		return
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range many.Unwrap() {
			l.addFaults(one)
		}
		return
	}
	l.faults = append(l.faults, errors.New(renamed(err.Error())))
}

// renamed replaces the names of fields at the beginning of words by settings'.
func renamed(text string) string {
	words := strings.Split(text, " ")
	for i, word := range words {
		name := strings.TrimRight(word, ":,;[0123456789]")
		at := slices.IndexFunc(settings, func(s setting) bool { return s.field == name })
		if at >= 0 {
			words[i] = settings[at].key + word[len(name):]
		}
	}
	return strings.Join(words, " ")
}

// defaultDataDir is below the home directory, or here if there is none.
func defaultDataDir() string {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "."
	}
	return filepath.Join(home, ".holdfast")
}

// readFile reads the file that is named, or that in the data directory if there
// is one.
func (l *layered) readFile(f *configFlags) {
	path, named := f.file, true
	if path == "" {
		path = os.Getenv(envPrefix + "CONFIG")
	}
	if path == "" {
		dir := l.config.DataDir
		for _, text := range []string{os.Getenv(settingOf("data_dir").env()), f.given["data_dir"]} {
			if text != "" {
				dir = text
			}
		}
		path, named = filepath.Join(dir, configName), false
	}
	file, err := os.Open(path)
	if !named && errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		l.faults = append(l.faults, fmt.Errorf("configuration: %w", err))
		return
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, configBytesMax+1))
	if err == nil && len(b) > configBytesMax {
		err = fmt.Errorf("it has more than %d bytes: this is not a configuration", configBytesMax)
	}
	tree := make(map[string]any)
	if err == nil {
		err = toml.Unmarshal(b, &tree)
	}
	if err != nil {
		l.faults = append(l.faults, fmt.Errorf("%s: %w", path, placed(err)))
		return
	}
	l.takeTree(path, "", tree, named)
}

// placed adds the line and column to an error of TOML.
func placed(err error) error {
	if decode := (*toml.DecodeError)(nil); errors.As(err, &decode) {
		row, column := decode.Position()
		return fmt.Errorf("line %d, column %d: %w", row, column, err)
	}
	return err
}

// takeTree takes what a file says. A key that is no setting is a fault.
func (l *layered) takeTree(path, prefix string, tree map[string]any, named bool) {
	keys := make([]string, 0, len(tree))
	for key := range tree {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		full, value := prefix+key, tree[key]
		if table, ok := value.(map[string]any); ok && hasTable(full) {
			l.takeTree(path, full+".", table, named)
			continue
		}
		s := settingOf(full)
		switch {
		case s == nil:
			l.faults = append(l.faults, fmt.Errorf("%s: there is no setting %q%s", path, full, nearest(full)))
		case s.onceOnly:
			l.faults = append(l.faults, fmt.Errorf("%s: %s is for one start: give it as the flag --%s", path, s.key, s.flag()))
		case s.key == "data_dir" && !named:
			l.faults = append(l.faults, fmt.Errorf("%s: data_dir cannot be set by the file that is found in it: name the file with --config", path))
		default:
			l.take(s, path, s.setTOML(&l.config, value))
		}
	}
}

func hasTable(name string) bool {
	return slices.ContainsFunc(settings, func(s setting) bool { return strings.HasPrefix(s.key, name+".") })
}

// nearest suggests a setting for a misspelt one.
func nearest(key string) string {
	best, least := "", 3 // more letters apart is another word
	for i := range settings {
		if d := distance(key, settings[i].key); d < least {
			best, least = settings[i].key, d
		}
	}
	if best == "" {
		return "; holdfast config show lists them all"
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is how many letters must be changed, added or dropped (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := last
			if a[i] != b[j] {
				change++
			}
			last = row[j+1]
			row[j+1] = min(change, last+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// otherEnv are variables of ours that are no settings of a node.
var otherEnv = []string{"CONFIG", "API", "PASSPHRASE", "WALLET", "WALLETS", "BUNDLE", "TESTNET_FAULTS"}

// readEnv takes the environment; a variable of ours that is no setting is a fault.
func (l *layered) readEnv() {
	for _, entry := range os.Environ() {
		name, text, _ := strings.Cut(entry, "=")
		rest, ours := strings.CutPrefix(name, envPrefix)
		if !ours || slices.Contains(otherEnv, rest) {
			continue
		}
		at := slices.IndexFunc(settings, func(s setting) bool { return s.env() == name })
		switch {
		case at < 0:
			l.faults = append(l.faults, fmt.Errorf("environment: there is no setting %s%s", name, nearest(strings.ToLower(rest))))
		case settings[at].onceOnly:
			l.faults = append(l.faults, fmt.Errorf("environment: %s is for one start: give it as the flag --%s", name, settings[at].flag()))
		default:
			l.take(&settings[at], "environment "+name, settings[at].set(&l.config, text))
		}
	}
}

// readBundle takes what the bundle says of this node, if both are there.
func (l *layered) readBundle() {
	path := l.config.BundlePath()
	bundle, err := node.ReadBundle(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		l.faults = append(l.faults, fmt.Errorf("%w; it is the bundle this directory was joined with: move it away, and join again", err))
		return
	}
	l.bundle = bundle
	info, err := node.InspectKey(l.config.KeyPath())
	if err != nil {
		return // whoever needs the key will say so
	}
	filled, err := l.config.WithBundle(bundle, info.Account)
	if err != nil {
		l.addFaults(err)
		return
	}
	for i := range settings {
		if s := &settings[i]; s.get(&filled) != s.get(&l.config) {
			l.from[s.key] = "bundle " + path
		}
	}
	l.config = filled
}

// err is every fault at once.
func (l *layered) err() error {
	if len(l.faults) == 0 {
		return nil
	}
	return fmt.Errorf("the configuration has %d faults:\n%w", len(l.faults), errors.Join(l.faults...))
}

func newConfig() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Show what a node is told, and from where, and check it",
		Long: `A setting is taken from the first of these that says something: a flag of the
command line, a variable of the environment (HOLDFAST_ and the name in capitals,
dots as _), the TOML file, the network's bundle, the default. Names that do not
exist are faults, not ignored.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newConfigShow(), newConfigCheck())
	return c
}

// shownSetting is a line of config show.
type shownSetting struct {
	Setting string `json:"setting"`
	Value   string `json:"value"`
	From    string `json:"from"`
	About   string `json:"about"`
}

func newConfigShow() *cobra.Command {
	var f configFlags
	var o output
	c := &cobra.Command{
		Use:   "show",
		Short: "Print every setting, its value and where it is from",
		Example: `  holdfast config show
  HOLDFAST_API_LISTEN=127.0.0.1:9000 holdfast config show --log.level debug
  holdfast config show --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l := f.load()
			var all []shownSetting
			for i := range settings {
				s := &settings[i]
				all = append(all, shownSetting{s.key, s.get(&l.config), l.from[s.key], s.about})
			}
			err := o.print(c, all, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "SETTING\tVALUE\tFROM")
				for _, s := range all {
					fmt.Fprintf(w, "%s\t%s\t%s\n", s.Setting, s.Value, s.From)
				}
			})
			return errors.Join(err, l.err())
		},
	}
	f.add(c.Flags())
	o.add(c)
	return c
}

func newConfigCheck() *cobra.Command {
	var f configFlags
	var o output
	c := &cobra.Command{
		Use:   "check",
		Short: "List everything that is wrong with a node's configuration, at once",
		Long: `Checks the settings, the bundle and the key file, without starting anything and
without asking for a passphrase.

Exit codes: 0 nothing is wrong, 1 something is, 2 a wrong command line.`,
		Example: `  holdfast config check
  holdfast config check --config /etc/holdfast.toml --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l := f.load()
			l.checkFiles()
			answer := struct {
				Faults []string `json:"faults"`
			}{Faults: []string{}}
			for _, fault := range l.faults {
				answer.Faults = append(answer.Faults, fault.Error())
			}
			err := o.print(c, answer, func(w *tabwriter.Writer) {
				if len(l.faults) == 0 {
					fmt.Fprintln(w, "Nothing is wrong.")
				}
			})
			return errors.Join(err, l.err())
		},
	}
	f.add(c.Flags())
	o.add(c)
	return c
}

// checkFiles looks for what a run will need.
func (l *layered) checkFiles() {
	if l.bundle == nil && len(l.faults) == 0 {
		l.faults = append(l.faults, fmt.Errorf("there is no bundle at %s: run holdfast join with the network's bundle", l.config.BundlePath()))
	}
	_, err := node.InspectKey(l.config.KeyPath())
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there is no key at %s: run holdfast init", l.config.KeyPath())
	}
	if err != nil {
		l.faults = append(l.faults, err)
	}
}

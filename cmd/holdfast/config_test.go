package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-mesh/holdfast/node"
)

// isolated gives the test a home of its own and none of the machine's settings.
func isolated(t *testing.T) (home string) {
	t.Helper()
	home = t.TempDir()
	t.Setenv("HOME", home)
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, envPrefix) {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	return home
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSettingsAreConfig: every field of node.Config that a file may set has a
// setting, each setting a field of that name.
func TestSettingsAreConfig(t *testing.T) {
	hooks := []string{"Passphrase", "ListenUDP", "CheckpointEvery", "SnapshotEvery"} // see their comments
	fields := reflect.TypeFor[node.Config]()
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		has := slices.ContainsFunc(settings, func(s setting) bool { return s.field == name })
		if has == slices.Contains(hooks, name) {
			t.Errorf("%s: a setting: %v", name, has)
		}
	}
	for i := range settings {
		var c node.Config
		s := &settings[i]
		if want := reflect.ValueOf(&c).Elem().FieldByName(s.field).Addr().Interface(); s.place(&c) != want {
			t.Errorf("%s is placed in another field than %s", s.key, s.field)
		}
	}
}

// samples are values other than the defaults, as text and as TOML.
var samples = map[string][2]string{
	"text": {"debug", `"debug"`}, "list": {"/ip4/1.2.3.4/tcp/1,/ip4/1.2.3.4/tcp/2", `["/ip4/1.2.3.4/tcp/1", "/ip4/1.2.3.4/tcp/2"]`},
	"bool": {"false", "false"}, "number": {"77", "77"}, "bytes": {"256MiB", `"256MiB"`}, "duration": {"77ms", `"77ms"`},
}

// TestEverySource: each setting can be given in each place, and the place that
// comes first wins.
func TestEverySource(t *testing.T) {
	for i := range settings {
		s := &settings[i]
		t.Run(s.key, func(t *testing.T) {
			home := isolated(t)
			sample := samples[s.kind()]
			if s.onceOnly {
				checkSource(t, s, []string{"--" + s.flag()}, "true", "flag --"+s.flag())
				return
			}
			file := write(t, filepath.Join(home, "x.toml"), toTOML(s.key, sample[1]))
			checkSource(t, s, []string{"--config", file}, sample[0], file)
			t.Setenv(s.env(), sample[0])
			checkSource(t, s, nil, sample[0], "environment "+s.env())
			checkSource(t, s, []string{"--config", file}, sample[0], "environment "+s.env())
			checkSource(t, s, []string{"--config", file, "--" + s.flag() + "=" + sample[0]}, sample[0], "flag --"+s.flag())
		})
	}
}

func toTOML(key, value string) string {
	if table, name, ok := strings.Cut(key, "."); ok {
		return "[" + table + "]\n" + name + " = " + value + "\n"
	}
	return key + " = " + value + "\n"
}

func checkSource(t *testing.T, s *setting, args []string, value, from string) {
	t.Helper()
	stdout, _, _ := call(t, append([]string{"config", "show", "--json"}, args...)...)
	var all []shownSetting
	if err := json.Unmarshal([]byte(stdout), &all); err != nil {
		t.Fatal(err)
	}
	for _, shown := range all {
		if shown.Setting == s.key {
			if shown.Value != value || shown.From != from {
				t.Errorf("with %q: %q from %q, want %q from %q", args, shown.Value, shown.From, value, from)
			}
			return
		}
	}
	t.Errorf("%s is not shown", s.key)
}

func TestConfigShow(t *testing.T) {
	home := isolated(t)
	stdout, stderr, code := call(t, "config", "show")
	if code != exitOK || stderr != "" {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	if !strings.Contains(stdout, "SETTING") || !strings.Contains(stdout, filepath.Join(home, ".holdfast")) {
		t.Errorf("got:\n%s", stdout)
	}
	if lines := strings.Count(stdout, "\n"); lines != len(settings)+1 {
		t.Errorf("%d lines for %d settings", lines, len(settings))
	}
	// The file in the data directory is found.
	write(t, filepath.Join(home, "d", configName), "[api]\nlisten = \"127.0.0.1:9\"\n")
	if stdout, _, _ = call(t, "config", "show", "--data-dir", filepath.Join(home, "d")); !strings.Contains(stdout, "127.0.0.1:9") {
		t.Errorf("got:\n%s", stdout)
	}
	t.Setenv("HOLDFAST_DATA_DIR", filepath.Join(home, "d"))
	if stdout, _, _ = call(t, "config", "show"); !strings.Contains(stdout, "127.0.0.1:9") {
		t.Errorf("by the environment:\n%s", stdout)
	}
}

// TestConfigCheckListsAll: every fault of every layer at once, by the names that
// the person has written.
func TestConfigCheckListsAll(t *testing.T) {
	home := isolated(t)
	file := write(t, filepath.Join(home, "x.toml"), `
lisen = ["/ip4/0.0.0.0/tcp/1"]
min_round = 50
recover = true
gossip = "yes"
peers_wanted = 1.5
listen = [1]
[api]
listn = "127.0.0.1:1"
[log]
level = "loud"
[nothing]
here = 1
`)
	t.Setenv("HOLDFAST_API_LISTENN", "x")
	t.Setenv("HOLDFAST_IDLE_ROUND", "soon")
	t.Setenv("HOLDFAST_CACHE_BYTES", "many")
	t.Setenv("HOLDFAST_RECOVER", "true")
	stdout, stderr, code := call(t, "config", "check", "--config", file, "--leader-timeout", "0s", "--provider", "AWS")
	if code != exitFailure {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{
		`there is no setting "lisen"; did you mean "listen"?`,
		`min_round: 50: it should be a time with its unit`,
		`recover is for one start: give it as the flag --recover`,
		`gossip: yes: it should be true or false`,
		`peers_wanted: 1.5: it should be a number`,
		`listen: [1]: it should be a list of texts`,
		`there is no setting "api.listn"; did you mean "api.listen"?`,
		`log.level is "loud": choose one of debug`,
		`there is no setting "nothing"; holdfast config show lists them all`,
		`there is no setting HOLDFAST_API_LISTENN; did you mean`,
		`environment HOLDFAST_IDLE_ROUND: idle_round: "soon": give a time with its unit`,
		`cache_bytes: "many": give a number`,
		`HOLDFAST_RECOVER is for one start`,
		`leader_timeout is 0s: choose 1ms to 1m0s`,
		`provider "AWS": name it in`,
		`there is no key at`,
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no word of %q", want)
		}
	}
	if t.Failed() {
		t.Logf("it says:\n%s", stderr)
	}
	if stdout != "" {
		t.Errorf("stdout %q", stdout)
	}
	stdout, _, _ = call(t, "config", "check", "--config", file, "--json")
	var answer struct{ Faults []string }
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil || len(answer.Faults) < 14 {
		t.Errorf("%v: %d faults", err, len(answer.Faults))
	}
}

func TestConfigFileFaults(t *testing.T) {
	home := isolated(t)
	for text, want := range map[string]string{
		"a = = 1":                             "line 1, column 5",
		"[api]\n[api]\n":                      "line 2",
		strings.Repeat("#\n", configBytesMax): "this is not a configuration",
		"api = 1":                             `there is no setting "api"`,
	} {
		file := write(t, filepath.Join(home, "x.toml"), text)
		if _, stderr, code := call(t, "config", "show", "--config", file); code != exitFailure || !strings.Contains(stderr, want) {
			t.Errorf("%.20q: exit %d, %s", text, code, stderr)
		}
	}
	if _, stderr, code := call(t, "config", "show", "--config", filepath.Join(home, "none")); code != exitFailure || !strings.Contains(stderr, "no such file") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	write(t, filepath.Join(home, ".holdfast", configName), "data_dir = \"/elsewhere\"\n")
	if _, stderr, code := call(t, "config", "show"); code != exitFailure || !strings.Contains(stderr, "cannot be set by the file that is found in it") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

func TestConfigWrongFlag(t *testing.T) {
	isolated(t)
	for _, args := range [][]string{{"--min-round", "5"}, {"--peers-wanted", "x"}, {"--gossip=maybe"}, {"--cache-bytes", "9999999999999GiB"}} {
		if _, stderr, code := call(t, append([]string{"config", "show"}, args...)...); code != exitUsage || !strings.Contains(stderr, "give a") && !strings.Contains(stderr, "say true") {
			t.Errorf("%q: exit %d, %s", args, code, stderr)
		}
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "17": 17, "1KiB": 1024, "64MiB": 64 << 20, "3 GiB": 3 << 30, "1048577": 1<<20 + 1} {
		if n, err := parseBytes(text); err != nil || n != want {
			t.Errorf("%s: %d, %v", text, n, err)
		}
		if n, err := parseBytes(formatBytes(want)); err != nil || n != want {
			t.Errorf("%d is written as %s", want, formatBytes(want))
		}
	}
	for _, text := range []string{"", "MiB", "-1GiB", "1TB", "1.5MiB", "99999999999GiB"} {
		if n, err := parseBytes(text); err == nil {
			t.Errorf("%s: %d", text, n)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"listen", "listen", 0}, {"lisen", "listen", 1}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"ab", "ba", 2}} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("%q to %q: %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

package node

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/node/mesh"
	"github.com/holdfast-mesh/holdfast/p2p"
)

func testConfig() Config {
	c := DefaultConfig()
	c.DataDir = "/data"
	return c
}

func TestDefaultConfig(t *testing.T) {
	if err := testConfig().Validate(); err != nil {
		t.Error(err)
	}
	if err := DefaultConfig().Validate(); err == nil || !strings.Contains(err.Error(), "DataDir is missing") {
		t.Errorf("without a directory: %v", err)
	}
}

// seen is all that a configuration makes different.
func seen(c Config) string {
	r := c.replicaConfig(nil, testKey(1))
	h := c.p2pConfig("network", testKey(1))
	h.Identity = nil
	listens := h.ListenUDP != nil
	h.ListenUDP = nil
	lock := c.Lock()
	said := "nobody asked"
	if lock.Passphrase != nil {
		text, err := lock.Passphrase(false)
		said = fmt.Sprint(text, err)
	}
	var log bytes.Buffer
	logger := c.Logger(&log)
	logger.Debug("a", "time", 0)
	s := c.storageOptions(nil)
	s.FS = nil
	return fmt.Sprintf("%+v\n%+v %v\n%+v\n%s %s %s\n%s %s\n%s %v %d %d %v %v\n%d bytes of log, %q",
		r, h, listens, s, c.KeyPath(), c.BundlePath(), c.storePath(), lock.IdentityFile, said,
		c.APIListen, c.Loopback(), c.APIConnections, c.APIStreams, c.APIRequests, c.APIOps, log.Len(), formatOf(c))
}

func formatOf(c Config) string {
	var b bytes.Buffer
	c.Logger(&b).Error("x")
	return b.String()[:1]
}

// TestEachField changes each field and sees a difference.
func TestEachField(t *testing.T) {
	base := seen(testConfig())
	fields := reflect.TypeFor[Config]()
	for i := range fields.NumField() {
		c := testConfig()
		name, v := fields.Field(i).Name, reflect.ValueOf(&c).Elem().Field(i)
		switch field := v.Addr().Interface().(type) {
		case *string:
			*field = map[string]string{"LogLevel": "debug", "LogFormat": "json"}[name]
			if *field == "" {
				*field = "other"
			}
		case *p2p.Reach:
			*field = p2p.ReachPrivate
		case *[]string:
			*field = []string{"/ip4/192.0.2.1/tcp/1"}
		case *bool:
			*field = !*field
		case *int:
			*field++
		case *int64:
			*field++
		case *uint64:
			*field++
		case *float64:
			*field++
		case *time.Duration:
			*field++
		case *func(bool) (string, error):
			*field = func(bool) (string, error) { return "asked", nil }
		case *func(string, *net.UDPAddr) (net.PacketConn, error):
			*field = func(string, *net.UDPAddr) (net.PacketConn, error) { return nil, errors.New("none") }
		default:
			t.Fatalf("%s has type %s, which this test cannot change", name, v.Type())
		}
		if seen(c) == base {
			t.Errorf("%s makes no difference", name)
		}
	}
}

// TestEveryFaultAtOnce: one call names all that is wrong.
func TestEveryFaultAtOnce(t *testing.T) {
	c := Config{
		IdentityFile: "a", PassphraseFile: "b", Provider: "Not A Label", APIListen: "nowhere", Reach: "maybe",
		Listen: []string{"/dns/example.org/tcp/1"}, Announce: []string{"x"}, APIStreams: -1, LogLevel: "loud", LogFormat: "xml", CacheBytes: -1,
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	for _, want := range []string{
		"DataDir", "IdentityFile and PassphraseFile", "Provider", "APIListen", "APIConnections", "APIStreams", "APIRequests", "APIOps",
		"LogLevel", "LogFormat", "MinRound", "IdleRound", "LeaderTimeout", "AskTimeout", "CheckpointEvery",
		"Listen", "Announce", "Reach", "PeersWanted", "CacheBytes", "ReserveBytes",
	} {
		if !strings.Contains("\n"+err.Error(), "\n"+want) && !strings.Contains(err.Error(), "a "+want) {
			t.Errorf("no word of %s in:\n%v", want, err)
		}
	}
}

func TestConfigPaths(t *testing.T) {
	c := testConfig()
	if c.KeyPath() != "/data/node.key" || c.BundlePath() != "/data/network.bundle" {
		t.Errorf("%s, %s", c.KeyPath(), c.BundlePath())
	}
	c.KeyFile, c.BundleFile = "/else/key", "bundle"
	if c.KeyPath() != "/else/key" || c.BundlePath() != "bundle" {
		t.Errorf("%s, %s", c.KeyPath(), c.BundlePath())
	}
}

func TestConfigWithBundle(t *testing.T) {
	b := testBundle(t)
	c, err := testConfig().WithBundle(b, ledger.AccountOf(testKey(2)))
	if err != nil || c.Provider != "c" || len(c.Announce) != 1 || c.Announce[0] != "/ip4/127.0.0.1/udp/4003/quic-v1" {
		t.Errorf("%v: %q %q", err, c.Provider, c.Announce)
	}
	c = testConfig()
	c.Announce, c.Provider = []string{"/ip4/192.0.2.1/tcp/1"}, "c"
	if c, err = c.WithBundle(b, ledger.AccountOf(testKey(2))); err != nil || c.Announce[0] != "/ip4/192.0.2.1/tcp/1" {
		t.Errorf("%v: %q", err, c.Announce)
	}
	c.Provider = "elsewhere"
	if _, err := c.WithBundle(b, ledger.AccountOf(testKey(2))); err == nil || !strings.Contains(err.Error(), `counts this validator in "c"`) {
		t.Errorf("got %v", err)
	}
	if c, err = c.WithBundle(b, ledger.AccountOf(testKey(50))); err != nil || c.Provider != "elsewhere" {
		t.Errorf("an observer: %v, %q", err, c.Provider)
	}
}

func TestConfigLoadKey(t *testing.T) {
	cheapPassphrases(t)
	c := testConfig()
	c.DataDir = filepath.Join(t.TempDir(), "data")
	if err := c.MakeDataDir(); err != nil {
		t.Fatal(err)
	}
	c.PassphraseFile = writeTestFile(t, filepath.Join(c.DataDir, "passphrase"), "correct horse\n")
	key, err := CreateKey(c.KeyPath(), c.Lock())
	if err != nil {
		t.Fatal(err)
	}
	if loaded, err := c.LoadKey(); err != nil || !loaded.Equal(key) {
		t.Error(err)
	}
	c.PassphraseFile = ""
	if _, err := c.LoadKey(); !errors.Is(err, ErrKeyLocked) {
		t.Errorf("without the passphrase: %v", err)
	}
}

func TestLoopback(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "0.0.0.0:1": false, ":1": false, "192.0.2.1:1": false, "x": false} {
		c := Config{APIListen: addr}
		if c.Loopback() != want {
			t.Errorf("%s: %v", addr, !want)
		}
	}
}

// Whatever has a text is logged as it, in JSON too; an id is no array of numbers.
func TestLogsSayTexts(t *testing.T) {
	id := ledger.Digest{1}
	for _, format := range []string{"json", "text"} {
		c := testConfig()
		c.LogFormat = format
		var log bytes.Buffer
		c.Logger(&log).Info("x", "network", id, "state", mesh.Draining, "err", errors.New("gone"), "commit", 7)
		for _, want := range []string{id.String(), "draining", "gone", "7"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s: %q is not in %s", format, want, log.String())
			}
		}
	}
}

package replica

import (
	"strings"
	"testing"
	"time"
)

func TestConfigValidate(t *testing.T) {
	good := testConfig(testGenesis(4))
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Config){
		"no Genesis":             func(c *Config) { c.Genesis = nil },
		"a Key of 3 bytes":       func(c *Config) { c.Key = c.Key[:0:0]; c.Key = append(c.Key, 1, 2, 3) },
		"no Key, but Recover":    func(c *Config) { c.Recover = true },
		"MinRound is 0s":         func(c *Config) { c.MinRound = 0 },
		"IdleRound is 1ms":       func(c *Config) { c.IdleRound = time.Millisecond },
		"LeaderTimeout is 2h":    func(c *Config) { c.LeaderTimeout = 2 * time.Hour },
		"AskTimeout is -1s":      func(c *Config) { c.AskTimeout = -time.Second },
		"a CheckpointEvery of 0": func(c *Config) { c.CheckpointEvery = 0 },
		"a SnapshotEvery of 41":  func(c *Config) { c.SnapshotEvery = 41 },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	all := Config{}
	if err := all.Validate(); err == nil || strings.Count(err.Error(), "\n") < 4 {
		t.Errorf("not every fault is listed: %v", err)
	}
}

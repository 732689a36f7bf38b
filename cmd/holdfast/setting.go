package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-mesh/holdfast/node"
	"github.com/holdfast-mesh/holdfast/p2p"
)

// setting is one thing a node can be told, under one name everywhere: as
// --api.listen, HOLDFAST_API_LISTEN, and listen in the table [api] of the file.
type setting struct {
	key   string // lower case, with dots between tables and _ between words
	field string // of node.Config
	about string // one line, with unit
	// place is where the value goes; it decides how the text is read.
	place func(*node.Config) any
	// onceOnly: it is meant for one start, so it is a flag and nothing else.
	onceOnly bool
}

// settings are all there is to configure, in the order they are shown in.
var settings = []setting{
	{key: "data_dir", field: "DataDir", about: "the node's directory", place: func(c *node.Config) any { return &c.DataDir }},
	{key: "key_file", field: "KeyFile", about: "the node's key (default: node.key in data_dir)", place: func(c *node.Config) any { return &c.KeyFile }},
	{key: "bundle_file", field: "BundleFile", about: "the network's bundle (default: network.bundle in data_dir)", place: func(c *node.Config) any { return &c.BundleFile }},
	{key: "identity_file", field: "IdentityFile", about: "an age identity file that opens the key", place: func(c *node.Config) any { return &c.IdentityFile }},
	{key: "passphrase_file", field: "PassphraseFile", about: "a file with one line, the passphrase that opens the key", place: func(c *node.Config) any { return &c.PassphraseFile }},
	{key: "provider", field: "Provider", about: "the provider an observer runs at; a validator's is in the bundle", place: func(c *node.Config) any { return &c.Provider }},
	{key: "listen", field: "Listen", about: "multiaddrs to listen on for peers", place: func(c *node.Config) any { return &c.Listen }},
	{key: "announce", field: "Announce", about: "multiaddrs to tell peers instead of those listened on", place: func(c *node.Config) any { return &c.Announce }},
	{key: "gossip", field: "Gossip", about: "hear and send blocks by gossip", place: func(c *node.Config) any { return &c.Gossip }},
	{key: "dht", field: "DHT", about: "find peers in the distributed hash table", place: func(c *node.Config) any { return &c.DHT }},
	{key: "mdns", field: "MDNS", about: "find peers on the local network", place: func(c *node.Config) any { return &c.MDNS }},
	{key: "nat", field: "NAT", about: "map ports, punch holes, use relays", place: func(c *node.Config) any { return &c.NAT }},
	{key: "reach", field: "Reach", about: "public or private, if known; empty: find out", place: func(c *node.Config) any { return &c.Reach }},
	{key: "peers_wanted", field: "PeersWanted", about: "peers below which more are dialled", place: func(c *node.Config) any { return &c.PeersWanted }},
	{key: "peers_max", field: "PeersMax", about: "peers above which the least useful are let go", place: func(c *node.Config) any { return &c.PeersMax }},
	{key: "api.listen", field: "APIListen", about: "address and port of the API", place: func(c *node.Config) any { return &c.APIListen }},
	{key: "api.connections", field: "APIConnections", about: "open connections to the API at most", place: func(c *node.Config) any { return &c.APIConnections }},
	{key: "api.streams", field: "APIStreams", about: "open WebSocket streams at most", place: func(c *node.Config) any { return &c.APIStreams }},
	{key: "api.requests", field: "APIRequests", about: "requests per second and address", place: func(c *node.Config) any { return &c.APIRequests }},
	{key: "api.ops", field: "APIOps", about: "operations submitted per second and address", place: func(c *node.Config) any { return &c.APIOps }},
	{key: "min_round", field: "MinRound", about: "least time between two blocks: 10ms on a LAN, 50ms on a WAN", place: func(c *node.Config) any { return &c.MinRound }},
	{key: "idle_round", field: "IdleRound", about: "time between two blocks when there is nothing to order", place: func(c *node.Config) any { return &c.IdleRound }},
	{key: "leader_timeout", field: "LeaderTimeout", about: "how long a round waits for its leader", place: func(c *node.Config) any { return &c.LeaderTimeout }},
	{key: "ask_timeout", field: "AskTimeout", about: "how long before another validator is asked", place: func(c *node.Config) any { return &c.AskTimeout }},
	{key: "recover", field: "Recover", about: "this validator's disk is lost: ask the others what it said", place: func(c *node.Config) any { return &c.Recover }, onceOnly: true},
	{key: "retain", field: "Retain", about: "commits that stay on disk at the least", place: func(c *node.Config) any { return &c.Retain }},
	{key: "cache_bytes", field: "CacheBytes", about: "memory for reading from the store, such as 32MiB", place: func(c *node.Config) any { return &c.CacheBytes }},
	{key: "reserve_bytes", field: "ReserveBytes", about: "free disk below which operations are refused, such as 64MiB", place: func(c *node.Config) any { return &c.ReserveBytes }},
	{key: "log.level", field: "LogLevel", about: "debug, info, warn or error", place: func(c *node.Config) any { return &c.LogLevel }},
	{key: "log.format", field: "LogFormat", about: "text or json", place: func(c *node.Config) any { return &c.LogFormat }},
}

// envPrefix begins the name of every environment variable of ours.
const envPrefix = "HOLDFAST_"

func (s *setting) flag() string { return strings.ReplaceAll(s.key, "_", "-") }

func (s *setting) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

func settingOf(key string) *setting {
	for i := range settings {
		if settings[i].key == key {
			return &settings[i]
		}
	}
	return nil
}

// kind is what a value looks like, for the help.
func (s *setting) kind() string {
	switch s.place(new(node.Config)).(type) {
	case *[]string:
		return "list"
	case *bool:
		return "bool"
	case *int, *uint64, *float64:
		return "number"
	case *int64:
		return "bytes"
	case *time.Duration:
		return "duration"
	}
	return "text"
}

// set reads a value from text, as flags and the environment have it.
func (s *setting) set(c *node.Config, text string) (err error) {
	switch to := s.place(c).(type) {
	case *string:
		*to = text
	case *p2p.Reach:
		*to = p2p.Reach(text)
	case *[]string:
		*to = nil
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*to = append(*to, part)
			}
		}
	case *bool:
		if *to, err = strconv.ParseBool(text); err != nil {
			return fmt.Errorf("%q: say true or false", text)
		}
	case *int:
		*to, err = strconv.Atoi(text)
	case *uint64:
		*to, err = strconv.ParseUint(text, 10, 64)
	case *float64:
		*to, err = strconv.ParseFloat(text, 64)
	case *int64:
		*to, err = parseBytes(text)
	case *time.Duration:
		if *to, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("%q: give a time with its unit, such as 50ms or 2s", text)
		}
	default:
		panic(fmt.Sprintf("holdfast: invariant broken: nothing reads a %T", to))
	}
	if err != nil {
		return fmt.Errorf("%q: give a number", text)
	}
	return nil
}

// setTOML reads a value of the file, where numbers are numbers and lists lists.
func (s *setting) setTOML(c *node.Config, value any) error {
	switch v := value.(type) {
	case string:
		switch s.kind() {
		case "text", "duration", "bytes":
			return s.set(c, v)
		}
	case bool:
		if s.kind() == "bool" {
			return s.set(c, strconv.FormatBool(v))
		}
	case int64:
		if s.kind() == "number" || s.kind() == "bytes" {
			return s.set(c, strconv.FormatInt(v, 10))
		}
	case float64:
		if to, ok := s.place(c).(*float64); ok {
			*to = v
			return nil
		}
	case []any:
		to, isList := s.place(c).(*[]string)
		texts := make([]string, len(v))
		for i := range v {
			var isText bool
			texts[i], isText = v[i].(string)
			isList = isList && isText
		}
		if isList {
			*to = texts
			return nil
		}
	}
	return fmt.Errorf("%v: it should be %s", value, map[string]string{
		"list": `a list of texts, such as ["a", "b"]`, "bool": "true or false", "number": "a number", "text": "a text in quotation marks",
		"duration": `a time with its unit, such as "50ms"`, "bytes": `a number of bytes, or a text such as "64MiB"`,
	}[s.kind()])
}

// get writes a value as text that set reads.
func (s *setting) get(c *node.Config) string {
	switch v := s.place(c).(type) {
	case *[]string:
		return strings.Join(*v, ",")
	case *time.Duration:
		return v.String()
	case *int64:
		return formatBytes(*v)
	case *string:
		return *v
	case *p2p.Reach:
		return string(*v)
	case *bool:
		return strconv.FormatBool(*v)
	case *int:
		return strconv.Itoa(*v)
	case *uint64:
		return strconv.FormatUint(*v, 10)
	case *float64:
		return strconv.FormatFloat(*v, 'f', -1, 64)
	}
	panic("holdfast: invariant broken: nothing writes " + s.key)
}

// byteUnits are the units of sizes, largest first.
var byteUnits = []struct {
	name string
	size int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

func parseBytes(text string) (int64, error) {
	for _, unit := range byteUnits {
		if number, ok := strings.CutSuffix(text, unit.name); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
			if err == nil && (n > 1<<62/unit.size || n < 0) {
				err = strconv.ErrRange
			}
			return n * unit.size, err
		}
	}
	return strconv.ParseInt(text, 10, 64)
}

func formatBytes(n int64) string {
	for _, unit := range byteUnits {
		if n != 0 && n%unit.size == 0 {
			return strconv.FormatInt(n/unit.size, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10)
}

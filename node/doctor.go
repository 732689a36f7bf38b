package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/p2p"
)

// Verdict is what an examination thinks of one thing.
type Verdict string

const (
	Fine   Verdict = "ok"
	Warned Verdict = "warn" // it works, and should be seen to
	Failed Verdict = "fail" // the node cannot do its work like this
)

// Finding is one thing that was looked at.
type Finding struct {
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail"`
	Remedy  string  `json:"remedy,omitempty"` // what to do, unless it is fine
}

// Limits of what is fine. A machine beyond the second of a pair is not fit.
const (
	syncTries   = 21
	syncWarned  = 20 * time.Millisecond // each step of a validator waits for one
	syncFailed  = 200 * time.Millisecond
	clockWarned = 250 * time.Millisecond
	clockFailed = 750 * time.Millisecond // operations so far ahead wait or are refused
	clockLooks  = 5
	filesFailed = 1024
	filesBeside = 2048 // descriptors for the store and peers, beside the API's connections
	reachTime   = 8 * time.Second
)

// Examine looks at the machine, the files and the network of a node, whether it runs or
// not. It changes nothing but a file that it writes and removes. ctx bounds how long
// the network is waited for.
func Examine(ctx context.Context, cfg Config) []Finding {
	e := &examination{cfg: cfg}
	e.version()
	e.files()
	e.running(ctx)
	e.ports()
	e.clock(ctx)
	e.disk()
	e.descriptors()
	e.reach(ctx)
	return e.found
}

type examination struct {
	cfg    Config
	found  []Finding
	bundle *Bundle     // nil: there is none that is sound
	client *api.Client // of the running node
	status *api.Status // nil: it does not run
}

func (e *examination) find(check string, v Verdict, remedy, format string, args ...any) {
	if v == Fine {
		remedy = ""
	}
	e.found = append(e.found, Finding{check, v, fmt.Sprintf(format, args...), remedy})
}

func (e *examination) version() { e.find("version", Fine, "", "holdfast %s", Version) }

// files looks at key, bundle and placement.
func (e *examination) files() {
	self, err := InspectKey(e.cfg.KeyPath())
	if err != nil {
		e.find("key", Failed, "Make one with holdfast init, or restore it from its copy.", "%v", err)
	}
	bundle, bundleErr := ReadBundle(e.cfg.BundlePath())
	if bundleErr != nil {
		e.find("bundle", Failed, "Get the network's bundle with holdfast join.", "%v", bundleErr)
		return
	}
	e.bundle = bundle
	validator := false
	if err == nil {
		_, validator = bundle.Validator(self.Account)
		switch {
		case validator && !self.Encrypted:
			e.find("key", Warned, "Encrypt it: docs/operate.md says how, and what else a validator's key needs.", "the key of a validator is not encrypted: whoever reads %s signs blocks", e.cfg.KeyPath())
		default:
			e.find("key", Fine, "", "peer %s", PeerIDOf(self.Account))
		}
	}
	role := "an observer"
	if validator {
		role = "a validator"
	}
	e.find("bundle", Fine, "", "%s of %q, %v, signed at %s", role, bundle.Genesis().Name, bundle.ID(), bundle.Issued().UTC().Format(time.DateTime))
	p := bundle.Placement()
	if len(p.Warnings) > 0 {
		e.find("placement", Warned, "Tell the network's governors.", "%s", strings.Join(p.Warnings, "; "))
		return
	}
	e.find("placement", Fine, "", "%d validators at %d providers in %d regions; up to %d of weight %d may be lost", p.Validators, len(p.Providers), len(p.Regions), p.Faulty, p.Weight)
}

// running asks the node's API how it is.
func (e *examination) running(ctx context.Context) {
	host, port, err := net.SplitHostPort(e.cfg.APIListen)
	if err == nil {
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		e.client, err = api.NewClient("http://" + net.JoinHostPort(host, port))
	}
	if err != nil {
		e.find("node", Failed, "Correct api.listen.", "%v", err)
		return
	}
	s, err := e.client.Status(ctx)
	switch {
	case err != nil:
		e.find("node", Warned, "Start it with holdfast run, unless it is meant to be down.", "no node runs here: nothing answers at %s", e.cfg.APIListen)
		return
	case e.bundle != nil && s.Network != e.bundle.ID().String():
		e.find("node", Failed, "Give it another api.listen, or this one another data_dir.", "what answers at %s is a node of another network, %s", e.cfg.APIListen, s.Network)
		return
	}
	e.status = &s
	switch {
	case s.Alarm != "":
		e.find("node", Failed, "A person has to look: docs/operate.md, alarms.", "it has stopped: %s", s.Alarm)
	case s.Version != Version:
		e.find("node", Warned, "Restart it to run what is installed.", "it runs version %s, this program is %s", s.Version, Version)
	case !s.Ready:
		e.find("node", Warned, "Wait; if it does not change, see reachability below.", "it runs and is not ready: commit %d, weight %d of %d connected, %d peers", s.AsOf.Commit, s.Weight.Connected, s.Weight.Total, s.Peers)
	default:
		e.find("node", Fine, "", "ready at commit %d, %d peers", s.AsOf.Commit, s.Peers)
	}
}

// ports tries those the node would listen on, unless it does.
func (e *examination) ports() {
	if e.status != nil {
		e.find("ports", Fine, "", "the node listens")
		return
	}
	var faults []string
	try := func(what string, listen func() (interface{ Close() error }, error)) {
		l, err := listen()
		if err != nil {
			faults = append(faults, fmt.Sprintf("%s: %v", what, err))
			return
		}
		l.Close()
	}
	try(e.cfg.APIListen, func() (interface{ Close() error }, error) { return net.Listen("tcp", e.cfg.APIListen) })
	for _, text := range e.cfg.Listen {
		m, err := ma.NewMultiaddr(text)
		if err != nil {
			faults = append(faults, err.Error())
			continue
		}
		at, _ := ma.SplitFunc(m, func(c ma.Component) bool { return c.Protocol().Code == ma.P_QUIC_V1 })
		addr, err := manet.ToNetAddr(at)
		if err != nil {
			faults = append(faults, fmt.Sprintf("%s: %v", text, err))
			continue
		}
		try(text, func() (interface{ Close() error }, error) {
			if addr.Network() == "udp" {
				return net.ListenPacket("udp", addr.String())
			}
			return net.Listen("tcp", addr.String())
		})
	}
	if len(faults) > 0 {
		e.find("ports", Failed, "Stop what has them, or choose others with listen and api.listen.", "%s", strings.Join(faults, "; "))
		return
	}
	e.find("ports", Fine, "", "%s and %s are free", strings.Join(e.cfg.Listen, ", "), e.cfg.APIListen)
}

// clock compares with the time of commits, which is the validators' median. A commit is
// older than it would be by a moment; so of a few the youngest tells most.
func (e *examination) clock(ctx context.Context) {
	if e.status == nil || !e.status.Ready {
		e.find("clock", Warned, "Look again when it is.", "not compared with the network's: that needs a node that is ready")
		return
	}
	youngest := time.Duration(1<<63 - 1)
	for range clockLooks {
		s, err := e.client.Status(ctx)
		if err != nil {
			break
		}
		youngest = min(youngest, time.Since(time.UnixMilli(int64(s.AsOf.Time))))
		select {
		case <-time.After(e.cfg.IdleRound / 2):
		case <-ctx.Done():
		}
	}
	// An idle network commits every few idle rounds: so much behind is none.
	behind := youngest - 4*e.cfg.IdleRound
	switch off := max(-youngest, behind); {
	case off > clockFailed:
		e.find("clock", Failed, "Let a time service (chrony, systemd-timesyncd) set it.", "it differs by about %v from the validators'", off.Round(time.Millisecond))
	case off > clockWarned:
		e.find("clock", Warned, "Let a time service (chrony, systemd-timesyncd) set it.", "it differs by about %v from the validators'", off.Round(time.Millisecond))
	default:
		e.find("clock", Fine, "", "the newest commit was %v old", youngest.Round(time.Millisecond))
	}
}

// disk measures what a step waits for, and the room there is.
func (e *examination) disk() {
	if _, err := os.Stat(e.cfg.DataDir); errors.Is(err, fs.ErrNotExist) {
		e.find("disk", Failed, "Make it with holdfast init.", "there is no %s", e.cfg.DataDir)
		return
	}
	took, err := measureSync(e.cfg.DataDir)
	if err != nil {
		e.find("disk", Failed, "The node must be able to write there: look at its owner, and at the disk.", "%v", err)
		return
	}
	verdict := Fine
	switch {
	case took > syncFailed:
		verdict = Failed
	case took > syncWarned:
		verdict = Warned
	}
	e.find("disk sync", verdict, "Take a disk that syncs faster: a validator's every block waits for one.", "%v for a write that survives a power cut (median of %d)", took.Round(10*time.Microsecond), syncTries)
	usage, err := vfs.Default.GetDiskUsage(e.cfg.DataDir)
	if err != nil {
		e.find("disk room", Warned, "Look yourself.", "%v", err)
		return
	}
	reserve := uint64(e.cfg.ReserveBytes)
	verdict = Fine
	switch {
	case usage.AvailBytes <= reserve:
		verdict = Failed
	case usage.AvailBytes < 16*reserve:
		verdict = Warned
	}
	e.find("disk room", verdict, "Make room: below reserve_bytes no operations are taken.", "%d MiB free, %d MiB are kept in reserve", usage.AvailBytes>>20, reserve>>20)
}

// measureSync is the median time of a small write and its sync.
func measureSync(dir string) (median time.Duration, err error) {
	f, err := os.CreateTemp(dir, "doctor-*")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	took := make([]time.Duration, syncTries)
	for i := range took {
		began := time.Now()
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

func (e *examination) descriptors() {
	files, known := filesMax()
	if !known {
		return
	}
	wanted := uint64(e.cfg.APIConnections + e.cfg.PeersMax + filesBeside)
	const remedy = "Raise the limit: ulimit -n, or LimitNOFILE= of the service; or lower api.connections."
	switch {
	case files < filesFailed:
		e.find("descriptors", Failed, remedy, "%d files may be open: the store alone may need as many", files)
	case files < wanted:
		e.find("descriptors", Warned, remedy, "%d files may be open, all the connections that are allowed need %d", files, wanted)
	default:
		e.find("descriptors", Fine, "", "%d files may be open, %d are enough", files, wanted)
	}
}

// reach connects with every validator and bootstrap peer of the bundle, as a stranger.
func (e *examination) reach(ctx context.Context) {
	if e.bundle == nil {
		return
	}
	self, _ := InspectKey(e.cfg.KeyPath())
	type target struct {
		p2p.Peer
		weight uint64
		err    error
	}
	var targets []*target
	for i, p := range e.bundle.Committee() {
		if v := e.bundle.Validators()[i]; v.Key != self.Account {
			targets = append(targets, &target{Peer: p, weight: v.Weight})
		}
	}
	for _, p := range e.bundle.BootstrapPeers() {
		targets = append(targets, &target{Peer: p})
	}
	host, err := openStranger(e.bundle.ID())
	if err != nil {
		e.find("reachability", Failed, "Is there a network?", "%v", err)
		return
	}
	defer host.Close()
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	var work sync.WaitGroup
	for _, t := range targets {
		work.Go(func() {
			if len(t.Addrs) == 0 {
				t.err = errors.New("the bundle names no address")
				return
			}
			t.err = host.Reach(ctx, t.Peer)
		})
	}
	work.Wait()
	var away []string
	reached, weight := 0, uint64(0)
	if v, ok := e.bundle.Validator(self.Account); ok {
		weight = v.Weight
	}
	for _, t := range targets {
		if t.err != nil {
			away = append(away, fmt.Sprintf("%s (%s)", t.ID, cmp.Or(t.Provider, "bootstrap")))
			continue
		}
		reached++
		weight += t.weight
	}
	quorum := e.bundle.Placement().Quorum
	const remedy = "Is UDP let out, and let in to the listened port? Are these nodes up, and are their addresses those of the newest bundle?"
	switch {
	case reached == 0 && len(targets) > 0:
		e.find("reachability", Failed, remedy, "none of the bundle's %d peers is reached: %s", len(targets), strings.Join(away, ", "))
	case weight < quorum:
		e.find("reachability", Warned, remedy, "%d of %d peers are reached, of weight %d; %d are a quorum. Away: %s", reached, len(targets), weight, quorum, strings.Join(away, ", "))
	case len(away) > 0:
		e.find("reachability", Warned, remedy, "%d of %d peers are reached. Away: %s", reached, len(targets), strings.Join(away, ", "))
	default:
		e.find("reachability", Fine, "", "all %d peers of the bundle are reached", reached)
	}
}

package mesh

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Bounds of a record. They keep it below the DHT's 16 KiB and a thousand of them,
// decoded, below 20 MB.
const (
	recordBytesMax   = 4 << 10
	bodyBytesMax     = 1 << 10
	endpointsMax     = 8   // one host's addresses: QUIC and TCP, IPv4 and IPv6, relayed
	endpointBytesMax = 256 // a relayed multiaddr with two peer ids has 200
	labelBytesMax    = 64  // provider, region, zone, protocol
	checkBytesMax    = 128
	networkBytesMax  = 128 // as in package p2p
	ownerBytesMax    = 64  // ours have 38
	counterMax       = 1 << 62
	timeMsMax        = 1 << 48 // the year 10889
)

// The times of a record.
const (
	// BeatMin and TTLMax bound what an owner may ask of the network and of its memory.
	BeatMin = time.Second
	TTLMax  = 10 * time.Minute
	// beatsPerTTL is R9: whoever misses three beats in a row is not even suspect.
	beatsPerTTL = 4
	// SkewMax is how far clocks may be apart.
	SkewMax = 2 * time.Minute
	// KeepMax is the age at which a record is no longer taken from anybody, and a
	// tombstone may be forgotten: what it deleted would not be taken either. It is
	// far longer than any outage that has been.
	KeepMax = 30 * 24 * time.Hour
)

// State is what an owner says of its instance.
type State uint8

// The states.
const (
	Serving  State = iota + 1 // its check passes
	Failing                   // its check fails
	Draining                  // it ends what it has begun and wants nothing new
	Gone                      // a tombstone: the owner has taken the instance away
)

func (s State) String() string {
	if s < Serving || s > Gone {
		return fmt.Sprintf("state %d", uint8(s))
	}
	return [...]string{"serving", "failing", "draining", "gone"}[s-1]
}

// Stamp orders the records of one owner and name. A new process takes a new
// epoch, so that what an older one still sends, however much of it, is older.
type Stamp struct{ Epoch, Seq uint64 }

// After reports whether s is newer than o (R2).
func (s Stamp) After(o Stamp) bool {
	if off == ruleEpoch {
		return s.Seq > o.Seq
	}
	return s.Epoch > o.Epoch || s.Epoch == o.Epoch && s.Seq > o.Seq
}

func (s Stamp) String() string { return fmt.Sprintf("%d.%d", s.Epoch, s.Seq) }

// Claim is what an owner says about one instance of a service. It holds its
// content by value and points to nothing that another may delete (R3).
type Claim struct {
	Network string
	Name    string
	Owner   peer.ID
	Stamp
	State     State
	Endpoints []string // raw multiaddrs of the owner's host, best first
	Provider  string
	Region    string
	Zone      string
	Protocol  string // "tcp" or "http"
	Check     string // how the owner checks its instance, for people
	IssuedMs  uint64 // the owner's clock, Unix milliseconds
	TTL       time.Duration
	Beat      time.Duration // how often the owner says that it lives
	Body      []byte        // the service's own, opaque
}

// Issued is the owner's clock when it signed.
func (c *Claim) Issued() time.Time { return time.UnixMilli(int64(c.IssuedMs)) }

// check returns the first field out of its bounds.
func (c *Claim) check() *Refusal {
	if err := CheckName(c.Name); err != nil {
		return refuse(Unsound, "%v", err)
	}
	for _, f := range []struct {
		what, value string
		max         int
	}{
		{"network", c.Network, networkBytesMax}, {"provider", c.Provider, labelBytesMax},
		{"region", c.Region, labelBytesMax}, {"zone", c.Zone, labelBytesMax}, {"check", c.Check, checkBytesMax},
	} {
		if len(f.value) > f.max || strings.ContainsFunc(f.value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return refuse(Unsound, "%s %q: at most %d printable bytes", f.what, f.value, f.max)
		}
	}
	switch {
	case c.Network == "":
		return refuse(Unsound, "no network")
	case c.Epoch == 0 || c.Epoch > counterMax || c.Seq > counterMax:
		return refuse(Unsound, "stamp %v: an epoch of at least 1, both at most %d", c.Stamp, uint64(counterMax))
	case c.State < Serving || c.State > Gone:
		return refuse(Unsound, "%v", c.State)
	case c.Protocol != "tcp" && c.Protocol != "http":
		return refuse(Unsound, "protocol %q: it must be tcp or http", c.Protocol)
	case len(c.Body) > bodyBytesMax:
		return refuse(Unsound, "a body of %d bytes: at most %d", len(c.Body), bodyBytesMax)
	case c.IssuedMs > timeMsMax:
		return refuse(Unsound, "issued at %d ms", c.IssuedMs)
	case c.Beat < BeatMin || c.TTL > TTLMax:
		return refuse(Unsound, "beat %v, ttl %v: at least %v, at most %v", c.Beat, c.TTL, BeatMin, TTLMax)
	case c.TTL < beatsPerTTL*c.Beat:
		return refuse(Unsound, "ttl %v is below %d beats of %v", c.TTL, beatsPerTTL, c.Beat)
	}
	return c.checkEndpoints()
}

func (c *Claim) checkEndpoints() *Refusal {
	if len(c.Endpoints) == 0 && (c.State == Serving || c.State == Failing) {
		return refuse(Empty, "%s, but no endpoint", c.State)
	}
	if len(c.Endpoints) > endpointsMax {
		return refuse(Unsound, "%d endpoints: at most %d", len(c.Endpoints), endpointsMax)
	}
	for _, e := range c.Endpoints {
		if len(e) > endpointBytesMax {
			return refuse(Unsound, "an endpoint of %d bytes: at most %d", len(e), endpointBytesMax)
		}
		m, err := ma.NewMultiaddr(e)
		if err != nil {
			return refuse(Unsound, "endpoint %q: %v", e, err)
		}
		for _, part := range m {
			if code := part.Protocol().Code; code == ma.P_DNS || code == ma.P_DNS4 || code == ma.P_DNS6 || code == ma.P_DNSADDR {
				return refuse(Unsound, "endpoint %q is a DNS name, which somebody could overwrite: give the IP address", e)
			}
		}
	}
	return nil
}

// Record is a claim with its owner's signature. Only Sign and Verify make one, so
// whoever holds a *Record need not doubt it. Records never change; many
// goroutines may read one. Its slices belong to it.
type Record struct {
	Claim
	raw    []byte
	digest Digest
}

// Digest is the SHA-256 of what a record's owner has signed.
type Digest [sha256.Size]byte

// Bytes is the canonical encoding with the signature.
func (r *Record) Bytes() []byte { return r.raw }

// Digest names what the record says. Two signatures under the same words are the
// same record.
func (r *Record) Digest() Digest { return r.digest }

// sameSlot reports whether two records are of one owner, name and stamp, of which
// there may be only one.
func (r *Record) sameSlot(o *Record) bool {
	return r.Name == o.Name && r.Owner == o.Owner && r.Stamp == o.Stamp
}

// signDomain separates these signatures from all others of the same key.
const signDomain = "holdfast service record 1"

func signedMessage(network string, body []byte) []byte {
	m := make([]byte, 0, len(signDomain)+len(network)+len(body)+2)
	m = append(append(m, signDomain...), 0)
	m = append(append(m, network...), 0)
	return append(m, body...)
}

// Sign makes a record of a claim. The key must be the owner's.
func Sign(key crypto.PrivKey, c Claim) (*Record, error) {
	owner, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("mesh: signing %s: %w", c.Name, err)
	}
	if c.Owner != "" && c.Owner != owner {
		return nil, fmt.Errorf("mesh: signing %s: the claim is of owner %s, the key of %s", c.Name, c.Owner, owner)
	}
	c.Owner = owner
	if refusal := c.check(); refusal != nil {
		return nil, refusal
	}
	body := encodeClaim(&c)
	signature, err := key.Sign(signedMessage(c.Network, body))
	if err != nil {
		return nil, fmt.Errorf("mesh: signing %s: %w", c.Name, err)
	}
	raw := encodeEnvelope(body, signature)
	if len(raw) > recordBytesMax {
		return nil, refuse(Oversized, "%d bytes: at most %d", len(raw), recordBytesMax)
	}
	return newRecord(raw, body)
}

// Verify makes a record of bytes that came from anywhere, or returns a *Refusal.
// It does not look at the clock: see Record.Timely. The bytes are copied.
func Verify(network string, raw []byte) (*Record, error) {
	if len(raw) > recordBytesMax {
		return nil, refuse(Oversized, "%d bytes: at most %d", len(raw), recordBytesMax)
	}
	if off != ruleValue {
		raw = bytes.Clone(raw)
	}
	body, signature, err := decodeEnvelope(raw)
	if err != nil {
		return nil, refuse(Malformed, "%v", err)
	}
	r, err := newRecord(raw, body)
	if err != nil {
		return nil, err
	}
	if r.Network != network {
		return nil, refuse(Foreign, "it is of network %q", r.Network)
	}
	if refusal := r.check(); refusal != nil {
		return nil, refusal
	}
	key, err := ownerKey(r.Owner)
	if err != nil {
		return nil, refuse(Forged, "owner %s: %v", r.Owner, err)
	}
	if !ed25519.Verify(key, signedMessage(network, body), signature) {
		return nil, refuse(Forged, "%s of %s at %v is not signed by it", r.Name, r.Owner, r.Stamp)
	}
	return r, nil
}

// newRecord decodes the body; nothing is verified yet.
func newRecord(raw, body []byte) (*Record, error) {
	c, err := decodeClaim(body)
	if err != nil {
		return nil, refuse(Malformed, "%v", err)
	}
	return &Record{Claim: c, raw: raw, digest: sha256.Sum256(body)}, nil
}

// ownerKey is the key inside a peer id. Only ids of Ed25519 keys hold theirs.
func ownerKey(owner peer.ID) (ed25519.PublicKey, error) {
	public, err := owner.ExtractPublicKey()
	if err != nil {
		return nil, err
	}
	if public.Type() != crypto.Ed25519 {
		return nil, errors.New("not an Ed25519 key")
	}
	return public.Raw()
}

// Timely refuses a record made after now, or so long ago that nobody takes it
// any more. As news it must also be younger than its ttl: older ones are replays.
func (r *Record) Timely(now time.Time, news bool) error {
	age := now.Sub(r.Issued())
	switch {
	case age < -SkewMax:
		return refuse(Future, "made %v after now: set the clock of %s, or ours", (-age).Round(time.Second), r.Owner)
	case age > KeepMax:
		return refuse(Expired, "made %v ago: at most %v", age.Round(time.Hour), KeepMax)
	case news && age > r.TTL+SkewMax:
		return refuse(Expired, "made %v ago, with a ttl of %v: not news", age.Round(time.Second), r.TTL)
	}
	return nil
}

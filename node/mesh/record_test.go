package mesh

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

const testNetwork = "test"

// epochStart is when the tests' time begins.
var epochStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// testKey is the i-th owner's key, the same in every run.
func testKey(t testing.TB, i int) crypto.PrivKey {
	t.Helper()
	seed := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
	key, _, err := crypto.GenerateEd25519Key(bytes.NewReader(seed[:]))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func testOwner(t testing.TB, i int) peer.ID {
	t.Helper()
	id, err := peer.IDFromPrivateKey(testKey(t, i))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// testClaim is a sound claim made at epochStart.
func testClaim() Claim {
	return Claim{
		Network: testNetwork, Name: "pricefeed", Stamp: Stamp{1, 1}, State: Serving,
		Endpoints: []string{"/ip4/192.0.2.1/udp/4001/quic-v1"},
		Provider:  "aws", Region: "us-east-1", Zone: "a", Protocol: "http", Check: "http:/healthz",
		IssuedMs: uint64(epochStart.UnixMilli()), TTL: 40 * time.Second, Beat: 10 * time.Second,
		Body: []byte("v1"),
	}
}

// record signs testClaim after a change, as owner i.
func record(t testing.TB, i int, change func(*Claim)) *Record {
	t.Helper()
	c := testClaim()
	if change != nil {
		change(&c)
	}
	r, err := Sign(testKey(t, i), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func stamped(epoch, seq uint64) func(*Claim) {
	return func(c *Claim) { c.Stamp = Stamp{epoch, seq} }
}

func TestRecordSurvivesItsBytes(t *testing.T) {
	r := record(t, 1, nil)
	got, err := Verify(testNetwork, r.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest() != r.Digest() || !bytes.Equal(got.Bytes(), r.Bytes()) || got.Owner != testOwner(t, 1) {
		t.Errorf("got %+v, signed %+v", got, r)
	}
}

// Every bit of a record is under its signature or in its canonical form.
func TestEveryFlippedBitIsRefused(t *testing.T) {
	raw := record(t, 1, nil).Bytes()
	for i := range 8 * len(raw) {
		bad := bytes.Clone(raw)
		bad[i/8] ^= 1 << (i % 8)
		if r, err := Verify(testNetwork, bad); err == nil {
			t.Fatalf("bit %d: taken as %+v", i, r.Claim)
		}
	}
	for n := range raw {
		if _, err := Verify(testNetwork, raw[:n]); err == nil {
			t.Fatalf("the first %d bytes are taken", n)
		}
	}
	if _, err := Verify(testNetwork, append(bytes.Clone(raw), 0)); err == nil {
		t.Fatal("a byte behind the record is taken")
	}
}

// resign signs any claim, sound or not, as owner i.
func resign(t testing.TB, i int, c Claim) []byte {
	t.Helper()
	if c.Owner == "" {
		c.Owner = testOwner(t, i)
	}
	body := encodeClaim(&c)
	signature, err := testKey(t, i).Sign(signedMessage(c.Network, body))
	if err != nil {
		t.Fatal(err)
	}
	return encodeEnvelope(body, signature)
}

func TestVerifyRefuses(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, test := range []struct {
		name   string
		want   Reason
		change func(*Claim)
	}{
		{"another's name", Forged, func(c *Claim) { c.Owner = testOwner(t, 2) }},
		{"another network", Foreign, func(c *Claim) { c.Network = "other" }},
		{"no name", Unsound, func(c *Claim) { c.Name = "" }},
		{"a name with dots", Unsound, func(c *Claim) { c.Name = "a.b" }},
		{"a name in capitals", Unsound, func(c *Claim) { c.Name = "A" }},
		{"a name that starts with a hyphen", Unsound, func(c *Claim) { c.Name = "-a" }},
		{"a long name", Unsound, func(c *Claim) { c.Name = long[:64] }},
		{"no epoch", Unsound, func(c *Claim) { c.Epoch = 0 }},
		{"the last epoch", Unsound, func(c *Claim) { c.Epoch = 1 << 63 }},
		{"the last seq", Unsound, func(c *Claim) { c.Seq = 1 << 63 }},
		{"no state", Unsound, func(c *Claim) { c.State = 0 }},
		{"a foreign state", Unsound, func(c *Claim) { c.State = 9 }},
		{"nowhere to go", Empty, func(c *Claim) { c.Endpoints = nil }},
		{"nine endpoints", Unsound, func(c *Claim) {
			for len(c.Endpoints) < 9 {
				c.Endpoints = append(c.Endpoints, c.Endpoints[0])
			}
		}},
		{"an endpoint that is none", Unsound, func(c *Claim) { c.Endpoints = []string{"192.0.2.1:4001"} }},
		{"a DNS name", Unsound, func(c *Claim) { c.Endpoints = []string{"/dns4/example.com/udp/4001/quic-v1"} }},
		{"a long endpoint", Unsound, func(c *Claim) { c.Endpoints = []string{long} }},
		{"a long provider", Unsound, func(c *Claim) { c.Provider = long }},
		{"a line break in a label", Unsound, func(c *Claim) { c.Zone = "a\nb" }},
		{"a foreign protocol", Unsound, func(c *Claim) { c.Protocol = "udp" }},
		{"a long body", Unsound, func(c *Claim) { c.Body = make([]byte, bodyBytesMax+1) }},
		{"too many bytes", Oversized, func(c *Claim) { c.Body = make([]byte, recordBytesMax) }},
		{"three beats to a ttl (R9)", Unsound, func(c *Claim) { c.TTL = 3 * c.Beat }},
		{"a hectic beat", Unsound, func(c *Claim) { c.Beat = time.Millisecond }},
		{"a ttl of days", Unsound, func(c *Claim) { c.TTL = 48 * time.Hour }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := testClaim()
			test.change(&c)
			_, err := Verify(testNetwork, resign(t, 1, c))
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Reason != test.want {
				t.Fatalf("got %v, want %s", err, test.want)
			}
			if c.Owner == "" {
				if _, err := Sign(testKey(t, 1), c); err == nil && test.want != Foreign {
					t.Error("Sign signs what Verify refuses")
				}
			}
		})
	}
}

func TestSignatureIsGoodForNothingElse(t *testing.T) {
	c := testClaim()
	c.Owner = testOwner(t, 1)
	body := encodeClaim(&c)
	for _, message := range [][]byte{body, append([]byte(signDomain), body...), signedMessage("other", body)} {
		signature, err := testKey(t, 1).Sign(message)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(testNetwork, encodeEnvelope(body, signature)); err == nil {
			t.Errorf("a signature over %q is taken", message[:20])
		}
	}
}

func TestTimely(t *testing.T) {
	r := record(t, 1, nil)
	for _, test := range []struct {
		at   time.Duration // after it was made
		news bool
		want Reason
	}{
		{0, true, ""},
		{-SkewMax, true, ""},
		{-SkewMax - time.Second, false, Future},
		{r.TTL + SkewMax, true, ""},
		{r.TTL + SkewMax + time.Second, true, Expired},
		{r.TTL + SkewMax + time.Second, false, ""},
		{KeepMax, false, ""},
		{KeepMax + time.Hour, false, Expired},
	} {
		err := r.Timely(epochStart.Add(test.at), test.news)
		var got Reason
		if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
			got = refusal.Reason
		}
		if got != test.want {
			t.Errorf("%v after it was made, news %v: %q, want %q", test.at, test.news, got, test.want)
		}
	}
}

// R3: what is done to bytes and claims after Sign and Verify does not reach the record.
func checkRecordsHoldByValue(t fataler) {
	t.Helper()
	r := record(testingTB(t), 1, nil)
	buffer := bytes.Clone(r.Bytes())
	got, err := Verify(testNetwork, buffer)
	if err != nil {
		t.Fatalf("%v", err)
	}
	for i := range buffer {
		buffer[i] = 0
	}
	if _, err := Verify(testNetwork, got.Bytes()); err != nil || string(got.Body) != "v1" {
		t.Errorf("the record changed with the buffer it came in: %v, body %q", err, got.Body)
	}
}

func TestRecordsHoldByValue(t *testing.T) { checkRecordsHoldByValue(t) }

func FuzzVerify(f *testing.F) {
	f.Add(record(f, 1, nil).Bytes())
	f.Add(record(f, 2, func(c *Claim) { c.State, c.Endpoints, c.Body = Gone, nil, nil }).Bytes())
	f.Add([]byte{0x82, 0x40, 0x40})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := Verify(testNetwork, raw)
		if err != nil {
			var refusal *Refusal
			if !errors.As(err, &refusal) {
				t.Fatalf("an error that is no refusal: %v", err)
			}
			return
		}
		again, err := Verify(testNetwork, r.Bytes())
		if err != nil || again.Digest() != r.Digest() || !bytes.Equal(r.Bytes(), raw) {
			t.Fatalf("taken, but not the same again: %v", err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	raw := record(b, 1, nil).Bytes()
	for b.Loop() {
		if _, err := Verify(testNetwork, raw); err != nil {
			b.Fatal(err)
		}
	}
}

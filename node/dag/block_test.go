package dag

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// fullBlock is a valid block with every part in use, by author 1 of four.
func fullBlock(t testing.TB) (*Block, Rules) {
	t.Helper()
	rules := testRules(keyedCommittee(t, equal(4)...))
	rules.Epoch = 3
	rules.CheckPayload = func(ops [][]byte) (any, error) {
		for _, op := range ops {
			if op[0] == '!' {
				return nil, errors.New("an operation's signature is not good")
			}
		}
		return len(ops), nil
	}
	b := &Block{
		ref: Ref{Slot: Slot{7, 1}}, network: rules.Network, epoch: 3, timeMs: 1_700_000_000_123,
		parents: []Ref{
			{Slot{6, 1}, Digest{6, 1}}, {Slot{6, 0}, Digest{6, 0}}, {Slot{6, 3}, Digest{6, 3}}, {Slot{2, 2}, Digest{2, 2}},
		},
		payload: [][]byte{[]byte("one"), bytes.Repeat([]byte{'x'}, 300)},
		votes:   []Vote{{Index: 10, Commit: Digest{10}, Checkpoint: true, Root: [32]byte{9}}, {Index: 12, Commit: Digest{12}}},
	}
	return seal(b, testKey(1)), rules
}

func TestBlockRoundTrip(t *testing.T) {
	b, rules := fullBlock(t)
	got, err := rules.Verify(bytes.Clone(b.raw))
	if err != nil {
		t.Fatal(err)
	}
	if got.Checked() != 2 {
		t.Errorf("Checked is %v, want what CheckPayload returned", got.Checked())
	}
	got.checked = nil
	if !reflect.DeepEqual(got, b) {
		t.Errorf("decoded:\n%+v\nwant:\n%+v", got, b)
	}
	if got.Ref().Digest.CID().String() != b.ref.Digest.CID().String() || !strings.HasPrefix(b.ref.Digest.CID().String(), "bafyrei") {
		t.Errorf("CID %v", b.ref.Digest.CID())
	}
	if d, err := DigestFromCID(b.ref.Digest.CID()); err != nil || d != b.ref.Digest {
		t.Errorf("DigestFromCID: %v, %v", d, err)
	}
}

// The format is fixed: these bytes are a block for ever.
func TestBlockBytes(t *testing.T) {
	b := &Block{
		ref: Ref{Slot: Slot{1, 0}}, network: Digest{0xaa}, epoch: 0, timeMs: 1000,
		parents: []Ref{Genesis(Digest{0xaa}, 0, 0)},
		payload: [][]byte{[]byte("op")},
	}
	seal(b, testKey(0))
	const want = "aa" +
		"6565706f6368" + "00" + // epoch 0
		"65666c616773" + "00" + // flags 0
		"65726f756e64" + "01" + // round 1
		"65766f746573" + "80" + // votes []
		"66617574686f72" + "00" + // author 0
		"676e6574776f726b" + "d82a5825000171122" + "0aa00000000000000000000000000000000000000000000000000000000000000" + // network
		"67706172656e7473" + "81" + "83" + "00" + "00" + "d82a58250001711220" // parents [[0, 0, ...
	got := hex.EncodeToString(b.raw)
	if !strings.HasPrefix(got, want) {
		t.Errorf("bytes\n%s, want\n%s...", got, want)
	}
	if tail := "677061796c6f6164" + "81" + "426f70" + "6774696d655f6d73" + "1903e8" + "697369676e6174757265" + "5840"; !strings.Contains(got, tail) {
		t.Errorf("bytes\n%s, want ...%s...", got, tail)
	}
	const digest = "93527447c28a9211ff11a3a01ec025278908c564975a01af833d51edb2d61a92"
	if d := hex.EncodeToString(b.ref.Digest[:]); d != digest {
		t.Errorf("digest %s, want %s", d, digest)
	}
}

// Whatever is altered in a signed block, it is refused.
func TestBlockAlteredAnywhereIsRefused(t *testing.T) {
	b, rules := fullBlock(t)
	for name, alter := range map[string]func(*Block){
		"network":         func(b *Block) { b.network[31]++ },
		"epoch":           func(b *Block) { b.epoch++ },
		"author":          func(b *Block) { b.ref.Author = 0 },
		"round":           func(b *Block) { b.ref.Round++ },
		"time":            func(b *Block) { b.timeMs++ },
		"flags":           func(b *Block) { b.flags, b.payload = FlagClose, nil },
		"a parent":        func(b *Block) { b.parents[2].Digest[0]++ },
		"a parent's slot": func(b *Block) { b.parents[3].Round++ },
		"parents' order":  func(b *Block) { b.parents[1], b.parents[2] = b.parents[2], b.parents[1] },
		"fewer parents":   func(b *Block) { b.parents = b.parents[:3] },
		"payload":         func(b *Block) { b.payload[0] = []byte("two") },
		"less payload":    func(b *Block) { b.payload = b.payload[:1] },
		"payload's order": func(b *Block) { slices.Reverse(b.payload) },
		"a vote's index":  func(b *Block) { b.votes[0].Index++ },
		"a vote's commit": func(b *Block) { b.votes[1].Commit[0]++ },
		"a vote's root":   func(b *Block) { b.votes[0].Root[0]++ },
		"a vote's kind":   func(b *Block) { b.votes[1].Checkpoint = true },
		"fewer votes":     func(b *Block) { b.votes = b.votes[:1] },
	} {
		signature := b.raw[len(b.raw)-64:]
		altered, err := decodeBlock(bytes.Clone(b.raw))
		if err != nil {
			t.Fatal(err)
		}
		alter(altered)
		if _, err := rules.Verify(appendBlock(nil, altered, signature)); err == nil {
			t.Errorf("%s altered: accepted", name)
		}
	}
	for i := range b.raw { // every byte, the signature's and the format's too
		for _, bit := range []byte{1, 0x80} {
			raw := bytes.Clone(b.raw)
			raw[i] ^= bit
			if _, err := rules.Verify(raw); err == nil {
				t.Errorf("byte %d xor %#x: accepted", i, bit)
			}
		}
	}
	// The same author's signature for another network or epoch is good for neither.
	for _, other := range []Rules{{Network: Digest{9}, Epoch: 3}, {Network: rules.Network, Epoch: 4}} {
		o := *b
		o.network, o.epoch = other.Network, other.Epoch
		raw := appendBlock(nil, &o, b.raw[len(b.raw)-64:])
		other.Committee, other.Limits = rules.Committee, rules.Limits
		if _, err := other.Verify(raw); !errors.Is(err, ErrSignature) {
			t.Errorf("a signature moved to epoch %d of network %v: %v", other.Epoch, other.Network, err)
		}
	}
}

// The rules of validity, each broken once by an author that signs what it does.
func TestBlockRules(t *testing.T) {
	base, rules := fullBlock(t)
	big := bytes.Repeat([]byte{'y'}, OpBytesMax)
	for _, tc := range []struct {
		name  string
		alter func(*Block)
		want  string
	}{
		{"another network", func(b *Block) { b.network[0]++ }, "another network"},
		{"another epoch", func(b *Block) { b.epoch++ }, "another epoch: 4, ours is 3"},
		{"an author outside", func(b *Block) { b.ref.Author = 4 }, "author 4 of a committee of 4"},
		{"round 0", func(b *Block) { b.ref.Round = 0 }, "round 0 is the genesis"},
		{"no parents", func(b *Block) { b.parents = nil }, "no parents"},
		{"another's block first", func(b *Block) { b.parents[0], b.parents[1] = b.parents[1], b.parents[0] }, "not its own previous block"},
		{"an author twice", func(b *Block) { b.parents[3] = Ref{Slot{5, 0}, Digest{5}} }, "the second of its author"},
		{"a parent outside", func(b *Block) { b.parents[3].Author = 9 }, "outside the committee"},
		{"a parent of its round", func(b *Block) { b.parents[3].Round = 7 }, "not of an earlier round"},
		{"a false genesis", func(b *Block) { b.parents[3].Round = 0 }, "not the genesis"},
		{"no quorum below", func(b *Block) { b.parents = b.parents[:2] }, "parents of round 6 weigh 2, a quorum is 3"},
		{"a quorum, but older", func(b *Block) { b.parents[2].Round = 5 }, "weigh 2, a quorum is 3"},
		{"an operation too big", func(b *Block) { b.payload[1] = append(big, 1) }, "operation 1 has 16385 bytes"},
		{"a payload too big", func(b *Block) { b.payload = slices.Repeat([][]byte{big}, 33) }, "the payload has 540672 bytes"},
		{"a bad operation", func(b *Block) { b.payload[0] = []byte("!") }, "an operation's signature is not good"},
		{"flagged with payload", func(b *Block) { b.flags = FlagClose }, "close the epoch and yet carries operations"},
	} {
		b, err := decodeBlock(bytes.Clone(base.raw))
		if err != nil {
			t.Fatal(err)
		}
		tc.alter(b)
		key := testKey(b.ref.Author)
		if _, err := rules.Verify(seal(b, key).raw); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	for _, ok := range []func(*Block){
		func(b *Block) { b.flags, b.payload = FlagClose, nil },
		func(b *Block) { b.payload = slices.Repeat([][]byte{big}, 32) },
		func(b *Block) { b.parents[3] = Genesis(rules.Network, 3, 2) },
		func(b *Block) { b.parents = b.parents[:3] },
		func(b *Block) { b.votes = nil },
	} {
		b, _ := decodeBlock(bytes.Clone(base.raw))
		ok(b)
		if _, err := rules.Verify(seal(b, testKey(1)).raw); err != nil {
			t.Errorf("a good block is refused: %v", err)
		}
	}
	if _, err := rules.Verify(make([]byte, BlockBytesMax+1)); !errors.Is(err, ErrBlock) {
		t.Errorf("bytes beyond any block: %v", err)
	}
}

// What is not the one canonical form is refused, with the place and the reason.
func TestBlockDecodeIsStrict(t *testing.T) {
	b, _ := fullBlock(t)
	whole := string(b.raw)
	swap := func(old, new string) []byte {
		if strings.Count(whole, old) != 1 {
			t.Fatalf("%q stands %d times in the block", old, strings.Count(whole, old))
		}
		return []byte(strings.Replace(whole, old, new, 1))
	}
	for _, tc := range []struct {
		name string
		raw  []byte
		want string
	}{
		{"nothing", nil, "byte 0: the bytes end where the block should be"},
		{"no map", []byte{0x80}, "byte 0: the block is of CBOR type 4, not 5"},
		{"too few keys", []byte("\xa9" + whole[1:]), "byte 0: a map of 9, not of 10"},
		{"cut short", []byte(whole[:len(whole)-1]), "the bytes end inside the signature"},
		{"one byte more", []byte(whole + "\x00"), fmt.Sprintf("byte %d: 1 bytes follow the block", len(whole))},
		{"another key", swap("eflags", "eflagz"), `key "flagz" where "flags" must be`},
		{"keys out of order", swap("fauthor\x01gnetwork", "gnetworkfauthor\x01"), `key "network" where "author" must be`},
		{"a long integer", swap("eround\x07", "eround\x18\x07"), "the round is not in its shortest form"},
		{"a longer integer", swap("eround\x07", "eround\x1b\x00\x00\x00\x00\x00\x00\x00\x07"), "the round is not in its shortest form"},
		{"an indefinite length", swap("evotes\x82", "evotes\x9f"), "not canonical"},
		{"a text for a number", swap("eround\x07", "eround\x67"), "the round is of CBOR type 3, not 0"},
		{"a negative round", swap("eround\x07", "eround\x27"), "the round is of CBOR type 1"},
		{"an unknown flag", swap("eflags\x00", "eflags\x02"), "flags is 2, at most 1 is allowed"},
		{"another codec", swap("gnetwork\xd8\x2a\x58\x25\x00\x01\x71", "gnetwork\xd8\x2a\x58\x25\x00\x01\x55"), "the network is not a link"},
		{"an author beyond", swap("fauthor\x01", "fauthor\x19\x01\x00"), "the author is 256, at most 255"},
		{"a time beyond", swap("gtime_ms\x1b\x00\x00\x01\x8b", "gtime_ms\x1b\x7f\xff\x01\x8b"), "the time is"},
		{"an empty operation", swap("Cone", "@"), "an operation has 0 bytes, at least 1"},
		{"votes that fall", []byte(strings.Replace(whole, "\x83\x0a\xd8", "\x83\x0c\xd8", 1)), "votes must rise"},
	} {
		_, err := decodeBlock(tc.raw)
		var bad *DecodeError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func FuzzDecodeBlock(f *testing.F) {
	b, _ := fullBlock(f)
	f.Add(b.raw)
	small := seal(&Block{ref: Ref{Slot: Slot{1, 0}}, parents: []Ref{Genesis(Digest{}, 0, 0)}}, testKey(0))
	f.Add(small.raw)
	f.Add([]byte{0xaa})
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := decodeBlock(raw)
		if err != nil {
			var bad *DecodeError
			if !errors.As(err, &bad) || bad.Offset < 0 || bad.Offset > len(raw) || bad.Reason == "" {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		if again := appendBlock(nil, b, raw[len(raw)-64:]); !bytes.Equal(again, raw) {
			t.Fatalf("decoded and encoded again:\n%x\nwas\n%x", again, raw)
		}
	})
}

package sim

// Class is a kind of fault. Each is drawn by the plan, counted when it bites,
// and must have bitten somewhere in every run of many seeds.
type Class uint8

// The classes of faults.
const (
	Loss      Class = iota // a message vanishes: up to 30 % of them
	Delay                  // a link's latency grows
	Jitter                 // a link's latency varies
	Duplicate              // a message arrives twice
	Reorder                // a message overtakes another

	Halves   // two sides that cannot talk
	OneOff   // one node against all
	Bridge   // two sides that talk only through one node
	Ring     // each node talks only to two neighbours
	OneWay   // one direction of one link is cut
	Deaf     // a node sends and hears nothing
	Mute     // a node hears and is not heard
	Flapping // a node's links go down and up, again and again

	Crash       // a process dies between any two of its effects
	PowerLoss   // every node dies at once
	CrashLoop   // a node that comes back dies again, several times
	SyncLost    // a crash loses a batch that was not yet durable
	SyncKept    // a crash hits after a batch became durable and before the node knew
	SlowDisk    // a sync takes a hundred times as long
	FlippedBit  // a record on disk fails its checksum
	LostDisk    // a node comes back with an empty disk
	GatewayLost // a gateway dies with operations it has acknowledged and not yet sent on

	Skew      // a clock is wrong
	ClockJump // a clock jumps, ahead or back

	Absent       // a validator that never says anything
	Equivocating // signs two blocks for one round
	Withholding  // sends its blocks to some only, and answers nobody
	Delaying     // sends everything late
	Spamming     // sends rubbish, valid and not, all the time

	Unruly // clients that use a nonce twice, send expired operations, or one operation to all gateways at once

	LateStart // an observer begins with an empty disk when the others are far ahead

	Classes int = iota
)

var classNames = [Classes]string{
	"loss", "delay", "jitter", "duplication", "reordering",
	"halves", "one against all", "bridge", "ring", "one way", "deaf", "mute", "flapping",
	"crash", "power loss", "crash loop", "unsynced batch lost", "synced batch unknown", "slow disk", "flipped bit", "lost disk", "gateway lost",
	"clock skew", "clock jump",
	"absent", "equivocating", "withholding", "delaying", "spamming",
	"unruly clients",
	"late start",
}

// String is the class as the tally and the status lines name it.
func (c Class) String() string { return classNames[c] }

// liar reports whether the class is a way for a validator to lie.
func (c Class) liar() bool { return c >= Absent && c <= Spamming }

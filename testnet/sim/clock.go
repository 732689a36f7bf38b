package sim

import "time"

// epoch is what virtual time zero is called: some day, the same in every run.
var epoch = time.Date(2026, time.January, 5, 9, 0, 0, 0, time.UTC)

// clock is a node's own idea of the time. It is wrong by offset, and runs fast
// or slow by drift.
type clock struct {
	offset time.Duration
	drift  ppm // of the virtual time that passes; may be negative
}

// read returns what the clock shows at the virtual time at.
func (c clock) read(at time.Duration) time.Time {
	return epoch.Add(at + c.offset + at*time.Duration(c.drift)/1_000_000)
}

// when returns the first virtual time, not before now, at which the clock shows
// at least shown, provided it does not jump till then.
func (c clock) when(shown time.Time, now time.Duration) time.Duration {
	wait := shown.Sub(c.read(now))
	if wait <= 0 {
		return now
	}
	at := now + wait*1_000_000/time.Duration(1_000_000+c.drift)
	for c.read(at).Before(shown) {
		at++ // the division above rounds down
	}
	return at
}

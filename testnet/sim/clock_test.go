package sim

import (
	"testing"
	"time"
)

func TestClockMeetsItsAlarm(t *testing.T) {
	r := newRandom(4, "clock", 0)
	for range 2_000 {
		c := clock{offset: r.during(-5*time.Second, 5*time.Second), drift: ppm(r.between(-500, 500))}
		now := r.during(0, time.Minute)
		shown := epoch.Add(r.during(0, time.Minute))
		at := c.when(shown, now)
		if at < now || c.read(at).Before(shown) {
			t.Fatalf("%+v at %v rings at %v for %v", c, now, at, shown)
		}
		if at > now && !c.read(at-1).Before(shown) {
			t.Fatalf("%+v rings late", c)
		}
	}
}

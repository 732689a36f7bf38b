package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func contents(t *testing.T, d *disk, prefix, from string) string {
	t.Helper()
	var b strings.Builder
	for r, err := range d.scan(prefix, from) {
		if err != nil {
			return b.String() + err.Error()
		}
		fmt.Fprintf(&b, "%s=%s ", r.key, r.value)
	}
	return b.String()
}

// TestDiskAgainstAMap runs random batches, crashes and scans on the disk and on a
// plain map with a copy kept at each sync.
func TestDiskAgainstAMap(t *testing.T) {
	for seed := range uint64(20) {
		r := newRandom(seed, "disk", 0)
		d := newDisk()
		durable, seen := map[string]string{}, map[string]string{}
		key := func() string { return fmt.Sprintf("%c/%04d", 'a'+rune(r.below(3)), r.below(600)) }
		for step := range 1_500 {
			switch r.below(5) {
			case 0, 1, 4:
				if d.syncing {
					d.end()
					durable = maps.Clone(seen)
				}
				var batch []record
				for range r.between(1, 8) {
					k := key()
					if r.chance(percent(40)) {
						batch = append(batch, record{k, nil})
						delete(seen, k)
					} else {
						v := fmt.Sprint(step)
						batch = append(batch, record{k, []byte(v)})
						seen[k] = v
					}
				}
				if r.chance(percent(50)) {
					d.begin(batch)
				} else {
					d.write(batch)
				}
			case 2:
				keep := r.chance(percent(50))
				d.crash(keep)
				if keep {
					durable = maps.Clone(seen)
				} else {
					seen = maps.Clone(durable)
				}
			case 3:
				prefix, from := string('a'+rune(r.below(3)))+"/", key()
				var want strings.Builder
				for _, k := range slices.Sorted(maps.Keys(seen)) {
					if strings.HasPrefix(k, prefix) && k >= from {
						fmt.Fprintf(&want, "%s=%s ", k, seen[k])
					}
				}
				if got := contents(t, d, prefix, from); got != want.String() {
					t.Fatalf("seed %d step %d: scan of %s from %s:\n%s\nwant\n%s", seed, step, prefix, from, got, want.String())
				}
			}
			k := key()
			v, ok, err := d.get([]byte(k))
			if w, has := seen[k]; err != nil || ok != has || string(v) != w {
				t.Fatalf("seed %d step %d: %s is %q %v %v, want %q", seed, step, k, v, ok, err, w)
			}
		}
		d.crash(true)
		if d.data.size != len(seen) {
			t.Errorf("seed %d: %d records counted, %d there", seed, d.data.size, len(seen))
		}
	}
}

func TestDiskFindsFlippedBits(t *testing.T) {
	d := newDisk()
	if _, ok := d.flip(3); ok {
		t.Error("an empty disk has no bit to flip")
	}
	d.begin([]record{{"a/1", []byte("x")}, {"a/2", []byte("y")}, {"b/1", []byte("z")}})
	d.end()
	key, ok := d.flip(4)
	if !ok || key != "a/2" {
		t.Fatalf("flipped %q", key)
	}
	if _, _, err := d.get([]byte("a/2")); !errors.Is(err, errFlipped) || !strings.Contains(err.Error(), "a/2") {
		t.Errorf("read of a flipped record: %v", err)
	}
	if got := contents(t, d, "a/", ""); !strings.HasPrefix(got, "a/1=x sim: checksum") {
		t.Errorf("scan over a flipped record: %s", got)
	}
	d.begin([]record{{"a/2", []byte("new")}})
	d.end()
	if got := contents(t, d, "a/", ""); got != "a/1=x a/2=new " {
		t.Errorf("after it was written again: %s", got)
	}
	d.wipe()
	if got := contents(t, d, "", ""); got != "" {
		t.Errorf("a lost disk holds %s", got)
	}
}

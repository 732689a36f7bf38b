package storage

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const flips = 1000 / stride

// TestBitFlips flips one bit of one file, a thousand times, in the directory of
// a store that was killed and of one that was closed, and opens it. Each flip
// must be reported with its file, by Open, a read or Verify, or make no
// difference; none may change a value or lose an acknowledged batch.
func TestBitFlips(t *testing.T) {
	const seed, batches = 8, 1100
	// Small values, because the engine answers a bad checksum by trying every
	// bit of the block, which for one of 32 KiB is half a second.
	w := newSizedWorkload(seed, batches, 200, 1000)
	fs := newTestFS()
	var p progress
	s := mustOpen(t, fs)
	if err := w.run(s, &p, 0, batches); err != nil {
		t.Fatal(err)
	}
	killed := copyOf(t, fs)
	mustClose(t, s)
	images := []flipImage{
		{"killed", killed, p.acked.Load()},
		{"closed", fs, batches},
	}
	r := rand.New(rand.NewPCG(seed, 2))
	outcomes := map[string]int{}
	for i := range flips {
		image := images[i%len(images)]
		outcome, err := image.flip(t, w, r)
		if err != nil {
			t.Errorf("seed %d, flip %d in the %s store: %v", seed, i, image.name, err)
		}
		outcomes[image.name+": "+outcome]++
	}
	for _, k := range slices.Sorted(maps.Keys(outcomes)) {
		t.Logf("%5d %s", outcomes[k], k)
	}
}

type flipImage struct {
	name  string
	disk  *testFS
	acked int64
}

// flip damages a copy of the image and says what came of it.
func (im flipImage) flip(t *testing.T, w *workload, r *rand.Rand) (outcome string, err error) {
	disk := copyOf(t, im.disk)
	file, what := flipBit(t, disk, r)
	kind := kindOf(file)
	named := func(err error) error {
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), file) {
			return fmt.Errorf("%s: want ErrCorrupt and the file's name, got: %w", what, err)
		}
		return nil
	}
	s, err := Open(testDir, smallOptions(disk))
	if err != nil {
		return kind + " reported by Open", named(err)
	}
	defer func() {
		if closeErr := s.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("%s: close: %w", what, closeErr)
		}
	}()
	_, readErr := w.check(s, im.acked, int64(len(w.steps)))
	report, err := s.Verify(t.Context())
	if err != nil {
		return "", fmt.Errorf("%s: verify: %w", what, err)
	}
	switch {
	case readErr != nil && named(readErr) != nil:
		return "", named(readErr)
	case readErr != nil && len(report.Damage) == 0:
		return "", fmt.Errorf("%s: reading met it and Verify did not: %w", what, readErr)
	case readErr != nil:
		return kind + " reported by a read", nil
	case len(report.Damage) == 0:
		return kind + " made no difference", nil
	}
	for _, d := range report.Damage {
		if d.File != file {
			return "", fmt.Errorf("%s: Verify named %s: %w", what, d.File, d.Err)
		}
	}
	return kind + " reported by Verify", nil
}

// copyOf is the disk as a killed process leaves it: all it wrote, no file it removed.
func copyOf(t *testing.T, disk *testFS) *testFS {
	t.Helper()
	// A crash brings back a file whose removal was not synced, a kill does not.
	if err := syncDir(disk.MemFS, testDir); err != nil {
		t.Fatal(err)
	}
	return disk.crashed(100, 0)
}

// flipBit flips a bit of disk: of any file with equal chance, or of any byte.
func flipBit(t *testing.T, disk *testFS, r *rand.Rand) (file, what string) {
	t.Helper()
	sizes, total := fileSizes(t, disk)
	files := slices.Sorted(maps.Keys(sizes))
	file = files[r.IntN(len(files))]
	if r.IntN(2) == 0 {
		at := r.Int64N(total)
		for _, f := range files {
			if at -= sizes[f]; at < 0 {
				file = f
				break
			}
		}
	}
	off, bit := r.Int64N(sizes[file]), r.IntN(8)
	data := readAll(t, disk, file)
	data[off] ^= 1 << bit
	writeFile(t, disk, file, data)
	return file, fmt.Sprintf("bit %d of byte %d of %d of %s", bit, off, sizes[file], file)
}

func fileSizes(t *testing.T, disk *testFS) (sizes map[string]int64, total int64) {
	t.Helper()
	names, err := disk.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	sizes = map[string]int64{}
	for _, name := range names {
		name = testDir + "/" + name
		info, err := disk.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 0 {
			sizes[name] = info.Size()
			total += info.Size()
		}
	}
	return sizes, total
}

func readAll(t *testing.T, disk *testFS, name string) []byte {
	t.Helper()
	f, err := disk.MemFS.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// writeFile changes the bytes of a file in place, under whoever has it open.
func writeFile(t *testing.T, disk *testFS, name string, data []byte) {
	t.Helper()
	f, err := disk.MemFS.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(slices.Clone(data), 0); err != nil {
		t.Fatal(err)
	}
}

func kindOf(file string) string {
	base := file[strings.LastIndexByte(file, '/')+1:]
	if i := strings.IndexAny(base, "-."); i >= 0 && strings.ContainsAny(base[:1], "0123456789") {
		return base[i+1:]
	} else if i >= 0 {
		return base[:i]
	}
	return base
}

// TestVerifyFindsDamageUnderARunningStore flips a bit of each kind of file that
// a running store stands on.
func TestVerifyFindsDamageUnderARunningStore(t *testing.T) {
	w := newSizedWorkload(9, 300, 900, 4000)
	fs := newTestFS()
	s := mustOpen(t, fs)
	defer s.Close()
	var p progress
	if err := w.run(s, &p, 0, 300); err != nil {
		t.Fatal(err)
	}
	// So that no compaction is replacing tables meanwhile.
	if err := s.current.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
		t.Fatal(err)
	}
	report, err := s.Verify(t.Context())
	if err := errors.Join(err, damageError(report)); err != nil || report.Keys == 0 {
		t.Fatalf("%d keys: %v", report.Keys, err)
	}
	sizes, _ := fileSizes(t, fs)
	names, err := (&verifier{store: s, engine: s.current}).tableNames()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := checkManifest(fs, testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, manifest) {
		whole := readAll(t, fs, name)
		bad := slices.Clone(whole)
		bad[sizes[name]/2] ^= 4
		writeFile(t, fs, name, bad)
		report, err := s.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Damage) != 1 || report.Damage[0].File != name {
			t.Errorf("%s is damaged; Verify says %v", name, report.Damage)
		}
		writeFile(t, fs, name, whole)
	}
}

package mesh

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// verifyTest trusts records of the tests' network.
func verifyTest(raw []byte) (*Record, error) { return Verify(testNetwork, raw) }

// reload is a store that knows what the bytes hold.
func reload(data []byte) (s *Store, damaged int) {
	s = testStore()
	damaged = load(data,
		func(r *Record) { s.Take(r, ByMemory, epochStart) },
		func(p *Proof) { s.TakeProof(p, epochStart) }, verifyTest)
	return s, damaged
}

// contents names all that a store holds.
func contents(s *Store) (digests []Digest) {
	for _, name := range s.Names() {
		for _, h := range s.Set(name) {
			digests = append(digests, h.Record.digest)
			if h.Proof != nil {
				digests = append(digests, h.Proof.A.digest, h.Proof.B.digest)
			}
		}
	}
	return digests
}

// fullStore holds three instances, a tombstone and a proof.
func fullStore(t testing.TB) *Store {
	s := testStore()
	crowd(t, s, 3, epochStart, nil)
	take(t, s, record(t, 3, func(c *Claim) { c.State, c.Endpoints = Gone, nil }), ByNews, epochStart, Taken, "")
	take(t, s, record(t, 2, func(c *Claim) { c.Body = []byte("another") }), ByNews, epochStart, Conflict, "")
	return s
}

func TestJournalKeepsAllThatIsHeld(t *testing.T) {
	dir := t.TempDir()
	s := fullStore(t)
	j, data, err := openJournal(dir)
	if err != nil || data != nil {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	if err := j.Append(nil); err == nil {
		t.Error("appending to no file works")
	}
	if err := j.Replace(s.entries()); err != nil {
		t.Fatal(err)
	}
	newer := record(t, 1, stamped(1, 2))
	take(t, s, newer, ByNews, epochStart, Taken, "")
	if err := j.Append([]entryOut{recordEntry(newer)}); err != nil {
		t.Fatal(err)
	}
	// Killed here: nothing is closed.
	_, data, err = openJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, damaged := reload(data)
	if damaged != 0 || !slices.Equal(contents(again), contents(s)) {
		t.Errorf("%d bytes damaged; held %d things, were %d", damaged, len(contents(again)), len(contents(s)))
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

// R7: whatever happens to one place of the file costs at most the entry there.
func checkJournalRepairs(t fataler) {
	t.Helper()
	s := fullStore(testingTB(t))
	var data []byte
	var ends []int
	for _, e := range s.entries() {
		data = appendEntry(data, e)
		ends = append(ends, len(data))
	}
	whole := len(s.entries())
	count := func(data []byte) (entries int) {
		load(data, func(*Record) { entries++ }, func(*Proof) { entries++ }, verifyTest)
		return entries
	}
	if got := count(data); got != whole {
		t.Fatalf("%d entries of %d without damage", got, whole)
	}
	rubbish := []byte("rubbish " + journalMarker + " and more rubbish")
	for at := 0; at < len(data); at += 1 + at%13 {
		flipped := bytes.Clone(data)
		flipped[at] ^= 0x10
		torn, _ := slices.BinarySearch(ends, at+1)
		for what, test := range map[string]struct {
			data []byte
			want int
		}{
			"a flipped bit":     {flipped, whole - 1},
			"an end too soon":   {data[:at], torn},
			"a lost start":      {data[at:], whole - 1 - torn},
			"rubbish inside":    {slices.Concat(data[:at], rubbish, data[at:]), whole - 1},
			"a torn, then more": {slices.Concat(data[:at], data), torn + whole},
		} {
			if got := count(test.data); got < test.want {
				t.Fatalf("%s at byte %d of %d: %d entries, at least %d must be there", what, at, len(data), got, test.want)
			}
		}
	}
}

func TestJournalRepairs(t *testing.T) { checkJournalRepairs(t) }

// R6: what was held is held after a restart.
func checkDiskRemembers(t fataler) {
	t.Helper()
	tb := testingTB(t)
	dir := tb.TempDir()
	s := fullStore(tb)
	j, _, err := openJournal(dir)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if err := j.Replace(s.entries()); err != nil {
		t.Fatalf("%v", err)
	}
	_, data, err := openJournal(dir)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if again, _ := reload(data); !slices.Equal(contents(again), contents(s)) {
		t.Errorf("%d things of %d after a restart", len(contents(again)), len(contents(s)))
	}
	j.Close()
}

func TestDiskRemembers(t *testing.T) { checkDiskRemembers(t) }

// What stands in the place of the journal does not keep it from working.
func TestJournalStartsFromEveryState(t *testing.T) {
	whole := fullStore(t)
	write := func(t *testing.T, path string, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, prepare := range map[string]func(t *testing.T, path string){
		"nothing":     func(*testing.T, string) {},
		"empty":       func(t *testing.T, path string) { write(t, path, nil) },
		"rubbish":     func(t *testing.T, path string) { write(t, path, bytes.Repeat([]byte("rubbish"), 1000)) },
		"only zeros":  func(t *testing.T, path string) { write(t, path, make([]byte, 1<<20)) },
		"only heads":  func(t *testing.T, path string) { write(t, path, bytes.Repeat([]byte(journalMarker), 1000)) },
		"a directory": func(t *testing.T, path string) { os.Mkdir(path, 0o755); write(t, filepath.Join(path, "x"), nil) },
		"a dead link": func(t *testing.T, path string) { os.Symlink(filepath.Join(t.TempDir(), "nowhere"), path) },
		"a new file that a crash left": func(t *testing.T, path string) {
			write(t, path+".new-123", []byte("half"))
		},
		"another network": func(t *testing.T, path string) {
			c := testClaim()
			c.Network = "other"
			write(t, path, appendEntry(nil, entryOut{entryRecord, resign(t, 1, c)}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			prepare(t, filepath.Join(dir, journalName))
			j, data, err := openJournal(dir)
			if err != nil {
				t.Logf("said: %v", err)
			}
			if s, _ := reload(data); s.count != 0 {
				t.Errorf("%d instances out of nothing", s.count)
			}
			if !j.Due() {
				t.Error("a journal without a file is not due")
			}
			if err := j.Replace(whole.entries()); err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			_, data, err = openJournal(dir)
			if err != nil {
				t.Fatal(err)
			}
			if s, damaged := reload(data); damaged != 0 || !slices.Equal(contents(s), contents(whole)) {
				t.Error("not whole afterwards")
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*.new-*")); len(left) > 0 {
				t.Errorf("left over: %q", left)
			}
		})
	}
}

// fullDisk has room for so many bytes.
type fullDisk struct {
	journalFile
	room *int
}

func (f fullDisk) Write(b []byte) (int, error) {
	n := min(len(b), *f.room)
	*f.room -= n
	if n, err := f.journalFile.Write(b[:n]); err != nil || n < len(b) {
		return n, errors.Join(err, syscall.ENOSPC)
	}
	return n, nil
}

// A disk that is full at any byte costs nothing that was there before, and when
// there is room again the journal is whole.
func TestJournalSurvivesAFullDisk(t *testing.T) {
	s := fullStore(t)
	newer := record(t, 1, stamped(1, 2))
	size := len(appendEntry(nil, recordEntry(newer)))
	for room := 0; room < size; room += 37 {
		dir := t.TempDir()
		j, _, err := openJournal(dir)
		if err != nil {
			t.Fatal(err)
		}
		left := 1 << 20
		j.create = func(path string) (journalFile, error) {
			f, err := createJournal(path)
			return fullDisk{f, &left}, err
		}
		if err := j.Replace(s.entries()); err != nil {
			t.Fatal(err)
		}
		left = room
		if err := j.Append([]entryOut{recordEntry(newer)}); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%d bytes of room for %d: %v", room, size, err)
		}
		if err := j.Replace(s.entries()); !errors.Is(err, syscall.ENOSPC) || !j.Due() {
			t.Fatalf("replacing on a full disk: %v", err)
		}
		_, data, err := openJournal(dir)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := reload(data); !slices.Equal(contents(again), contents(s)) {
			t.Fatalf("%d bytes of room: what was there is lost", room)
		}
		left = 1 << 20
		if err := j.Replace(s.entries()); err != nil || j.Due() {
			t.Fatalf("with room again: %v", err)
		}
		j.Close()
	}
}

func TestJournalIsReplacedWhenMostlyOld(t *testing.T) {
	j, _, err := openJournal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	s := fullStore(t)
	if err := j.Replace(s.entries()); err != nil {
		t.Fatal(err)
	}
	e := []entryOut{recordEntry(record(t, 1, nil))}
	for n := 0; !j.Due(); n++ {
		if n > 2*journalSlack/len(e[0].payload) {
			t.Fatal("the file grows without end")
		}
		if err := j.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Replace(s.entries()); err != nil || j.Due() {
		t.Errorf("due %v, %v", j.Due(), err)
	}
}

func FuzzJournal(f *testing.F) {
	var data []byte
	for _, e := range fullStore(f).entries() {
		data = appendEntry(data, e)
	}
	f.Add(data)
	f.Add([]byte(journalMarker))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, damaged := reload(data)
		if damaged > len(data) {
			t.Fatalf("%d bytes damaged of %d", damaged, len(data))
		}
		var again []byte
		for _, e := range s.entries() {
			again = appendEntry(again, e)
		}
		if same, damaged := reload(again); damaged != 0 || !slices.Equal(contents(same), contents(s)) {
			t.Fatal("what was loaded is not the same when written and loaded again")
		}
	})
}

package testnet

import "fmt"

// What a node may have more of at the end than at the beginning: a heap has spare
// room, connections come and go, and the ledger itself has grown.
const (
	growthBytesMax      = 96 << 20
	growthGoroutinesMax = 100
	growthFilesMax      = 40
	// settledAfter is how many samples a life is given before its first one counts.
	settledAfter = 5
)

// checkResources compares, for every node's last life, what it took in the middle of
// its beginning with what it takes at the end.
func checkResources(h *history) []Promise {
	if !h.scenario.Promises.Flat {
		return nil
	}
	var f findings
	byPID := make(map[int][]ResourceRecord)
	var order []int
	for _, r := range h.resources {
		if len(byPID[r.PID]) == 0 {
			order = append(order, r.PID)
		}
		byPID[r.PID] = append(byPID[r.PID], r)
	}
	judged := 0
	for _, pid := range order {
		life := byPID[pid]
		if len(life) < 4*settledAfter {
			continue
		}
		judged++
		checkGrowth(life[settledAfter:], &f)
	}
	if judged == 0 {
		f.lacks("no node's process was sampled long enough")
	}
	return []Promise{f.none("growth of memory, goroutines and files", "measures")}
}

// checkGrowth compares the least of the first and of the last quarter: what is taken
// and given back again is no growth.
func checkGrowth(life []ResourceRecord, f *findings) {
	quarter := max(len(life)/4, 1)
	first, last := life[:quarter], life[len(life)-quarter:]
	for _, m := range []struct {
		name string
		of   func(ResourceRecord) int64
		most int64
	}{
		{"bytes of memory", func(r ResourceRecord) int64 { return r.RSSBytes }, growthBytesMax},
		{"goroutines", func(r ResourceRecord) int64 { return int64(r.Goroutines) }, growthGoroutinesMax},
		{"open files", func(r ResourceRecord) int64 { return int64(r.Files) }, growthFilesMax},
	} {
		before, after := least(first, m.of), least(last, m.of)
		if after-before > m.most {
			f.broke("node %d (process %d) has %d more %s at the end: %s", life[0].Node, life[0].PID, after-before, m.name, fmt.Sprintf("%d, then %d", before, after))
		}
	}
}

func least(some []ResourceRecord, of func(ResourceRecord) int64) int64 {
	low := of(some[0])
	for _, r := range some[1:] {
		low = min(low, of(r))
	}
	return low
}

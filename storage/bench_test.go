package storage

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkWrite writes durable batches of one value each, as a node does once
// a step, and beside them appends and syncs the same bytes to a plain file, in
// turns, so that both meet the same disk.
//
//	go test -run '^$' -bench Write -benchtime 3s ./storage
func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		name := fmt.Sprintf("%dKiB", size>>10)
		if size >= 1<<20 {
			name = fmt.Sprintf("%dMiB", size>>20)
		}
		b.Run(name, func(b *testing.B) { benchmarkWrite(b, size) })
	}
}

func benchmarkWrite(b *testing.B, size int) {
	dir := b.TempDir()
	s, err := Open(filepath.Join(dir, "store"), DefaultOptions())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	raw, err := os.Create(filepath.Join(dir, "raw"))
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	value := randomBytes(rand.New(rand.NewPCG(1, 1)), size)
	var batch Batch
	var stored, appended time.Duration
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		batch.Reset()
		batch.Set(fmt.Appendf(nil, "block/%012d", i), value)
		if err := s.Write(&batch); err != nil {
			b.Fatal(err)
		}
		stored += time.Since(start)

		b.StopTimer()
		start = time.Now()
		if _, err := raw.Write(value); err != nil {
			b.Fatal(err)
		}
		if err := raw.Sync(); err != nil {
			b.Fatal(err)
		}
		appended += time.Since(start)
		b.StartTimer()
	}
	n := float64(b.N)
	b.ReportMetric(n/stored.Seconds(), "batches/s")
	b.ReportMetric(n/appended.Seconds(), "raw-syncs/s")
	b.ReportMetric(n*float64(size)/1e6/appended.Seconds(), "raw-MB/s")
	b.ReportMetric(stored.Seconds()/appended.Seconds(), "x-raw")
	u, err := s.Usage()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(u.DiskBytes)/(n*float64(size)), "disk-bytes/byte")
	b.ReportMetric(float64(u.WrittenBytes)/float64(u.GivenBytes), "written-bytes/byte")
}

// BenchmarkOpen opens a store whose log is as long as it gets: one memtable,
// read once to check it and twice to replay it.
func BenchmarkOpen(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "store")
	s, err := Open(dir, DefaultOptions())
	if err != nil {
		b.Fatal(err)
	}
	value := randomBytes(rand.New(rand.NewPCG(1, 1)), 4<<10)
	var batch Batch
	for i := int64(0); i < s.opts.MemtableBytes*9/10; i += batch.Size() {
		batch.Reset()
		batch.Set(fmt.Appendf(nil, "block/%012d", i), value)
		if err := s.WriteUnsynced(&batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		b.StopTimer()
		again := filepath.Join(b.TempDir(), fmt.Sprint(n))
		n++
		if err := os.CopyFS(again, os.DirFS(dir)); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		s, err := Open(again, DefaultOptions())
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

package storage

// Usage is what a node shows of its store: where the bytes are and how many
// were written for those it was given.
type Usage struct {
	DiskBytes  uint64 // all files of the store
	TableBytes uint64 // of these, in key order and for good
	LogBytes   uint64 // of these, in logs: in use, or kept for reuse
	FreeBytes  uint64 // room on the disk; 0 if the file system cannot tell

	// Since Open, or since the disk was last full:
	GivenBytes   uint64 // keys and values of batches, as they went to the log
	WrittenBytes uint64 // log, flushes and compactions together

	Batches uint64 // in the store, all that were ever written
	Acked   uint64 // of these, known durable
	Full    bool   // the disk is full: reading only
}

// Usage costs a few microseconds and no disk access but for FreeBytes.
func (s *Store) Usage() (Usage, error) {
	e, err := s.acquire()
	if err != nil {
		return Usage{}, err
	}
	defer s.release(e)
	m := e.db.Metrics()
	total := m.Total()
	u := Usage{
		DiskBytes:    m.DiskSpaceUsage() + ackedSlots*ackedSlotStride,
		TableBytes:   m.Table.Local.LiveSize,
		LogBytes:     m.WAL.PhysicalSize + m.WAL.ObsoletePhysicalSize,
		GivenBytes:   m.WAL.BytesIn,
		WrittenBytes: m.WAL.BytesWritten + total.TableBytesFlushed + total.TableBytesCompacted,
		Batches:      s.seq.Load(),
		Acked:        s.acked.noted(),
		Full:         e.readOnly,
	}
	if e.readOnly {
		u.Batches = e.landed // numbers above it were given to batches that were refused
	}
	if free, err := s.opts.FS.GetDiskUsage(s.dir); err == nil {
		u.FreeBytes = free.AvailBytes
	}
	return u, nil
}

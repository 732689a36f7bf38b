// Package storage is an embedded, crash-safe store of bytes: keys in order,
// their values, and batches of changes that are durable whole or not there.
//
// A caller opens a directory, which locks it, writes one durable batch per step,
// and scans prefixes in key order:
//
//	store, err := storage.Open(dir, storage.DefaultOptions())
//	if err != nil {
//		return err // names the file or directory, and what to do
//	}
//	defer store.Close()
//
//	var batch storage.Batch
//	for {
//		batch.Reset()
//		batch.Set(key, value)
//		err := store.Write(&batch) // durable when it is nil
//		switch {
//		case errors.Is(err, storage.ErrFull):
//			// nothing of the batch was kept: refuse the operation, go on reading
//		case err != nil:
//			return err // stop: the disk failed, and err names the file
//		}
//		for entry, err := range store.Scan(storage.Prefix(prefix)) {
//			// entry's slices are good until the next step
//		}
//	}
//
// # What is promised
//
//   - A batch whose Write has returned nil is there after a crash at any moment,
//     and so is every batch written before it. No batch is ever there in part.
//   - After a failed write or sync nothing more is written or read. The
//     directory stays as it was at that operation, which is what a crash leaves.
//   - A full disk refuses the batch, keeps serving reads, and takes batches again
//     when there is room. A batch refused with ErrFull is not in the store.
//   - A damaged file is reported with its name, or its damage makes no difference;
//     it never changes a value. Acknowledged batches that a damaged log or manifest
//     has lost are missed at Open, by their numbers.
//   - WriteUnsynced is for what can be rebuilt, and says what a crash may take.
//
// # What is not
//
// The note of what was acknowledged is not synced by itself. If the machine,
// not only the process, goes down, and the very end of the log is damaged too,
// the batches of the seconds before may be taken for unfinished ones.
// Two damaged places at once may cost more than they would one by one.
//
// A damaged value is dear to read: the engine looks for the flipped bit in the
// first 40 KiB of its block, with one checksum of the whole block for each bit.
// For a value of 32 KiB that is about a second, for 1 MiB about half a minute.
//
// # Inside
//
// The store is Pebble on a file system that is an argument. guard stands between
// the two and keeps the first fault; full exchanges the engine when the disk was
// full; history checks at Open that no batch is missing; acked is the note of
// what was acknowledged.
package storage

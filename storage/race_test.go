//go:build race

package storage

// stride thins the tests that try every operation or a thousand flips when the
// race detector watches, under which they are twenty times slower: it looks for
// races, and each kind of operation is among those left. The plain run tries all.
const stride = 20

package p2p

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	bookPeersMax = 1024
	// bookBytesMax bounds the file that is read: full of the longest entries.
	bookBytesMax = 8 << 20
	// bookSaveEvery is how much a crash may forget; peers are met again anyway.
	bookSaveEvery = 30 * time.Second
	bookMode      = 0o600
)

// book is the address book: peers this host has been connected with, and some
// it has only been told of, where they were, and of which provider. It outlives
// the process and every bootstrap peer. No provider can fill it: when it is
// full, the provider with most entries loses the one not met for longest.
type book struct {
	path string
	log  *slog.Logger

	mu    sync.Mutex
	peers map[peer.ID]bookEntry
	dirty bool
}

type bookEntry struct {
	ID       peer.ID        `json:"id"`
	Provider string         `json:"provider,omitempty"`
	Addrs    []ma.Multiaddr `json:"-"`
	Texts    []string       `json:"addrs"`
	Met      time.Time      `json:"met"` // zero: only told of
}

type bookFile struct {
	Version int         `json:"version"`
	Peers   []bookEntry `json:"peers"`
}

// openBook reads the book at path. A damaged book is set aside, said so, and
// begun anew: it is a memory of peers, and the bundle has others.
func openBook(path string, log *slog.Logger) (*book, error) {
	b := &book{path: path, log: log, peers: make(map[peer.ID]bookEntry)}
	if path == "" {
		return b, nil
	}
	err := b.load()
	var damage damagedBook
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist):
		return b, nil
	case errors.As(err, &damage):
		aside := path + ".damaged"
		if err := os.Rename(path, aside); err != nil {
			return nil, fmt.Errorf("address book: %w", err)
		}
		log.Warn("the address book is damaged; it was set aside and a new one begun", "file", aside, "err", damage.error)
		b.peers = make(map[peer.ID]bookEntry)
		return b, nil
	}
	return nil, fmt.Errorf("address book: %w", err)
}

type damagedBook struct{ error }

func (b *book) load() error {
	f, err := os.Open(b.path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > bookBytesMax {
		return damagedBook{fmt.Errorf("%d bytes, more than a full book has", info.Size())}
	}
	text := make([]byte, info.Size())
	if _, err := f.ReadAt(text, 0); err != nil && info.Size() > 0 {
		return err
	}
	peers, err := decodeBook(text)
	if err != nil {
		return damagedBook{err}
	}
	b.peers = peers
	return nil
}

func decodeBook(text []byte) (map[peer.ID]bookEntry, error) {
	var file bookFile
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	if file.Version != 1 {
		return nil, fmt.Errorf("version %d, only 1 is known", file.Version)
	}
	if len(file.Peers) > bookPeersMax {
		return nil, fmt.Errorf("%d peers, at most %d", len(file.Peers), bookPeersMax)
	}
	peers := make(map[peer.ID]bookEntry, len(file.Peers))
	for _, e := range file.Peers {
		for _, t := range e.Texts {
			m, err := parseRawAddr(t)
			if err != nil {
				return nil, fmt.Errorf("peer %s: %q: %w", e.ID, t, err)
			}
			e.Addrs = append(e.Addrs, m)
		}
		if err := (Peer{e.ID, e.Addrs, e.Provider}).validate(); err != nil {
			return nil, err
		}
		peers[e.ID] = e
	}
	return peers, nil
}

// meet notes a peer we are connected with.
func (b *book) meet(p Peer, now time.Time) {
	b.put(bookEntry{ID: p.ID, Provider: p.Provider, Addrs: p.Addrs, Met: now})
}

// tell notes a peer somebody told of, unless we have met it.
func (b *book) tell(id peer.ID, addrs []ma.Multiaddr, _ time.Time) {
	b.mu.Lock()
	old, known := b.peers[id]
	b.mu.Unlock()
	if !known || old.Met.IsZero() {
		b.put(bookEntry{ID: id, Provider: old.Provider, Addrs: addrs})
	}
}

func (b *book) put(e bookEntry) {
	e.Addrs = slices.DeleteFunc(slices.Clone(e.Addrs), isName)
	if len(e.Addrs) > peerAddrsMax {
		e.Addrs = e.Addrs[:peerAddrsMax]
	}
	if len(e.Addrs) == 0 || len(e.Provider) > providerBytesMax {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.peers[e.ID]; !known && len(b.peers) >= bookPeersMax {
		b.makeRoom()
	}
	b.peers[e.ID] = e
	b.dirty = true
}

func (b *book) makeRoom() {
	perProvider := make(map[string]int)
	for _, e := range b.peers { // order: a count
		perProvider[e.Provider]++
	}
	sorted := b.sorted()
	worst := slices.MinFunc(sorted, func(x, y bookEntry) int {
		return cmp.Or(cmp.Compare(perProvider[y.Provider], perProvider[x.Provider]), x.Met.Compare(y.Met))
	})
	delete(b.peers, worst.ID)
}

// entries are all peers of the book, ordered by id.
func (b *book) entries() []bookEntry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sorted()
}

// addrs is where a peer was.
func (b *book) addrs(p peer.ID) []ma.Multiaddr {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.peers[p].Addrs
}

func (b *book) sorted() []bookEntry {
	all := make([]bookEntry, 0, len(b.peers))
	for _, e := range b.peers { // order: sorted below
		all = append(all, e)
	}
	slices.SortFunc(all, func(x, y bookEntry) int { return cmp.Compare(x.ID, y.ID) })
	return all
}

// save replaces the file by a whole new one, if anything has changed.
func (b *book) save() error {
	b.mu.Lock()
	dirty := b.dirty
	file := bookFile{Version: 1, Peers: b.sorted()}
	b.dirty = false
	b.mu.Unlock()
	if b.path == "" || !dirty {
		return nil
	}
	err := b.write(file)
	if err != nil {
		b.mu.Lock()
		b.dirty = true
		b.mu.Unlock()
		return fmt.Errorf("address book: %w", err)
	}
	return nil
}

func (b *book) write(file bookFile) error {
	for i := range file.Peers {
		file.Peers[i].Texts = nil
		for _, a := range file.Peers[i].Addrs {
			file.Peers[i].Texts = append(file.Peers[i].Texts, a.String())
		}
	}
	text, err := json.MarshalIndent(file, "", " ")
	if err != nil {
		return err
	}
	tmp, err := writeTemp(b.path, append(text, '\n'), bookMode)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, b.path); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return syncDir(filepath.Dir(b.path))
}

// keepBook notes the connected peers and where they say they listen, and saves
// the book. It goes on when the disk does not: a warning each time is enough.
func (h *Host) keepBook() {
	note := time.NewTicker(bookNoteEvery)
	defer note.Stop()
	saved := time.Now()
	for {
		select {
		case <-note.C:
		case <-h.ctx.Done():
			return
		}
		h.noteConnected()
		if time.Since(saved) >= bookSaveEvery {
			if err := h.book.save(); err != nil {
				h.log.Warn("saving the address book failed; trying again later", "err", err)
			}
			saved = time.Now()
		}
	}
}

// bookNoteEvery is how soon a new peer gets into the book.
const bookNoteEvery = 2 * time.Second

func (h *Host) noteConnected() {
	for _, p := range h.Peers() {
		if p.Path == PathRelayed {
			continue
		}
		h.book.meet(Peer{ID: p.ID, Provider: p.Provider, Addrs: h.host.Peerstore().Addrs(p.ID)}, time.Now())
	}
}

package testnet

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/holdfast-mesh/holdfast/node/api"
)

// Names of the files of a run's directory. All but the last three are what was
// recorded; the checkers read these alone.
const (
	fileScenario  = "scenario.json"
	fileManifest  = "manifest.json"
	fileBundle    = "network.bundle"
	fileOps       = "ops.jsonl"
	fileReads     = "reads.jsonl"
	fileCommits   = "commits.jsonl"
	fileBlocks    = "blocks.jsonl"
	fileRoots     = "roots.jsonl"
	fileResources = "resources.jsonl"
	fileFaults    = "faults.jsonl"
	fileMatrices  = "matrices.jsonl"
	fileAlarms    = "alarms.jsonl"
	fileServices  = "services.jsonl"
	fileResolves  = "resolves.jsonl"
	fileVerdict   = "verdict.json"
	fileReport    = "report.html"
)

// OpRecord is one operation of a client: what it asked, and what it was told. Times
// are Unix nanoseconds of the client's clock; 0 says that it has not happened.
type OpRecord struct {
	Op       string `json:"op"` // the operation's id
	Client   int    `json:"client"`
	Provider string `json:"provider"` // where the client is
	Account  string `json:"account"`
	Kind     string `json:"kind"` // place, cancel, transfer, withdraw, attest, sign, complete
	Node     int    `json:"node"` // that acknowledged it, or was asked last

	Invoked int64 `json:"invoked"`         // when it was to be sent
	Acked   int64 `json:"acked,omitempty"` // when a node promised to see to it
	Ended   int64 `json:"ended,omitempty"` // when the client knew what became of it

	Status   api.OpState `json:"status"`           // as last heard; unknown if nothing was
	Reason   string      `json:"reason,omitempty"` // of the operation or of its action
	Refused  bool        `json:"refused,omitempty"`
	Commit   uint64      `json:"commit,omitempty"`
	Position uint32      `json:"position,omitempty"`
	Error    string      `json:"error,omitempty"` // why nothing was heard

	// What was asked, for the models. Amounts are units, prices ticks.
	Market string `json:"market,omitempty"`
	Name   string `json:"name,omitempty"` // the client's own name for the order
	Sell   bool   `json:"sell,omitempty"`
	Price  uint64 `json:"price,omitempty"`
	Lots   uint64 `json:"lots,omitempty"`
	Asset  string `json:"asset,omitempty"`
	Amount uint64 `json:"amount,omitempty"`
	Fee    uint64 `json:"fee,omitempty"`
	To     string `json:"to,omitempty"`    // of a transfer or a deposit: whose
	Group  string `json:"group,omitempty"` // operations that are one thing: a deposit's votes, a payment's

	// What was answered.
	Executed   string `json:"executed,omitempty"` // of a place: the quantity that traded at once
	OrderState string `json:"order_state,omitempty"`
	Withdrawal uint64 `json:"withdrawal,omitempty"`
}

// ReadRecord is one question of a client for an account, and the answer.
type ReadRecord struct {
	Client   int    `json:"client"`
	Provider string `json:"provider"`
	Account  string `json:"account"`
	Node     int    `json:"node"`
	Invoked  int64  `json:"invoked"`
	Answered int64  `json:"answered,omitempty"`
	Error    string `json:"error,omitempty"`

	Commit   uint64        `json:"commit,omitempty"`
	TimeMs   int64         `json:"time_ms,omitempty"`
	AgeMs    int64         `json:"age_ms,omitempty"`
	Quorum   bool          `json:"quorum,omitempty"`
	Balances []api.Balance `json:"balances,omitempty"`
}

// CommitRecord is a commit as a node told of it.
type CommitRecord struct {
	Node   int    `json:"node"`
	Index  uint64 `json:"index"`
	Commit string `json:"commit"` // its CID
	TimeMs int64  `json:"time_ms"`
	Seen   int64  `json:"seen"` // when we heard of it, Unix nanoseconds
	Ops    int    `json:"ops"`
}

// BlocksRecord is what a commit consists of: its blocks' DAG-CBOR, in order.
type BlocksRecord struct {
	Index  uint64   `json:"index"`
	Commit string   `json:"commit"`
	TimeMs int64    `json:"time_ms"`
	CIDs   []string `json:"cids"`
	Blocks [][]byte `json:"blocks"`
}

// RootRecord is a checkpoint as a node has it certified.
type RootRecord struct {
	Node   int    `json:"node"`
	Index  uint64 `json:"index"`
	Commit string `json:"commit"`
	Root   string `json:"root"`
}

// ResourceRecord is what a node's process takes.
type ResourceRecord struct {
	Node       int     `json:"node"`
	PID        int     `json:"pid"`
	At         int64   `json:"at"`
	RSSBytes   int64   `json:"rss_bytes"`
	CPUSeconds float64 `json:"cpu_seconds"`
	Files      int     `json:"files"`
	Threads    int     `json:"threads"`
	Goroutines int     `json:"goroutines"`
	DiskBytes  int64   `json:"disk_bytes"`
	Evidence   int     `json:"evidence,omitempty"` // proofs it holds that a validator signed two blocks for one round
}

// FaultRecord is the beginning or the end of a fault.
type FaultRecord struct {
	At    int64  `json:"at"`
	Began bool   `json:"began"`
	Name  string `json:"name"`
	Fault Fault  `json:"fault"`
	Error string `json:"error,omitempty"`
}

// recorder writes the lines of a run. Any number of goroutines may use it.
type recorder struct {
	dir string

	mu    sync.Mutex // guards what is below
	files map[string]*bufio.Writer
	open  []*os.File
	wrong error // the first write that failed: the run is then worth nothing
}

func newRecorder(dir string) *recorder {
	return &recorder{dir: dir, files: make(map[string]*bufio.Writer)}
}

// add appends a record to a file.
func (r *recorder) add(file string, record any) {
	b, err := json.Marshal(record)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		err = r.write(file, append(b, '\n'))
	}
	if r.wrong == nil && err != nil {
		r.wrong = fmt.Errorf("testnet: recording to %s: %w", file, err)
	}
}

func (r *recorder) write(file string, line []byte) error {
	w := r.files[file]
	if w == nil {
		f, err := os.OpenFile(filepath.Join(r.dir, file), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		w = bufio.NewWriterSize(f, 64<<10)
		r.files[file] = w
		r.open = append(r.open, f)
	}
	_, err := w.Write(line)
	return err
}

// close writes out what is left and says whether everything was written.
func (r *recorder) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.files { // order: each is flushed, whichever first
		r.wrong = errors.Join(r.wrong, w.Flush())
	}
	for _, f := range r.open {
		r.wrong = errors.Join(r.wrong, f.Close())
	}
	r.files, r.open = nil, nil
	return r.wrong
}

// lineBytesMax bounds a line of a run's files: the largest is a commit's blocks.
const lineBytesMax = 256 << 20

// readLines reads a file of records; one that is missing has none.
func readLines[T any](dir, file string) (out []T, err error) {
	f, err := os.Open(filepath.Join(dir, file))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("testnet: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 0, 64<<10), lineBytesMax)
	for n := 1; lines.Scan(); n++ {
		var one T
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		d.DisallowUnknownFields()
		if err := d.Decode(&one); err != nil {
			return nil, fmt.Errorf("testnet: %s, line %d: %w", f.Name(), n, err)
		}
		out = append(out, one)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("testnet: %s: %w", f.Name(), err)
	}
	return out, nil
}

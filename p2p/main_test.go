package p2p

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails the package if a goroutine of ours, or of the library, is left
// after all hosts are closed.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := leftBehind(); len(left) > 0 {
			fmt.Printf("%d goroutines are left behind, such as:\n%s\n", len(left), left[0])
			code = 1
		}
	}
	os.Exit(code)
}

// leftBehind waits for goroutines to end and returns those that do not.
func leftBehind() (left []string) {
	for deadline := time.Now().Add(20 * time.Second); ; {
		left = nil
		stacks := make([]byte, 16<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		for _, g := range strings.Split(string(stacks), "\n\n")[1:] {
			if strings.Contains(g, "/p2p.") || strings.Contains(g, "libp2p") || strings.Contains(g, "quic-go") {
				left = append(left, g)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		time.Sleep(20 * time.Millisecond) // between two looks at a condition
	}
}

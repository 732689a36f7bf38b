package mesh

import (
	"fmt"
	"testing"
)

// fataler is what a check of a rule needs of a test. The checks run as they are
// against the product, and, in builds with the tag holdfast_bugs, against the
// product without the rule: then they must fail.
type fataler interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// expectFailure is a fataler that remembers that the check failed.
type expectFailure struct {
	*testing.T
	failed string
}

// stopped is what Fatalf of expectFailure throws.
type stopped struct{}

func (e *expectFailure) Errorf(format string, args ...any) {
	if e.failed == "" {
		e.failed = fmt.Sprintf(format, args...)
	}
}

func (e *expectFailure) Fatalf(format string, args ...any) {
	e.Errorf(format, args...)
	panic(stopped{})
}

// testingTB is the test behind a check, for helpers that cannot fail.
func testingTB(t fataler) testing.TB {
	if e, ok := t.(*expectFailure); ok {
		return e.T
	}
	return t.(testing.TB)
}

package ledger

import (
	"strings"
	"testing"
)

// TestReasonsAreComplete holds that each reason has its own code and a sentence
// that ends, so that nobody is ever told an empty text.
func TestReasonsAreComplete(t *testing.T) {
	seen := map[string]Reason{}
	for r := ReasonNone + 1; r < reasonEnd; r++ {
		code, sentence := r.String(), r.Sentence()
		if code == "" || code != strings.ToUpper(code) || strings.ContainsAny(code, " -") {
			t.Errorf("reason %d has the code %q", r, code)
		}
		if other, twice := seen[code]; twice {
			t.Errorf("reasons %d and %d share the code %s", other, r, code)
		}
		seen[code] = r
		if !strings.HasSuffix(sentence, ".") || len(sentence) < 20 {
			t.Errorf("%s says %q", code, sentence)
		}
		if back, ok := ParseReason(code); !ok || back != r {
			t.Errorf("%s parses as %v", code, back)
		}
	}
	if _, ok := ParseReason(""); ok {
		t.Error("the empty code parses")
	}
}

// TestNamesAreComplete holds that every state and kind prints as something.
func TestNamesAreComplete(t *testing.T) {
	names := map[string]bool{}
	for s := OrderState(1); s < orderStateEnd; s++ {
		names["order "+s.String()] = true
	}
	for s := WithdrawalState(1); s < withdrawalStateEnd; s++ {
		names["withdrawal "+s.String()] = true
	}
	for k := EventKind(1); k < eventKindEnd; k++ {
		names["event "+k.String()] = true
	}
	if want := int(orderStateEnd) + int(withdrawalStateEnd) + int(eventKindEnd) - 3; len(names) != want {
		t.Errorf("%d names for %d values", len(names), want)
	}
}

//go:build holdfast_bugs

package mesh

// off is the rule that does not hold now.
var off = ruleNone

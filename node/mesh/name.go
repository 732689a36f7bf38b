package mesh

import "fmt"

// nameBytesMax is the length of a DNS label: NAME.mesh must be a DNS name.
const nameBytesMax = 63

// CheckName returns an error that says what is wrong with a service's name. A
// name is a DNS label: small letters, digits and, inside, hyphens.
func CheckName(name string) error {
	if name == "" || len(name) > nameBytesMax {
		return fmt.Errorf("service name %q: it must have 1 to %d letters", name, nameBytesMax)
	}
	for i, c := range []byte(name) {
		letter := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		inside := c == '-' && 0 < i && i < len(name)-1
		if !letter && !inside {
			return fmt.Errorf("service name %q: only a-z, 0-9 and, inside, hyphens", name)
		}
	}
	return nil
}

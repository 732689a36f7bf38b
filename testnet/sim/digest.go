package sim

import "crypto/sha256"

func digestOf(b []byte) [32]byte { return sha256.Sum256(b) }

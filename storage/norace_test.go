//go:build !race

package storage

// stride is 1: every operation, every flip. See race_test.go.
const stride = 1

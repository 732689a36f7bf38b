package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// metricName finds the metrics of a node in what Prometheus and Grafana are told. Those
// of Prometheus itself, such as up, are not a node's.
var metricName = regexp.MustCompile(`\b(?:holdfast|process|go)_[a-z0-9_]+\b`)

// Every metric that the dashboard and the alerts name is one that a node tells; and what
// expect says of the same nodes is what holds.
func TestObservationNamesRealMetrics(t *testing.T) {
	h := holdUp(t)
	var apis []string
	for _, n := range h.manifest.Nodes {
		apis = append(apis, n.API)
	}
	all := strings.Join(apis, ",")
	expect := func(want int, args ...string) string {
		t.Helper()
		stdout, stderr, code := call(t, append([]string{"testnet", "expect"}, args...)...)
		if code != want {
			t.Errorf("expect %q: exit %d, not %d: %s%s", args, code, want, stdout, stderr)
		}
		return stdout
	}
	expect(exitOK, "quorum", "--api", all)
	expect(exitOK, "commits", "--api", all, "--for", "1s", "--within", "1m")
	expect(exitFailure, "no-commits", "--api", all, "--for", "10s")
	expect(exitFailure, "no-quorum", "--api", apis[0], "--within", "100ms")
	expect(exitFailure, "silence", "--api", apis[0], "--within", "100ms")
	expect(exitOK, "silence", "--api", "http://127.0.0.1:1")
	expect(exitOK, "together", "--api", all, "--within", "1m")
	wants(t, expect(exitOK, "same", "--api", all, "--within", "1m"), "is one")
	expect(exitUsage, "luck", "--api", all)
	expect(exitUsage, "same")

	told := metricsOf(t, apis[0])
	root := filepath.Join("..", "..", "testnet", "observe")
	for _, file := range []string{"alerts.yml", "grafana/dashboards/holdfast.json"} {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		names := metricName.FindAllString(string(b), -1)
		if len(names) < 10 {
			t.Errorf("%s names %d metrics: something is wrong with the file or with this test", file, len(names))
		}
		for _, name := range names {
			if !told[name] {
				t.Errorf("%s names %s, which no node tells", file, name)
			}
		}
	}
}

// metricsOf are the names of everything a node tells.
func metricsOf(t *testing.T, base string) map[string]bool {
	t.Helper()
	client := http.Client{Timeout: time.Minute}
	r, err := client.Get(base + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[string]bool)
	for line := range strings.Lines(string(b)) {
		if name := metricName.FindString(line); name != "" && strings.HasPrefix(line, name) {
			told[name] = true
		}
	}
	return told
}

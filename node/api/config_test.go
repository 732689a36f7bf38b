package api

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestDefaultConfigIsValid(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// TestValidateListsEveryFault: the zero Config lacks everything that is needed.
func TestValidateListsEveryFault(t *testing.T) {
	var c Config
	faults := c.Validate().Error()
	needless := map[string]bool{"Metrics": true, "Debug": true, "Observe": true}
	for i := range reflect.TypeOf(c).NumField() {
		name := reflect.TypeOf(c).Field(i).Name
		if named := strings.Contains(faults, "api: "+name+" "); named == needless[name] {
			t.Errorf("of %s it says (%v): %s", name, named, faults)
		}
	}
	if _, err := New(nil, c); err == nil || err.Error() != faults {
		t.Errorf("New says %v", err)
	}
}

func TestValidateRefusesRatesThatNeverPass(t *testing.T) {
	c := DefaultConfig()
	c.Ops, c.BurstSeconds = 100, 1
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "512") {
		t.Errorf("it says %v", err)
	}
	c = DefaultConfig()
	c.Requests, c.BurstSeconds, c.Ops = 0.1, 1, 1000
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "Requests") {
		t.Errorf("it says %v", err)
	}
}

// TestRunListens: Run takes the address of the config, and says so if it cannot.
func TestRunListens(t *testing.T) {
	taken := serve(t, testConfig())
	c := testConfig()
	c.Listen = strings.TrimPrefix(taken.base, "http://")
	server, err := New(taken.node, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "choose another") {
		t.Errorf("it says %v", err)
	}
}

// TestRatesAreKept: requests and operations are bounded each by its own rate,
// saved up for the burst, and Retry-After tells the truth.
func TestRatesAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testConfig()
		c.Requests, c.Ops, c.BurstSeconds = 10, 600, 1
		s, _ := servePiped(t, c)
		passed := 0
		var err error
		for err == nil {
			if _, err = s.Status(t.Context()); err == nil {
				passed++
			}
		}
		p, _ := problemFor(err)
		if passed != 10 || p.Code != "RATE_LIMITED" || p.RetryAfterMs < 1 || p.RetryAfterMs > 100 {
			t.Errorf("%d requests pass, then it is %+v", passed, p)
		}
		time.Sleep(time.Duration(p.RetryAfterMs+1) * time.Millisecond)
		if _, err := s.Status(t.Context()); err != nil {
			t.Errorf("after Retry-After it is %v", err)
		}
		time.Sleep(time.Second)
		many := make([][]byte, OpsMax)
		for i := range many {
			many[i] = []byte{0xa0}
		}
		if _, err := s.Submit(t.Context(), many...); err != nil {
			t.Fatal(err)
		}
		_, err = s.Submit(t.Context(), many...)
		if p, _ := problemFor(err); p.Code != "RATE_LIMITED" || p.RetryAfterMs < 500 {
			t.Errorf("twice %d operations are answered %v", OpsMax, err)
		}
		if _, err := s.Submit(t.Context(), many[:10]...); err != nil {
			t.Errorf("what is left of the share is refused: %v", err)
		}
	})
}

// TestAddressesAreForgotten: there is a bound on those remembered, and the one
// that has been silent for longest goes first.
func TestAddressesAreForgotten(t *testing.T) {
	c := testConfig()
	r := newRates(&c)
	first := r.of("10.0.0.1:1")
	for i := range addressesMax {
		r.of(fmt.Sprintf("[2001:db8:%x:%x::1]:1", i>>8, i&255))
		if r.of("10.0.0.1:2") != first {
			t.Fatal("it forgets one that is not silent")
		}
	}
	if len(r.at) != addressesMax || r.order.Len() != addressesMax {
		t.Errorf("it remembers %d addresses, in order %d", len(r.at), r.order.Len())
	}
}

func TestAddressOf(t *testing.T) {
	for _, c := range [][2]string{
		{"127.0.0.1:8080", "127.0.0.1"},
		{"[::ffff:10.0.0.7]:1", "10.0.0.7"},
		{"[2001:db8:1:2:3:4:5:6]:1", "2001:db8:1:2::"},
		{"[fe80::1%eth0]:1", "fe80::"},
		{"nonsense", "invalid IP"},
	} {
		if got := addressOf(c[0]).String(); got != c[1] {
			t.Errorf("%s counts as %s, want %s", c[0], got, c[1])
		}
	}
}

// TestObserveHears: each request is told of by its endpoint's name.
func TestObserveHears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testConfig()
		heard := make(map[string]int)
		c.Observe = func(endpoint string, status int, took time.Duration) { heard[endpoint] = status }
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "up 1") })
		s, _ := servePiped(t, c)
		s.ask(t, "GET", "/v1/status", "", "")
		s.ask(t, "GET", "/v1/commits/7", "", "")
		s.ask(t, "GET", "/v1/nothing", "", "")
		s.open(t).conn.CloseNow()
		synctest.Wait()
		if len(heard) != 3 || heard["status"] != 200 || heard["commit"] != 404 || heard["stream"] != 101 {
			t.Errorf("it hears %v", heard)
		}
	})
}

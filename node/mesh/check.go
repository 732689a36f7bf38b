package mesh

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// checkTimeout bounds one check; slower than this is failing.
	checkTimeout = 2 * time.Second
	// checkFalls and checkRises are how many checks in a row change an instance's
	// state, so that one lost packet does not.
	checkFalls, checkRises = 2, 2
	checkBodyBytesMax      = 64 << 10
)

// streak counts checks that ended alike.
type streak struct {
	good bool
	n    int
}

// add notes a check and returns the state that follows.
func (s *streak) add(good bool, now State) State {
	if s.good != good {
		s.good, s.n = good, 0
	}
	s.n++
	switch {
	case now == Serving && !good && s.n >= checkFalls:
		return Failing
	case now == Failing && good && s.n >= checkRises:
		return Serving
	}
	return now
}

// checkLoop checks an instance of ours and says so when its state changes.
func (m *Mesh) checkLoop(ctx context.Context, s *service) {
	tick := time.NewTicker(m.config.CheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.checkAt:
		case <-ctx.Done():
			return
		}
		good := m.check(ctx, &s.Service) == nil
		if ctx.Err() != nil {
			return
		}
		m.mu.Lock()
		before := s.state
		s.state = s.checks.add(good, before)
		changed := s.state != before
		m.mu.Unlock()
		if changed {
			if err := m.publish(s.Name, false); err != nil {
				m.log.Warn("a change of state could not be said", "service", s.Name, "err", err)
			}
		}
	}
}

// check asks an instance of ours whether it is well.
func (m *Mesh) check(ctx context.Context, s *Service) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	path, isHTTP := strings.CutPrefix(s.Check, "http:")
	switch {
	case s.Check == "none":
		return nil
	case isHTTP:
		return checkHTTP(ctx, "http://"+s.To+path)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", s.To)
	if err != nil {
		return err
	}
	return c.Close()
}

// checker keeps no connection: a check must find out whether there would be one.
var checker = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, Proxy: nil},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func checkHTTP(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := checker.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	io.CopyN(io.Discard, response.Body, checkBodyBytesMax) // what it says matters, not how much
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return nil
}

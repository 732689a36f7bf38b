package faults

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// request is one line to the server; exactly one field is set.
type request struct {
	Set      Table     `json:"set,omitempty"`
	Clear    bool      `json:"clear,omitempty"`
	Counters bool      `json:"counters,omitempty"`
	Probe    *Probing  `json:"probe,omitempty"`
	Heard    *heardRun `json:"heard,omitempty"`
	Flood    *Flooding `json:"flood,omitempty"`
}

type heardRun struct {
	Run uint64 `json:"run"`
}

// response is the line that answers a request.
type response struct {
	Error    string              `json:"error,omitempty"`
	Counters map[string]Counters `json:"counters,omitempty"`
	Heard    map[string]Heard    `json:"heard,omitempty"`
}

const (
	lineBytesMax = 1 << 20 // a table of a thousand remotes is a quarter of it
	idleMax      = 10 * time.Minute
	callersMax   = 16 // a testnet needs one; a person who looks, another
)

// Server lets whoever may open its unix socket command a Filter.
type Server struct {
	filter   *Filter
	listener *net.UnixListener
	context  context.Context
	stop     context.CancelFunc
	over     sync.WaitGroup

	mu      sync.Mutex // guards callers
	callers map[net.Conn]bool
}

// Listen serves commands at path, a unix socket that only the owner of the process
// may open. What is left there from a process that died is replaced.
func Listen(path string, f *Filter) (*Server, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("faults: replacing the socket of an earlier process: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("faults: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("faults: %w", err), l.Close())
	}
	s := &Server{filter: f, listener: l, callers: make(map[net.Conn]bool)}
	s.context, s.stop = context.WithCancel(context.Background())
	s.over.Go(s.accept)
	return s, nil
}

// Close ends the server and removes its socket; the rules stay.
func (s *Server) Close() error {
	s.stop()
	err := s.listener.Close()
	s.mu.Lock()
	for c := range s.callers {
		c.Close()
	}
	s.mu.Unlock()
	s.over.Wait()
	return err
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		if !s.enter(c) {
			c.Close()
			continue
		}
		s.over.Go(func() {
			defer s.leave(c)
			s.serve(c)
		})
	}
}

func (s *Server) enter(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.context.Err() != nil || len(s.callers) >= callersMax {
		return false
	}
	s.callers[c] = true
	return true
}

func (s *Server) leave(c net.Conn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.callers, c)
}

// serve answers one caller's lines, one after the other.
func (s *Server) serve(c net.Conn) {
	lines := bufio.NewScanner(c)
	lines.Buffer(nil, lineBytesMax)
	for c.SetReadDeadline(time.Now().Add(idleMax)) == nil && lines.Scan() {
		answer, err := json.Marshal(s.answer(lines.Bytes()))
		if err != nil {
			return
		}
		if _, err := c.Write(append(answer, '\n')); err != nil {
			return
		}
	}
}

func (s *Server) answer(line []byte) response {
	var r request
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return response{Error: fmt.Sprintf("faults: a request is one JSON object on a line, such as {\"counters\":true}: %v", err)}
	}
	return s.do(r)
}

func (s *Server) do(r request) (out response) {
	var err error
	switch {
	case r.Set != nil:
		err = s.filter.Set(r.Set)
	case r.Clear:
		err = s.filter.Set(nil)
	case r.Probe != nil:
		err = s.filter.Probe(s.context, *r.Probe)
	case r.Flood != nil:
		err = s.filter.Flood(s.context, *r.Flood)
	case r.Heard != nil:
		out.Heard = s.filter.Heard(r.Heard.Run)
	case r.Counters:
		out.Counters = s.filter.Counters()
	default:
		err = errors.New("faults: the request asks for nothing: one of set, clear, counters, probe, heard, flood")
	}
	if err != nil {
		out.Error = err.Error()
	}
	return out
}

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/coder/websocket"
)

// messageBytesMax bounds a message a client takes: the snapshot of an account
// with very many orders.
const messageBytesMax = 32 << 20

// Stream is an open stream of a node. One goroutine reads it with Next while
// others may subscribe.
type Stream struct{ conn *websocket.Conn }

// Stream opens a stream. Close it.
func (c *Client) Stream(ctx context.Context) (*Stream, error) {
	conn, response, err := websocket.Dial(ctx, c.base+"/v1/stream", &websocket.DialOptions{HTTPClient: c.HTTP})
	if err != nil {
		if response != nil && response.StatusCode >= http.StatusBadRequest {
			return nil, problemOf(response)
		}
		return nil, fmt.Errorf("api: %w", err)
	}
	conn.SetReadLimit(messageBytesMax)
	return &Stream{conn}, nil
}

// problemOf reads the problem of a refused dial; coder/websocket keeps the first
// bytes of the body.
func problemOf(response *http.Response) error {
	raw := make([]byte, 4096)
	n := 0
	for n < len(raw) {
		m, err := response.Body.Read(raw[n:])
		n += m
		if err != nil {
			break
		}
	}
	return problemIn(response, raw[:n])
}

// Subscribe asks for a channel, or with DoUnsubscribe for its end. An empty Do
// is DoSubscribe.
func (s *Stream) Subscribe(ctx context.Context, to Subscription) error {
	if to.Do == "" {
		to.Do = DoSubscribe
	}
	raw, err := json.Marshal(to)
	if err != nil {
		return fmt.Errorf("api: %w", err)
	}
	if err := s.conn.Write(ctx, websocket.MessageText, raw); err != nil {
		return fmt.Errorf("api: %w", err)
	}
	return nil
}

// Next returns the next message. When the server ends the stream, it has sent a
// MessageProblem before, if it could; the cursor of the last message of each
// channel is where to go on. A ctx that ends closes the stream.
func (s *Stream) Next(ctx context.Context) (Message, error) {
	_, raw, err := s.conn.Read(ctx)
	if err != nil {
		var closed websocket.CloseError
		if errors.As(err, &closed) {
			return Message{}, fmt.Errorf("api: the node has closed the stream: %s", closed.Reason)
		}
		return Message{}, fmt.Errorf("api: %w", err)
	}
	var m Message
	if err := json.Unmarshal(raw, &m); err != nil {
		return Message{}, fmt.Errorf("api: the message is not what a node of this version writes: %w", err)
	}
	return m, nil
}

// Close ends the stream.
func (s *Stream) Close() error { return s.conn.Close(websocket.StatusNormalClosure, "") }

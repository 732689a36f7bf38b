package dag

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A jsonObject hands out the values of a JSON object by exact key and knows in the end what nobody asked for.
type jsonObject struct {
	values map[string]json.RawMessage
	errs   []error
}

func caseObject(data []byte) (*jsonObject, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("want an object, not %v (%v)", t, err)
	}
	o := &jsonObject{values: make(map[string]json.RawMessage)}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, ok := t.(string)
		if _, twice := o.values[key]; !ok || twice {
			return nil, fmt.Errorf("key %v is given twice or is no key", t)
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		o.values[key] = v
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("something follows the object")
	}
	return o, nil
}

// take decodes a value that has to be there and has to be something.
func (o *jsonObject) take(key string, into any) {
	if bytes.Equal(o.values[key], []byte("null")) {
		o.errs = append(o.errs, fmt.Errorf("key %q is null", key))
	}
	o.takeOrNull(key, into)
}

// takeOrNull decodes a value that has to be there; null leaves into as it is.
func (o *jsonObject) takeOrNull(key string, into any) {
	if !o.takeIfThere(key, into) {
		o.errs = append(o.errs, fmt.Errorf("key %q is missing", key))
	}
}

func (o *jsonObject) takeIfThere(key string, into any) bool {
	v, ok := o.values[key]
	if !ok {
		return false
	}
	delete(o.values, key)
	if err := json.Unmarshal(v, into); err != nil {
		o.errs = append(o.errs, fmt.Errorf("%s: %w", key, err))
	}
	return true
}

// done reports everything that was wrong with the object.
func (o *jsonObject) done() error {
	for key := range o.values {
		o.errs = append(o.errs, fmt.Errorf("unknown key %q", key))
	}
	return errors.Join(o.errs...)
}

package api

import (
	"reflect"
	"strings"
)

// schemas makes JSON schemas of Go types, as encoding/json writes them.
type schemas struct {
	made object // by the name of the type
}

// numberMax is the largest number that every reader of JSON holds exactly.
const numberMax = 1<<53 - 1

// formats are what a field's "is" tag says its text looks like.
var formats = map[string]string{
	"decimal": `^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`,
	"account": `^[0-9a-f]{64}$`,
	"cid":     `^b[a-z2-7]{58}$`,
}

// texts are the types that are written as text of a kind of their own.
var texts = map[reflect.Type]object{
	reflect.TypeFor[Cursor]():      {"type": "string", "pattern": "^[0-9]+-[0-9]+$"},
	reflect.TypeFor[Stamp]():       {"type": "string", "format": "date-time"},
	reflect.TypeFor[OpState]():     {"type": "string", "enum": []OpState{OpUnknown, OpPending, OpIncluded, OpFinal, OpRejected, OpExpired}},
	reflect.TypeFor[Interval]():    {"type": "string", "enum": Intervals},
	reflect.TypeFor[Channel]():     {"type": "string", "enum": channels},
	reflect.TypeFor[Do]():          {"type": "string", "enum": []Do{DoSubscribe, DoUnsubscribe}},
	reflect.TypeFor[MessageType](): {"type": "string", "enum": []MessageType{MessageSnapshot, MessageUpdate, MessageAlive, MessageProblem}},
}

// of returns the schema of a value's type.
func (s *schemas) of(value any) object { return s.ofType(reflect.TypeOf(value)) }

func (s *schemas) ofType(t reflect.Type) object {
	if text, ok := texts[t]; ok {
		return text
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.ofType(t.Elem())
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return object{"type": "integer", "minimum": -numberMax, "maximum": numberMax}
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0, "maximum": numberMax}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": "array", "items": s.ofType(t.Elem())}
	case reflect.Struct:
		return s.ofStruct(t)
	}
	panic("api: invariant broken: no answer has a " + t.String())
}

// ofStruct returns a reference to the schema of a struct, and makes it once. It
// knows no fields but its own: what is not documented is not answered.
func (s *schemas) ofStruct(t reflect.Type) object {
	reference := object{"$ref": "#/components/schemas/" + t.Name()}
	if s.made[t.Name()] != nil {
		return reference
	}
	properties := make(object)
	schema := object{"type": "object", "properties": properties, "additionalProperties": false}
	s.made[t.Name()] = schema
	var required []string
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if options == "" {
			required = append(required, name)
		}
		properties[name] = s.ofField(field)
	}
	schema["required"] = required
	return reference
}

// ofField adds what a field's tags say to the schema of its type.
func (s *schemas) ofField(field reflect.StructField) object {
	schema := object{}
	for key, value := range s.ofType(field.Type) {
		schema[key] = value
	}
	if pattern, ok := formats[field.Tag.Get("is")]; ok {
		schema["pattern"] = pattern
	}
	if about := field.Tag.Get("doc"); about != "" {
		schema["description"] = about
	}
	return schema
}

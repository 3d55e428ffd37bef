package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// object is a JSON object of the document; encoding/json writes it with sorted
// keys, so the document does not differ from run to run.
type object = map[string]any

var pathParam = regexp.MustCompile(`\{([a-z_]+)\}`)

// document makes the OpenAPI 3.1 document of the table.
func (s *Server) document() ([]byte, error) {
	sc := schemas{made: object{}}
	paths := object{}
	for i := range s.routes {
		r := &s.routes[i]
		item, _ := paths[r.path].(object)
		if item == nil {
			item = object{}
			paths[r.path] = item
		}
		item[strings.ToLower(r.method)] = sc.operation(r)
	}
	sc.of(reflect.TypeFor[problem]())
	doc := object{
		"openapi": "3.1.0",
		"info": object{"title": "RobustMQ admin API", "version": "1",
			"description": "Administration of a RobustMQ gateway. Calls without security need no login. " +
				"From loopback, GET calls that do not concern accounts or rules need none either, while anonymous access is on."},
		"paths": paths,
		"components": object{
			"schemas":         sc.made,
			"securitySchemes": object{"basic": object{"type": "http", "scheme": "basic"}},
		},
	}
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode openapi document: %w", err)
	}
	return b, nil
}

func (sc *schemas) operation(r *route) object {
	op := object{"operationId": r.id, "summary": r.summary, "tags": []string{r.tag}}
	switch r.access {
	case administ:
		op["security"] = []object{{"basic": []string{}}}
	case look:
		op["security"] = []object{{"basic": []string{}}, {}}
	}
	var params []object
	for _, m := range pathParam.FindAllStringSubmatch(r.path, -1) {
		params = append(params, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, p := range r.query {
		typ := "string"
		if p.integer {
			typ = "integer"
		}
		params = append(params, object{"name": p.name, "in": "query", "description": p.doc, "schema": object{"type": typ}})
	}
	if params != nil {
		op["parameters"] = params
	}
	if r.in != nil {
		op["requestBody"] = object{"required": true, "content": jsonContent(sc.of(reflect.TypeOf(r.in)))}
	}
	status := r.status
	success := object{"description": "success"}
	if r.out != nil {
		success["content"] = jsonContent(sc.of(reflect.TypeOf(r.out)))
		if status == 0 {
			status = http.StatusOK
		}
	} else if status == 0 {
		status = http.StatusNoContent
	}
	op["responses"] = object{
		strconv.Itoa(status): success,
		"default":            object{"description": "anything else", "content": jsonContent(sc.of(reflect.TypeFor[problem]()))},
	}
	return op
}

func jsonContent(schema object) object {
	return object{"application/json": object{"schema": schema}}
}

// schemas makes JSON schemas of Go types, named ones once.
type schemas struct{ made object }

func (sc *schemas) of(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[json.RawMessage]():
		return object{"type": "object"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return sc.of(t.Elem())
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int32, reflect.Uint32:
		return object{"type": "integer", "format": "int32"}
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return object{"type": "integer", "format": "int64"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Slice:
		return object{"type": "array", "items": sc.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": sc.of(t.Elem())}
	case reflect.Struct:
		return sc.named(t)
	}
	panic("internal error: no schema for " + t.String())
}

func (sc *schemas) named(t reflect.Type) object {
	name := t.Name()
	if i := strings.IndexByte(name, '['); i >= 0 { // page[...admin.Topic]
		name = strings.TrimSuffix(name[strings.LastIndexByte(name, '.')+1:], "]") + "Page"
	}
	name = strings.ToUpper(name[:1]) + name[1:]
	ref := object{"$ref": "#/components/schemas/" + name}
	if sc.made[name] != nil {
		return ref
	}
	props := object{}
	sc.made[name] = props // ends recursion; replaced below
	var required []string
	for _, f := range reflect.VisibleFields(t) {
		key, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if key == "" || key == "-" {
			continue
		}
		schema := sc.of(f.Type)
		if doc := f.Tag.Get("doc"); doc != "" {
			schema["description"] = doc
		}
		props[key] = schema
		if !strings.Contains(opts, "omitempty") {
			required = append(required, key)
		}
	}
	made := object{"type": "object", "properties": props, "additionalProperties": false}
	if required != nil {
		made["required"] = required
	}
	sc.made[name] = made
	return ref
}

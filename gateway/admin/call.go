package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// access says who may call a route.
type access uint8

const (
	public   access = iota // whoever reaches the listener
	look                   // administrators; from loopback also others (see doc.go)
	asks                   // whoever logs in: the handler asks the rules for what it does
	administ               // administrators
)

// route is one call of the API.
type route struct {
	method, path string
	id           string // operationId of the document
	tag          string
	summary      string
	access       access
	query        []param
	in           any // a value of the request body's type; nil: no body
	out          any // a value of the answer's type; nil: 204
	status       int // of success; 0: 200, or 204 without out
	handle       func(*request) (any, error)
}

// param is a query parameter.
type param struct {
	name, doc string
	integer   bool
}

// request is a call under way.
type request struct {
	*http.Request
	s         *Server
	principal gateway.Principal
}

// admit tells who calls; ok is false for who may not, which is answered.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, need access) (p gateway.Principal, ok bool) {
	p, err := s.authorize(r, need)
	if err != nil {
		if errors.Is(err, errLogin) {
			w.Header().Set("WWW-Authenticate", `Basic realm="robustmq", charset="UTF-8"`)
		}
		s.fail(w, r, err)
	}
	return p, err == nil
}

func (s *Server) call(w http.ResponseWriter, r *http.Request, rt *route) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		s.fail(w, r, shard.Errorf(shard.KindUnavailable, "too many requests at once"))
		return
	}
	p, ok := s.admit(w, r, rt.access)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	out, err := rt.handle(&request{Request: r.WithContext(ctx), s: s, principal: p})
	if r.Method != http.MethodGet {
		s.log.Info("admin call", "operation", rt.id, "path", r.URL.Path, "user", p.Name, "remote", r.RemoteAddr, "error", err)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	status := rt.status
	if out == nil {
		if status == 0 {
			status = http.StatusNoContent
		}
		w.WriteHeader(status)
		return
	}
	if status == 0 {
		status = http.StatusOK
	}
	writeJSON(w, status, out)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, `{"error":{"kind":"internal","message":"encode answer"}}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

// body decodes the one JSON value of a request. Unknown fields are errors.
func body[T any](r *request) (v T, err error) {
	if mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mt != "application/json" {
		return v, shard.Errorf(shard.KindInvalid, "content-type has to be application/json")
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			return v, shard.Errorf(shard.KindTooLarge, "body is over %d bytes", big.Limit)
		}
		return v, shard.Errorf(shard.KindInvalid, "decode body: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return v, shard.Errorf(shard.KindInvalid, "body holds more than one value")
	}
	return v, nil
}

// page is a part of a list.
type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty" doc:"pass it as after to get the next page; absent on the last one"`
}

const (
	defaultPage = 100
	maxPage     = 1000
)

var paging = []param{
	{name: "limit", doc: "items in the answer, 1 to 1000; default 100", integer: true},
	{name: "after", doc: "the page after this item: next of the answer before"},
}

func withPaging(ps ...param) []param { return append(slices.Clone(ps), paging...) }

func (r *request) limit() (int, error) {
	v := r.URL.Query().Get("limit")
	if v == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > maxPage {
		return 0, shard.Errorf(shard.KindInvalid, "limit %q is not a number from 1 to %d", v, maxPage)
	}
	return n, nil
}

// paginate cuts the page that was asked for out of a list that is in order of key,
// and converts its items only.
func paginate[F, T any](r *request, all []F, key func(F) string, conv func(F) T) (page[T], error) {
	limit, err := r.limit()
	if err != nil {
		return page[T]{}, err
	}
	from := 0
	if after := r.URL.Query().Get("after"); after != "" {
		i, found := slices.BinarySearchFunc(all, after, func(f F, a string) int { return strings.Compare(key(f), a) })
		if from = i; found {
			from++
		}
	}
	to := min(from+limit, len(all))
	p := page[T]{Items: make([]T, 0, to-from)}
	for _, f := range all[from:to] {
		p.Items = append(p.Items, conv(f))
	}
	if to < len(all) {
		p.Next = key(all[to-1])
	}
	return p, nil
}

func same[T any](v T) T { return v }

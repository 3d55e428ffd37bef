package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// problem is the body of every answer that is not a success.
type problem struct {
	Error problemBody `json:"error"`
}

type problemBody struct {
	Kind    string `json:"kind" doc:"what to do about it, as package shard's kinds: invalid, not found, exists, denied, too large, stale, moved, unavailable, ..."`
	Message string `json:"message"`
}

// errLogin asks for (other) credentials: 401 instead of 403.
var errLogin = shard.Errorf(shard.KindDenied, "log in as an administrator: HTTP basic authentication")

var statusOf = map[shard.Kind]int{
	shard.KindInternal:    http.StatusInternalServerError,
	shard.KindInvalid:     http.StatusBadRequest,
	shard.KindNotFound:    http.StatusNotFound,
	shard.KindExists:      http.StatusConflict,
	shard.KindDenied:      http.StatusForbidden,
	shard.KindTooLarge:    http.StatusRequestEntityTooLarge,
	shard.KindOutOfRange:  http.StatusBadRequest,
	shard.KindStale:       http.StatusConflict,
	shard.KindMoved:       http.StatusMisdirectedRequest,
	shard.KindUnavailable: http.StatusServiceUnavailable,
	shard.KindCorrupt:     http.StatusInternalServerError,
	shard.KindClosed:      http.StatusServiceUnavailable,
}

// fail answers with an error. What is our own fault is logged, not shown.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	kind := shard.KindOf(err)
	status := statusOf[kind]
	msg := err.Error()
	switch {
	case errors.Is(err, gateway.ErrTooManyFailures):
		status = http.StatusTooManyRequests
		w.Header().Set("Retry-After", "10")
	case errors.Is(err, errLogin):
		status = http.StatusUnauthorized
	case errors.Is(err, context.DeadlineExceeded):
		kind, status = shard.KindUnavailable, http.StatusGatewayTimeout
	case kind == shard.KindInternal:
		s.log.Error("admin call failed", "method", r.Method, "path", r.URL.Path, "error", err)
		msg = "internal error; the log says more"
	}
	writeJSON(w, status, problem{problemBody{Kind: kind.String(), Message: msg}})
}

package admin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/robustmq/robustmq-go/shard"
)

// health is what the gateway says of itself, "" when all is well.
type health struct {
	// down is why it does not serve.
	down string
	// degraded is what needs looking after although it serves.
	degraded string
}

func (s *Server) health() health {
	down, degraded := s.env.Engine.Health()
	if s.draining.Load() {
		down = errors.Join(shard.Errorf(shard.KindClosed, "draining: clients are told to go elsewhere"), down)
	}
	return health{oneLine(down), oneLine(degraded)}
}

// oneLine gives the text of joined errors without line breaks.
func oneLine(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// String is the body of both health checks: "ok", or a line for each of "not
// serving" and "degraded" with the reasons.
func (h health) String() string {
	var lines []string
	if h.down != "" {
		lines = append(lines, "not serving: "+h.down)
	}
	if h.degraded != "" {
		lines = append(lines, "degraded: "+h.degraded)
	}
	if lines == nil {
		return "ok"
	}
	return strings.Join(lines, "\n")
}

// healthz is 200 while the process can answer, whatever the body says: none of
// what it may say is cured by killing the process.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(w, s.health())
}

// readyz is 503 only while the gateway does not serve: what writes into its
// write-ahead log although the object store is away is ready.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	h := s.health()
	if h.down != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = fmt.Fprintln(w, h)
}

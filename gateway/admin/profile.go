package admin

import (
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// maxProfile bounds how long a profile may watch.
const maxProfile = 2 * time.Minute

// profiles serves Go's profiles to administrators, in the form that `go tool pprof` reads: profile (of the CPU),
// allocs, heap, goroutine, mutex, block. They tell what the process does, not what is in its messages, and
// cost little; a CPU profile watches as long as ?seconds= says, 30 unless told, and there is one at a time.
func (s *Server) profiles(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if _, ok := s.admit(w, r, administ); !ok {
		return
	}
	if v := r.URL.Query().Get("seconds"); v != "" {
		if n, err := strconv.Atoi(v); err != nil || n < 1 || n > int(maxProfile/time.Second) {
			s.fail(w, r, shard.Errorf(shard.KindInvalid, "seconds %q: want 1 to %d", v, int(maxProfile/time.Second)))
			return
		}
	}
	s.log.Info("profile", "name", name, "remote", r.RemoteAddr)
	switch name {
	case "profile":
		pprof.Profile(w, r)
	case "allocs", "heap", "goroutine", "mutex", "block":
		pprof.Handler(name).ServeHTTP(w, r)
	default:
		s.fail(w, r, shard.Errorf(shard.KindNotFound, "no profile %q: there are profile, allocs, heap, goroutine, mutex and block", name))
	}
}

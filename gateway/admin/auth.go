package admin

import (
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// authorize finds out who calls and whether they may.
func (s *Server) authorize(r *http.Request, need access) (gateway.Principal, error) {
	anonymous := gateway.Principal{Name: "anonymous", Anonymous: true}
	if need == public {
		return anonymous, nil
	}
	remote := gateway.RequestAddr(r)
	p := anonymous
	if user, password, ok := r.BasicAuth(); ok {
		var err error
		if p, err = s.env.Auth.Password(r.Context(), remote, user, password); err != nil {
			s.authFail.Add(1)
			if errors.Is(err, gateway.ErrBadCredentials) {
				return p, &shard.Error{Kind: shard.KindDenied, Msg: "user name or password is wrong", Err: errLogin}
			}
			return p, err
		}
	} else if r.Header.Get("Authorization") != "" {
		return p, errLogin
	}
	if s.administrator(p, remote) {
		return p, nil
	}
	if need == look && s.mayLook(remote) || need == asks && !p.Anonymous {
		return p, nil
	}
	if p.Anonymous {
		return p, errLogin
	}
	return p, shard.Errorf(shard.KindDenied, "user %q is no administrator: it takes a superuser, or a rule that allows admin on cluster", p.Name)
}

// administrator is gateway.Auth's, for all protocols alike.
func (s *Server) administrator(p gateway.Principal, remote net.Addr) bool {
	return s.env.Auth.Administrator(p, remote)
}

// mayManageTopic asks what Kafka asks too.
func (r *request) mayManageTopic(op shard.Operation, name string) error {
	if r.s.env.Auth.MayManageTopic(r.principal, gateway.RequestAddr(r.Request), op, name) {
		return nil
	}
	return r.refused("%s topic %q", op, name)
}

func (r *request) mayCapture(old []string, t *shard.Topic) error {
	if r.s.env.Auth.MayCapture(r.principal, gateway.RequestAddr(r.Request), gateway.NewCaptures(old, t)) {
		return nil
	}
	return r.refused("publish and subscribe to all that captures name")
}

func (r *request) maySeeAccounts() error {
	if r.s.env.Auth.MaySeeAccounts(r.principal, gateway.RequestAddr(r.Request)) {
		return nil
	}
	return r.refused("look at accounts and rules")
}

func (r *request) refused(format string, args ...any) error {
	return shard.Errorf(shard.KindDenied, "user %q may not %s", r.principal.Name, fmt.Sprintf(format, args...))
}

// mayLook tells whether a request comes from this machine and nowhere else: not
// through a proxy, and not from a page that a browser was led to believe is ours.
func (s *Server) mayLook(remote net.Addr) bool {
	if !gateway.Loopback(remote) {
		return false
	}
	_, err := s.env.Auth.Anonymous(remote)
	return err == nil
}

// monitored guards what is shown without a log-in; an account's is good too.
func (s *Server) monitored(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.env.Auth.CheckMonitor(r); err != nil && r.Header.Get("Authorization") == "" {
			s.fail(w, r, err)
			return
		} else if err != nil {
			if _, ok := s.admit(w, r, asks); !ok {
				return
			}
		}
		h.ServeHTTP(w, r)
	})
}

package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"

	"github.com/robustmq/robustmq-go/shard"
)

// A browser on this machine makes requests for whatever page it shows, and a proxy
// on this machine for whoever reaches it. Neither is local, though the connection
// comes from loopback.

// RequestAddr is the address of who makes a request. From loopback it counts as
// local only if the request names this machine as such, and no proxy sent it.
func RequestAddr(r *http.Request) net.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return nil
	}
	a := net.TCPAddrFromAddrPort(ap)
	if a.IP.IsLoopback() && (proxied(r.Header) || !loopbackHost(r.Host)) {
		return foreignAddr{a}
	}
	return a
}

// proxyMarks are the headers by which proxies tell whom they speak for, besides
// those that begin with X-Forwarded-.
var proxyMarks = [...]string{"Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip"}

func proxied(h http.Header) bool {
	for _, name := range proxyMarks {
		if _, ok := h[name]; ok {
			return true
		}
	}
	for name := range h {
		if strings.HasPrefix(name, "X-Forwarded") {
			return true
		}
	}
	return false
}

// loopbackHost tells whether a Host header names this machine as only itself can: a
// page that was led here by its own name (DNS rebinding) cannot.
func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	if n := len(host); n > 1 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// CheckOrigin refuses what a browser asks for in the name of another site: its page
// is neither of the host that is asked nor among the configured ones. What is no
// browser sends no Origin.
func (a *Auth) CheckOrigin(r *http.Request) error {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" { // "null" too
		return shard.Errorf(shard.KindDenied, "origin %.100q is not allowed", origin)
	}
	if strings.EqualFold(u.Host, r.Host) {
		return nil
	}
	if a != nil {
		for _, p := range a.cfg.Origins {
			site := u.Host
			if strings.Contains(p, "://") {
				site = u.Scheme + "://" + u.Host
			}
			if ok, err := path.Match(strings.ToLower(p), strings.ToLower(site)); err == nil && ok {
				return nil
			}
		}
	}
	return shard.Errorf(shard.KindDenied, "origin %.100q is not allowed: security.allowed_origins lists those that are", origin)
}

// CheckMonitor is for what is shown without a log-in: from this machine, or from
// elsewhere to who listens there on purpose.
func (a *Auth) CheckMonitor(r *http.Request) error {
	if err := a.CheckOrigin(r); err != nil {
		return err
	}
	if foreign(RequestAddr(r)) && (a == nil || !a.cfg.AnonymousRemotely) {
		return shard.Errorf(shard.KindDenied, "a proxy's request, or one by another name of this machine, is not local: security.allow_anonymous_remotely lets it in")
	}
	return nil
}

// CheckOriginPattern refuses an entry of the configured origins that is none.
func CheckOriginPattern(p string) error {
	if _, err := path.Match(p, ""); err != nil || p == "" {
		return shard.Errorf(shard.KindInvalid, "origin %q is not of the form https://host, https://*.host:port or host", p)
	}
	return nil
}

// monitored guards a handler by CheckMonitor.
func (l *Listener) monitored(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := l.Auth.CheckMonitor(r); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

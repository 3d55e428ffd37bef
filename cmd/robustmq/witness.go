package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/engine"
	"github.com/robustmq/robustmq-go/tier"
)

// witnesses are the clocks of other machines that this one can be compared with:
// the object store's and etcd's, by the Date of their answers. A server on this
// machine is none: its clock is the one in question.
func (s *storage) witnesses(c *Config) []engine.Witness {
	var ws []engine.Witness
	if elsewhere(c.Store.Endpoint) || c.Store.Kind == "s3" && c.Store.Endpoint == "" {
		ws = append(ws, engine.Witness{Name: "the object store", Time: s.storeTime})
	}
	for _, e := range c.Etcd.Endpoints {
		if elsewhere(e) {
			ws = append(ws, engine.Witness{Name: "etcd at " + e, Time: c.etcdTime(e)})
		}
	}
	return ws
}

// elsewhere tells whether an address is another machine's.
func elsewhere(address string) bool {
	host := address
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		host = u.Host
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host != "" && host != "localhost" && (ip == nil || !ip.IsLoopback() && !ip.IsUnspecified())
}

// storeTime asks the object store for something, whatever it answers.
func (s *storage) storeTime(ctx context.Context) (time.Time, bool) {
	begun := time.Now()
	_, _ = s.bare.Head(ctx, tier.MarkerPrefix+"time") // the answer's date is what counts
	said, at := s.clock.Said()
	return said, !at.Before(begun) && !said.IsZero()
}

// etcdTime asks an etcd member for its version, which needs no rights.
func (c *Config) etcdTime(endpoint string) func(context.Context) (time.Time, bool) {
	at := endpoint
	if !strings.Contains(at, "://") {
		at = "http://" + at
		if c.etcdTLS != nil {
			at = "https://" + endpoint
		}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.etcdTLS.Clone(), DisableKeepAlives: true}}
	return func(ctx context.Context) (t time.Time, ok bool) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(at, "/")+"/version", nil)
		if err != nil {
			return t, false
		}
		resp, err := client.Do(req)
		if err != nil {
			return t, false
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4096))
		t, err = http.ParseTime(resp.Header.Get("Date"))
		return t, err == nil
	}
}

package nats

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// monitorKey is the configuration key of the monitoring listener.
const monitorKey = "monitor_listen"

// endpoints of monitoring, by the paths that nats-server documents.
var endpoints = [...]string{"/", "/varz", "/connz", "/subsz", "/healthz"}

// maxMonitored bounds the connections or subscriptions in one answer.
const maxMonitored = 10_000

// Monitor gives the monitoring endpoints: /varz, /connz, /subsz (also
// /subscriptionsz) and /healthz, with the JSON fields that nats-server documents
// as far as there is something to say. It has no authentication.
func (s *Server) Monitor() http.Handler {
	mux := http.NewServeMux()
	handle := func(i int, path string, answer func(q url.Values) (any, error)) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			s.http[i].Add(1)
			v, err := answer(r.URL.Query())
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			if h, ok := v.(healthz); ok {
				w.WriteHeader(h.code)
			}
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			_ = e.Encode(v)
		})
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		s.http[0].Add(1)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		for _, p := range endpoints[1:] {
			_, _ = fmt.Fprintf(w, "<a href=\"%s\">%s</a><br>\n", p, p[1:])
		}
	})
	handle(1, "/varz", func(url.Values) (any, error) { return s.varz(time.Now()), nil })
	handle(2, "/connz", func(q url.Values) (any, error) { return s.connz(time.Now(), q) })
	handle(3, "/subsz", func(q url.Values) (any, error) { return s.subsz(time.Now(), q) })
	handle(3, "/subscriptionsz", func(q url.Values) (any, error) { return s.subsz(time.Now(), q) })
	handle(4, "/healthz", func(url.Values) (any, error) { return s.healthz(), nil })
	return mux
}

type healthz struct {
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`
	code   int
}

func (s *Server) healthz() healthz {
	if s.draining() {
		return healthz{Status: "unavailable", Error: "lame duck mode", code: http.StatusServiceUnavailable}
	}
	return healthz{Status: "ok", code: http.StatusOK}
}

type varz struct {
	ServerID       string           `json:"server_id"`
	ServerName     string           `json:"server_name"`
	Version        string           `json:"version"`
	Proto          int              `json:"proto"`
	Go             string           `json:"go"`
	Host           string           `json:"host"`
	Port           int              `json:"port"`
	ConnectURLs    []string         `json:"connect_urls,omitempty"`
	MaxConnections int              `json:"max_connections"`
	MaxSubs        int              `json:"max_subscriptions,omitempty"`
	PingInterval   time.Duration    `json:"ping_interval"`
	PingMax        int              `json:"ping_max"`
	AuthTimeout    float64          `json:"auth_timeout"`
	MaxControlLine int              `json:"max_control_line"`
	MaxPayload     int              `json:"max_payload"`
	MaxPending     int              `json:"max_pending"`
	TLSTimeout     float64          `json:"tls_timeout"`
	WriteDeadline  time.Duration    `json:"write_deadline"`
	Start          time.Time        `json:"start"`
	Now            time.Time        `json:"now"`
	Uptime         string           `json:"uptime"`
	Mem            uint64           `json:"mem"`
	Cores          int              `json:"cores"`
	MaxProcs       int              `json:"gomaxprocs"`
	CPU            float64          `json:"cpu"`
	Connections    int64            `json:"connections"`
	Total          int64            `json:"total_connections"`
	InMsgs         int64            `json:"in_msgs"`
	OutMsgs        int64            `json:"out_msgs"`
	InBytes        int64            `json:"in_bytes"`
	OutBytes       int64            `json:"out_bytes"`
	SlowConsumers  int64            `json:"slow_consumers"`
	Stale          int64            `json:"stale_connections"`
	Subscriptions  int64            `json:"subscriptions"`
	HTTPReqStats   map[string]int64 `json:"http_req_stats"`
}

func (s *Server) varz(now time.Time) varz {
	self := s.env.Broker.Cluster.Self()
	host, port := hostPort(self.Addresses["nats"])
	st := s.env.Stats
	v := varz{ServerID: s.id, ServerName: self.Name, Version: protocolVersion, Proto: 1, Go: runtime.Version(), Host: host, Port: port,
		ConnectURLs:    others(self, s.env.Broker.Cluster.Nodes(), "nats"),
		MaxConnections: s.env.Limits.MaxConnections, MaxSubs: s.env.Limits.MaxSubscriptions,
		PingInterval: s.cfg.PingInterval, PingMax: s.cfg.PingMax, AuthTimeout: s.cfg.AuthTimeout.Seconds(),
		MaxControlLine: s.cfg.MaxControlLine, MaxPayload: s.cfg.MaxPayload, MaxPending: s.env.Limits.MaxOutboundBytes,
		TLSTimeout: s.cfg.AuthTimeout.Seconds(), WriteDeadline: s.cfg.WriteDeadline,
		Start: s.start, Now: now, Uptime: uptime(now.Sub(s.start)), Cores: runtime.NumCPU(), MaxProcs: runtime.GOMAXPROCS(0),
		Connections: int64(len(s.list())), Total: s.total.Load(),
		InMsgs: st.MessagesIn.Load(), OutMsgs: st.MessagesOut.Load(), InBytes: st.BytesIn.Load(), OutBytes: st.BytesOut.Load(),
		SlowConsumers: st.SlowConsumers.Load(), Stale: s.stale.Load(), Subscriptions: st.Subscriptions.Load(),
		HTTPReqStats: make(map[string]int64)}
	for i, p := range endpoints {
		v.HTTPReqStats[p] = s.http[i].Load()
	}
	v.Mem, v.CPU = usage(now.Sub(s.start))
	return v
}

// usage gives the process's memory in bytes and its mean CPU use since the start
// in percent of one core, as the runtime knows them.
func usage(since time.Duration) (mem uint64, cpu float64) {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/cpu/classes/total:cpu-seconds"}, {Name: "/cpu/classes/idle:cpu-seconds"}}
	metrics.Read(samples)
	busy := samples[2].Value.Float64() - samples[3].Value.Float64()
	return samples[0].Value.Uint64() - samples[1].Value.Uint64(), 100 * busy / max(since.Seconds(), 0.001)
}

// uptime is a duration in nats-server's form: "1d2h3m4s".
func uptime(d time.Duration) string {
	secs := int64(d.Seconds())
	days, hours, minutes := secs/86400, secs/3600%24, secs/60%60
	switch {
	case days > 0:
		return fmt.Sprintf("%dd%dh%dm%ds", days, hours, minutes, secs%60)
	case hours > 0:
		return fmt.Sprintf("%dh%dm%ds", hours, minutes, secs%60)
	case minutes > 0:
		return fmt.Sprintf("%dm%ds", minutes, secs%60)
	}
	return fmt.Sprintf("%ds", secs)
}

// page is the part of a list that a request asks for.
type page struct{ offset, limit int }

func pageOf(q url.Values) (page, error) {
	p := page{limit: 1024}
	for name, dst := range map[string]*int{"offset": &p.offset, "limit": &p.limit} {
		v := q.Get(name)
		if v == "" {
			continue
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return p, fmt.Errorf("error decoding %s for url=%q", name, v)
		}
		*dst = n
	}
	p.limit = min(p.limit, maxMonitored)
	return p, nil
}

func cut[T any](p page, list []T) []T {
	from := min(p.offset, len(list))
	return list[from:min(from+p.limit, len(list))]
}

type connz struct {
	ServerID string     `json:"server_id"`
	Now      time.Time  `json:"now"`
	NumConns int        `json:"num_connections"`
	Total    int        `json:"total"`
	Offset   int        `json:"offset"`
	Limit    int        `json:"limit"`
	Conns    []connInfo `json:"connections"`
}

type connInfo struct {
	Cid          uint64      `json:"cid"`
	Kind         string      `json:"kind"`
	Type         string      `json:"type"`
	IP           string      `json:"ip"`
	Port         int         `json:"port"`
	Start        time.Time   `json:"start"`
	LastActivity time.Time   `json:"last_activity"`
	RTT          string      `json:"rtt,omitempty"`
	Uptime       string      `json:"uptime"`
	Idle         string      `json:"idle"`
	Pending      int         `json:"pending_bytes"`
	InMsgs       int64       `json:"in_msgs"`
	OutMsgs      int64       `json:"out_msgs"`
	InBytes      int64       `json:"in_bytes"`
	OutBytes     int64       `json:"out_bytes"`
	Stalls       int64       `json:"stalls,omitempty"`
	NumSubs      int         `json:"subscriptions"`
	Name         string      `json:"name,omitempty"`
	Lang         string      `json:"lang,omitempty"`
	Version      string      `json:"version,omitempty"`
	TLSVersion   string      `json:"tls_version,omitempty"`
	TLSCipher    string      `json:"tls_cipher_suite,omitempty"`
	TLSFirst     bool        `json:"tls_first,omitempty"`
	User         string      `json:"authorized_user,omitempty"`
	Subs         []string    `json:"subscriptions_list,omitempty"`
	SubsDetail   []subDetail `json:"subscriptions_list_detail,omitempty"`
}

func (s *Server) connz(now time.Time, q url.Values) (any, error) {
	p, err := pageOf(q)
	if err != nil {
		return nil, err
	}
	order, err := connOrder(q.Get("sort"))
	if err != nil {
		return nil, err
	}
	cid := uint64(0)
	if v := q.Get("cid"); v != "" {
		if cid, err = strconv.ParseUint(v, 10, 64); err != nil {
			return nil, fmt.Errorf("error decoding cid for url=%q", v)
		}
	}
	var all []connInfo
	for _, c := range s.list() {
		i := c.monitor(now)
		if cid != 0 && i.Cid != cid || q.Get("user") != "" && i.User != q.Get("user") {
			continue
		}
		if q.Get("auth") != "1" && q.Get("auth") != "true" {
			i.User = ""
		}
		all = append(all, i)
	}
	slices.SortFunc(all, order)
	z := connz{ServerID: s.id, Now: now, Total: len(all), Offset: p.offset, Limit: p.limit, Conns: cut(p, all)}
	z.NumConns = len(z.Conns)
	if subs := q.Get("subs"); subs != "" && subs != "0" && subs != "false" {
		s.addSubs(z.Conns, subs == "detail")
	}
	if z.Conns == nil {
		z.Conns = []connInfo{}
	}
	return z, nil
}

// addSubs fills in the subscriptions of connections that are still open.
func (s *Server) addSubs(list []connInfo, detail bool) {
	for i := range list {
		s.mu.RLock()
		c := s.mu.conns[shard.Origin(list[i].Cid)]
		s.mu.RUnlock()
		if c == nil {
			continue
		}
		for _, d := range c.details() {
			if detail {
				list[i].SubsDetail = append(list[i].SubsDetail, d)
			} else {
				list[i].Subs = append(list[i].Subs, d.Subject)
			}
		}
	}
}

// connOrder gives an order by nats-server's names; all but cid fall.
func connOrder(by string) (func(a, b connInfo) int, error) {
	falling := func(key func(*connInfo) int64) func(a, b connInfo) int {
		return func(a, b connInfo) int {
			return cmp.Or(cmp.Compare(key(&b), key(&a)), cmp.Compare(a.Cid, b.Cid))
		}
	}
	switch by {
	case "", "cid", "start":
		return func(a, b connInfo) int { return cmp.Compare(a.Cid, b.Cid) }, nil
	case "subs":
		return falling(func(c *connInfo) int64 { return int64(c.NumSubs) }), nil
	case "pending":
		return falling(func(c *connInfo) int64 { return int64(c.Pending) }), nil
	case "msgs_to":
		return falling(func(c *connInfo) int64 { return c.OutMsgs }), nil
	case "msgs_from":
		return falling(func(c *connInfo) int64 { return c.InMsgs }), nil
	case "bytes_to":
		return falling(func(c *connInfo) int64 { return c.OutBytes }), nil
	case "bytes_from":
		return falling(func(c *connInfo) int64 { return c.InBytes }), nil
	case "last", "idle":
		return falling(func(c *connInfo) int64 { return c.LastActivity.UnixNano() }), nil
	case "uptime":
		return falling(func(c *connInfo) int64 { return -c.Start.UnixNano() }), nil
	}
	return nil, fmt.Errorf("invalid sorting option: %s", by)
}

func (c *conn) monitor(now time.Time) connInfo {
	o, info := c.shown.Load(), c.nc.Info()
	ip, port := hostPort(info.Remote)
	last := time.Unix(0, c.stats.lastRead.Load())
	if c.stats.lastRead.Load() == 0 {
		last = c.nc.Since
	}
	i := connInfo{Cid: uint64(c.nc.Origin), Kind: "Client", Type: "nats", IP: ip, Port: port, Start: c.nc.Since, LastActivity: last,
		Uptime: uptime(now.Sub(c.nc.Since)), Idle: uptime(now.Sub(last)), Pending: c.out.queued(),
		InMsgs: c.stats.msgsIn.Load(), OutMsgs: c.stats.msgsOut.Load(), InBytes: c.stats.bytesIn.Load(), OutBytes: c.stats.bytesOut.Load(),
		Stalls: c.stats.stalls.Load(), NumSubs: c.subCount(), Name: o.Name, Lang: o.Lang, Version: o.Version, User: info.User, TLSFirst: c.tlsFirst}
	if c.nc.WebSocket {
		i.Type = "websocket"
	}
	if rtt := c.stats.rtt.Load(); rtt > 0 {
		i.RTT = time.Duration(rtt).String()
	}
	if t := c.nc.TLS; t != nil {
		i.TLSVersion, i.TLSCipher = strings.TrimPrefix(tls.VersionName(t.Version), "TLS "), tls.CipherSuiteName(t.CipherSuite)
	}
	return i
}

func (c *conn) subCount() int {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return len(c.subs.byID)
}

type subDetail struct {
	Subject string `json:"subject"`
	Queue   string `json:"qgroup,omitempty"`
	Sid     string `json:"sid"`
	Msgs    int64  `json:"msgs"`
	Max     int64  `json:"max,omitempty"`
	Cid     uint64 `json:"cid"`
}

// details gives a connection's subscriptions in the order they were made.
func (c *conn) details() []subDetail {
	c.out.mu.Lock()
	ids := make([]shard.SubID, 0, len(c.subs.byID))
	for id := range c.subs.byID {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	list := make([]subDetail, len(ids))
	for i, id := range ids {
		s := c.subs.byID[id]
		list[i] = subDetail{Subject: s.subject, Queue: s.queue, Sid: s.sid, Msgs: s.delivered, Max: s.max, Cid: uint64(c.nc.Origin)}
	}
	c.out.mu.Unlock()
	return list
}

type subsz struct {
	ServerID string      `json:"server_id"`
	Now      time.Time   `json:"now"`
	NumSubs  int64       `json:"num_subscriptions"`
	Inserts  int64       `json:"num_inserts"`
	Removes  int64       `json:"num_removes"`
	Total    int         `json:"total"`
	Offset   int         `json:"offset"`
	Limit    int         `json:"limit"`
	Subs     []subDetail `json:"subscriptions_list,omitempty"`
}

func (s *Server) subsz(now time.Time, q url.Values) (any, error) {
	p, err := pageOf(q)
	if err != nil {
		return nil, err
	}
	z := subsz{ServerID: s.id, Now: now, NumSubs: s.env.Stats.Subscriptions.Load(), Inserts: s.inserts.Load(), Removes: s.removes.Load(),
		Offset: p.offset, Limit: p.limit}
	test := q.Get("test")
	if test != "" {
		if valid, literal := validSubject(test); !valid || !literal {
			return nil, fmt.Errorf("invalid test subject, must be literal: %s", test)
		}
	}
	if subs := q.Get("subs"); test == "" && (subs == "" || subs == "0" || subs == "false") {
		return z, nil
	}
	var all []subDetail
	for _, c := range s.list() {
		for _, d := range c.details() {
			if f, err := shard.ParseSubjectFilter(d.Subject); test == "" || err == nil && f.Match(test) {
				all = append(all, d)
			}
		}
	}
	slices.SortFunc(all, func(a, b subDetail) int { return cmp.Or(cmp.Compare(a.Cid, b.Cid), cmp.Compare(a.Sid, b.Sid)) })
	z.Total, z.Subs = len(all), cut(p, all)
	return z, nil
}

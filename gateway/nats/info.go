package nats

import (
	"encoding/json"
	"net"
	"runtime"
	"slices"
	"strconv"

	"github.com/robustmq/robustmq-go/shard"
)

// protocolVersion is what clients compare to know a server's features.
const protocolVersion = "2.10.0"

// info is the INFO message (NATS client protocol).
type info struct {
	ServerID     string   `json:"server_id"`
	ServerName   string   `json:"server_name"`
	Version      string   `json:"version"`
	Proto        int      `json:"proto"`
	Go           string   `json:"go"`
	Host         string   `json:"host"`
	Port         int      `json:"port"`
	Headers      bool     `json:"headers"`
	AuthRequired bool     `json:"auth_required,omitempty"`
	TLSRequired  bool     `json:"tls_required,omitempty"`
	TLSVerify    bool     `json:"tls_verify,omitempty"`
	TLSAvailable bool     `json:"tls_available,omitempty"`
	MaxPayload   int      `json:"max_payload"`
	ClientID     uint64   `json:"client_id"`
	ClientIP     string   `json:"client_ip,omitempty"`
	Nonce        string   `json:"nonce,omitempty"`
	ConnectURLs  []string `json:"connect_urls,omitempty"`
	LameDuckMode bool     `json:"ldm,omitempty"`
}

func (s *Server) info(c *conn) info {
	self := s.env.Broker.Cluster.Self()
	host, port := hostPort(self.Addresses["nats"])
	ip, _ := hostPort(c.nc.RemoteAddr().String())
	_, anonymous := s.env.Auth.Anonymous(c.nc.RemoteAddr())
	i := info{ServerID: s.id, ServerName: self.Name, Version: protocolVersion, Proto: 1, Go: runtime.Version(), Host: host, Port: port,
		Headers: true, MaxPayload: s.cfg.MaxPayload, AuthRequired: anonymous != nil, ClientID: uint64(c.nc.Origin),
		ClientIP: ip, Nonce: c.nonce, LameDuckMode: s.draining()}
	if c.nc.TLSOffered() || c.nc.TLS != nil && !c.nc.WebSocket {
		i.TLSRequired, i.TLSAvailable, i.TLSVerify = !s.cfg.AllowNonTLS, s.cfg.AllowNonTLS, c.nc.TLSVerify()
	}
	i.ConnectURLs = others(self, s.env.Broker.Cluster.Nodes(), "nats")
	return i
}

// others are the addresses of the other gateways for a protocol.
func others(self shard.Node, nodes []shard.Node, protocol string) (urls []string) {
	for _, node := range nodes {
		if a := node.Addresses[protocol]; a != "" && node.ID != self.ID {
			urls = append(urls, a)
		}
	}
	slices.Sort(urls)
	return urls
}

func hostPort(addr string) (host string, port int) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return addr, 0
	}
	port, _ = strconv.Atoi(p)
	return host, port
}

func encodeInfo(i info) []byte {
	b, err := json.Marshal(i)
	if err != nil { // a struct of plain fields
		panic("internal error: encode INFO: " + err.Error())
	}
	return append(append([]byte("INFO "), b...), "\r\n"...)
}

// lameDuck tells the client that the server is about to go.
func (c *conn) lameDuck() {
	i := c.s.info(c)
	i.LameDuckMode = true
	c.out.send(string(encodeInfo(i)))
}

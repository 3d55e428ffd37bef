package admin

import (
	"github.com/robustmq/robustmq-go/shard"
)

// Cluster says who is there.
type Cluster struct {
	ID      string `json:"id"`
	Version string `json:"version"`
	Self    string `json:"self" doc:"name of the gateway that answers"`
	Ready   bool   `json:"ready"`
	// Problem and Degraded are as /readyz has them.
	Problem  string `json:"problem,omitempty" doc:"why it is not ready"`
	Degraded string `json:"degraded,omitempty" doc:"what needs looking after while it serves"`
	Nodes    []Node `json:"nodes"`
}

// Node is one gateway.
type Node struct {
	ID        int32             `json:"id"`
	Name      string            `json:"name"`
	Zone      string            `json:"zone,omitempty"`
	Addresses map[string]string `json:"addresses" doc:"by protocol"`
}

func (s *Server) getCluster(*request) (any, error) {
	c := s.env.Broker.Cluster
	v := Cluster{ID: c.ID(), Version: s.env.Version, Self: c.Self().Name, Nodes: []Node{}}
	h := s.health()
	v.Ready, v.Problem, v.Degraded = h.down == "", h.down, h.degraded
	for _, n := range c.Nodes() {
		v.Nodes = append(v.Nodes, Node{ID: n.ID, Name: n.Name, Zone: n.Zone, Addresses: n.Addresses})
	}
	return v, nil
}

func (s *Server) flush(r *request) (any, error) {
	if err := s.env.Engine.Flush(r.Context()); err != nil {
		return nil, shard.Errorf(shard.KindUnavailable, "flush: %w", err)
	}
	return nil, nil
}

func (s *Server) trustClock(r *request) (any, error) {
	return nil, s.env.Engine.TrustClock(r.Context())
}

func (s *Server) drain(r *request) (any, error) {
	s.SetDraining()
	if s.env.Drain != nil {
		s.env.Drain(r.Context())
	}
	return nil, nil
}

// openAPI is answered with the document as it was made at the start.
func (s *Server) openAPI(*request) (any, error) { return rawJSON(s.spec), nil }

type rawJSON []byte

// MarshalJSON implements json.Marshaler.
func (b rawJSON) MarshalJSON() ([]byte, error) { return b, nil }

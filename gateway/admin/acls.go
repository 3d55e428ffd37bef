package admin

import (
	"cmp"
	"slices"
	"strings"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// ACL is one access rule.
type ACL struct {
	Principal string `json:"principal" doc:"user name, or * for all"`
	Resource  string `json:"resource" doc:"subject, group, cluster or *"`
	Filter    string `json:"filter" doc:"subject filter, name, or prefix ending in *"`
	Operation string `json:"operation" doc:"publish, subscribe, create, delete, alter, describe, admin or all"`
	Deny      bool   `json:"deny,omitempty" doc:"a rule that denies wins"`
	Host      string `json:"host,omitempty" doc:"remote address; empty or *: all"`
}

// ACLs is the body that puts or deletes rules.
type ACLs struct {
	Rules []ACL `json:"rules" doc:"1 to 100"`
}

const maxRules = 100

var (
	operations = []shard.Operation{shard.OpPublish, shard.OpSubscribe, shard.OpCreate, shard.OpDelete,
		shard.OpAlter, shard.OpDescribe, shard.OpAdmin, shard.OpAll}
	resources = []string{gateway.ResourceSubject, gateway.ResourceGroup, gateway.ResourceCluster, "*"}
)

func viewACL(a shard.ACL) ACL {
	return ACL{Principal: a.Principal, Resource: a.Resource, Filter: a.Filter, Operation: string(a.Operation), Deny: a.Deny, Host: a.Host}
}

func (a ACL) key() string {
	deny := "0"
	if a.Deny {
		deny = "1"
	}
	return strings.Join([]string{a.Principal, a.Resource, a.Filter, a.Operation, deny, a.Host}, "\x1f")
}

func (a ACL) check() (shard.ACL, error) {
	op := shard.Operation(a.Operation)
	switch {
	case a.Principal == "" || len(a.Principal) > 256 || len(a.Host) > 256:
		return shard.ACL{}, shard.Errorf(shard.KindInvalid, "principal is empty or too long, or host is too long")
	case !slices.Contains(resources, a.Resource):
		return shard.ACL{}, shard.Errorf(shard.KindInvalid, "resource %q is none of subject, group, cluster, *", a.Resource)
	case !slices.Contains(operations, op):
		return shard.ACL{}, shard.Errorf(shard.KindInvalid, "operation %q is unknown", a.Operation)
	case a.Filter == "" || len(a.Filter) > shard.MaxSubjectBytes:
		return shard.ACL{}, shard.Errorf(shard.KindInvalid, "filter is empty or too long")
	}
	if a.Resource == gateway.ResourceSubject && !strings.HasSuffix(a.Filter, "*") {
		if _, err := shard.ParseSubjectFilter(a.Filter); err != nil {
			return shard.ACL{}, err
		}
	}
	return shard.ACL{Principal: a.Principal, Resource: a.Resource, Filter: a.Filter, Operation: op, Deny: a.Deny, Host: a.Host}, nil
}

func (s *Server) listACLs(r *request) (any, error) {
	if err := r.maySeeAccounts(); err != nil {
		return nil, err
	}
	all := make([]ACL, 0)
	for _, a := range s.env.Broker.ACLs.Rules() {
		if p := r.URL.Query().Get("principal"); p == "" || p == a.Principal {
			all = append(all, viewACL(a))
		}
	}
	slices.SortFunc(all, func(a, b ACL) int { return cmp.Compare(a.key(), b.key()) })
	return paginate(r, all, ACL.key, same)
}

func (r *request) rules() ([]shard.ACL, error) {
	in, err := body[ACLs](r)
	if err != nil {
		return nil, err
	}
	if len(in.Rules) == 0 || len(in.Rules) > maxRules {
		return nil, shard.Errorf(shard.KindInvalid, "%d rules; 1 to %d are taken", len(in.Rules), maxRules)
	}
	out := make([]shard.ACL, len(in.Rules))
	for i, a := range in.Rules {
		if out[i], err = a.check(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Server) putACLs(r *request) (any, error) {
	rules, err := r.rules()
	if err != nil {
		return nil, err
	}
	return nil, s.env.Broker.ACLs.Put(r.Context(), rules...)
}

func (s *Server) deleteACLs(r *request) (any, error) {
	rules, err := r.rules()
	if err != nil {
		return nil, err
	}
	have := s.env.Broker.ACLs.Rules()
	for _, a := range rules {
		if !slices.Contains(have, a) {
			return nil, shard.Errorf(shard.KindNotFound, "no such rule: %+v", viewACL(a))
		}
	}
	return nil, s.env.Broker.ACLs.Delete(r.Context(), rules...)
}

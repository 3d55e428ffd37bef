package kafka

import (
	"strings"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Access rules. A Kafka binding becomes a shard.ACL and back:
//
//	resource   TOPIC: subject (by the topic's own name), GROUP: group, CLUSTER: cluster
//	pattern    LITERAL: the name, "*" for all; PREFIXED: "prefix*", but "prefix.>"
//	           for topics whose prefix ends in a dot
//	operation  READ: subscribe, WRITE and IDEMPOTENT_WRITE: publish, CREATE, DELETE,
//	           ALTER and ALTER_CONFIGS: alter, DESCRIBE and DESCRIBE_CONFIGS:
//	           describe, CLUSTER_ACTION: admin, ALL
//
// Operations that share one of ours come back as the first of them.

// aclBinding is a rule in Kafka's terms.
type aclBinding struct {
	resource  kmsg.ACLResourceType
	name      string
	pattern   kmsg.ACLResourcePatternType
	principal string
	host      string
	op        kmsg.ACLOperation
	permit    kmsg.ACLPermissionType
}

const (
	aclAny       = 1 // "any" of each enumeration
	aclMatch     = 2 // pattern type: whatever applies to the name
	aclLiteral   = 3
	aclPrefixed  = 4
	aclTopic     = 2
	aclGroup     = 3
	aclCluster   = 4
	aclDeny      = 2
	aclAllow     = 3
	aclOpAll     = 2
	clusterInACL = "kafka-cluster"
)

var aclOps = []struct {
	kafka kmsg.ACLOperation
	ours  shard.Operation
}{
	{aclOpAll, shard.OpAll}, {kafkaOpRead, shard.OpSubscribe}, {kafkaOpWrite, shard.OpPublish},
	{kafkaOpCreate, shard.OpCreate}, {kafkaOpDelete, shard.OpDelete}, {kafkaOpAlter, shard.OpAlter},
	{kafkaOpDescribe, shard.OpDescribe}, {kafkaOpClusterAction, shard.OpAdmin},
	{kafkaOpDescribeConfigs, shard.OpDescribe}, {kafkaOpAlterConfigs, shard.OpAlter}, {kafkaOpIdempotentWrite, shard.OpPublish},
}

func badACL(text string) error { return &coded{codeInvalidRequest, text} }

// rule gives a binding in our terms.
func (b *aclBinding) rule() (shard.ACL, error) {
	r := shard.ACL{Deny: b.permit == aclDeny, Host: b.host}
	user, ok := strings.CutPrefix(b.principal, "User:")
	if !ok || user == "" {
		return r, badACL("the principal is not of the form User:name")
	}
	r.Principal = user
	if b.permit != aclAllow && b.permit != aclDeny {
		return r, badACL("the permission is neither allow nor deny")
	}
	for _, o := range aclOps {
		if o.kafka == b.op {
			r.Operation = o.ours
		}
	}
	if r.Operation == "" {
		return r, badACL("the operation is not supported")
	}
	if b.pattern != aclLiteral && b.pattern != aclPrefixed || b.name == "" {
		return r, badACL("the pattern is neither literal nor prefixed")
	}
	return r, b.filter(&r)
}

func (b *aclBinding) filter(r *shard.ACL) error {
	prefixed := b.pattern == aclPrefixed
	switch b.resource {
	case aclTopic:
		r.Resource = gateway.ResourceSubject
		name, _, ok := topicName(b.name)
		switch {
		case b.name == "*" && !prefixed:
			r.Filter = "*"
		case prefixed && !legalPrefix(b.name):
			return badACL("the prefix is not one of topics' own names")
		case prefixed && strings.HasSuffix(b.name, "."):
			r.Filter = b.name + ">"
		case prefixed:
			r.Filter = b.name + "*"
		case !ok || name == "":
			return badACL("the topic's name is not legal")
		default:
			r.Filter = name
		}
	case aclGroup:
		r.Resource, r.Filter = gateway.ResourceGroup, b.name
		if prefixed {
			r.Filter += "*"
		}
	case aclCluster:
		if b.name != clusterInACL || prefixed {
			return badACL("the cluster's name is " + clusterInACL)
		}
		r.Resource, r.Filter = gateway.ResourceCluster, clusterName
	default:
		return badACL("the resource type is not supported")
	}
	return nil
}

// legalPrefix tells whether topics' own names can begin so; those that are shown
// by another name are not found by a prefix of that.
func legalPrefix(p string) bool { return legalName(p) && !hasNamePrefix(p) }

// bindingOf gives a rule in Kafka's terms.
func bindingOf(r *shard.ACL) (aclBinding, bool) {
	b := aclBinding{principal: "User:" + r.Principal, host: r.Host, permit: aclAllow, pattern: aclLiteral, name: r.Filter}
	if r.Host == "" {
		b.host = "*"
	}
	if r.Deny {
		b.permit = aclDeny
	}
	for _, o := range aclOps {
		if o.ours == r.Operation {
			b.op = o.kafka
			break
		}
	}
	switch r.Resource {
	case gateway.ResourceSubject:
		b.resource = aclTopic
		if p, ok := strings.CutSuffix(r.Filter, ".>"); ok {
			b.pattern, b.name = aclPrefixed, p+"."
		} else if p, ok := strings.CutSuffix(r.Filter, "*"); ok && legalPrefix(p) && !strings.HasSuffix(p, ".") {
			b.pattern, b.name = aclPrefixed, p
		} else if r.Filter == ">" {
			b.name = "*"
		} else if r.Filter != "*" {
			b.name = kafkaName(&shard.Topic{Name: r.Filter})
		}
	case gateway.ResourceGroup:
		b.resource = aclGroup
		if p, ok := strings.CutSuffix(r.Filter, "*"); ok && p != "" {
			b.pattern, b.name = aclPrefixed, p
		}
	case gateway.ResourceCluster:
		b.resource = aclCluster
		if r.Filter == clusterName || r.Filter == "*" {
			b.name = clusterInACL
		}
		if r.Operation == shard.OpPublish {
			b.op = kafkaOpIdempotentWrite
		}
	default:
		return b, false
	}
	return b, b.op != 0
}

// aclFilter is what Describe and Delete ask for; nil is any.
type aclFilter struct {
	resource        kmsg.ACLResourceType
	name            *string
	pattern         kmsg.ACLResourcePatternType
	principal, host *string
	op              kmsg.ACLOperation
	permit          kmsg.ACLPermissionType
}

func (f *aclFilter) match(b *aclBinding) bool {
	is := func(want *string, v string) bool { return want == nil || *want == v }
	return (f.resource == aclAny || f.resource == b.resource) &&
		f.matchName(b) &&
		is(f.principal, b.principal) && is(f.host, b.host) &&
		(f.op == aclAny || f.op == b.op || ourOp(f.op) != "" && ourOp(f.op) == ourOp(b.op)) &&
		(f.permit == aclAny || f.permit == b.permit)
}

func ourOp(op kmsg.ACLOperation) shard.Operation {
	for _, o := range aclOps {
		if o.kafka == op {
			return o.ours
		}
	}
	return ""
}

func (f *aclFilter) matchName(b *aclBinding) bool {
	switch f.pattern {
	case aclAny:
		return f.name == nil || *f.name == b.name
	case aclMatch:
		return f.name == nil || *f.name == b.name || b.pattern == aclLiteral && b.name == "*" ||
			b.pattern == aclPrefixed && strings.HasPrefix(*f.name, b.name)
	}
	return f.pattern == b.pattern && (f.name == nil || *f.name == b.name)
}

// matching gives the rules that a filter matches, with their bindings.
func (c *conn) matching(f *aclFilter) (rules []shard.ACL, bindings []aclBinding) {
	all := c.srv.broker.ACLs.Rules()
	for i := range all {
		if b, ok := bindingOf(&all[i]); ok && f.match(&b) {
			rules, bindings = append(rules, all[i]), append(bindings, b)
		}
	}
	return rules, bindings
}

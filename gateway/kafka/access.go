package kafka

import (
	"net"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

const clusterName = "cluster"

// admit lets a request through when its sender is logged in, or may be
// anonymous, or the request is one of those that come before that.
func (c *conn) admit(r *request) bool {
	if c.sasl.broken {
		return false
	}
	if c.admitted {
		return true
	}
	if !c.srv.cfg.SASLRequired && c.sasl.idle() {
		p, ok := c.srv.env.Auth.Certificate(c.nc.RemoteAddr(), c.nc.TLS)
		var err error
		if !ok {
			p, err = c.srv.env.Auth.Anonymous(c.nc.RemoteAddr())
		}
		if err == nil {
			if err := c.login(p, r.clientID); err != nil {
				c.log.Info("connection refused", "error", err) // Kafka has no word for it: it closes
				return false
			}
			return true
		}
	}
	if r.api.early {
		return true
	}
	c.srv.env.Stats.AuthFailures.Add(1)
	c.log.Debug("request before login", "api", r.api.name)
	return false
}

// login lets p in, within the limits of the account.
func (c *conn) login(p gateway.Principal, clientID string) error {
	if err := c.srv.env.Auth.Join(c.nc, p); err != nil {
		c.srv.env.Stats.Refused.Add(1)
		return err
	}
	c.principal = p
	c.nc.Authenticated(p, clientID)
	c.admitted = true
	c.admitOnce.Do(func() { close(c.admittedC) })
	return nil
}

func (c *conn) allowed(op shard.Operation, resource, name string) bool {
	return c.srv.env.Auth.Allowed(c.principal, c.nc.RemoteAddr(), op, resource, name)
}

// denied refuses what the client may not do. Who did not log in is told that this may
// be why: clients show the text, and else only a code.
func (c *conn) denied(code int16, what string) *coded {
	text := "not authorised to " + what
	if c.principal.Anonymous {
		text += ": this client has not logged in (security.protocol=SASL_PLAINTEXT or SASL_SSL, sasl.mechanism=PLAIN)"
	}
	return &coded{code, text}
}

// The checks, in Kafka's terms.

// mayWrite asks about the subject that a record will carry: the topic's name
// unless the producer gives another.
func (c *conn) mayWrite(subject string) bool {
	return c.allowed(shard.OpPublish, gateway.ResourceSubject, subject)
}

// mayRead tells whether there is anything in the topic that the client may see.
func (c *conn) mayRead(t *shard.Topic) bool { return !c.sight(t).None() }

// sight tells which of the topic's records the client may see.
func (c *conn) sight(t *shard.Topic) gateway.Sight {
	return c.srv.env.Auth.SightOf(c.principal, c.nc.RemoteAddr(), t)
}

// mayManage tells whether the client may create, alter or delete a topic.
func (c *conn) mayManage(op shard.Operation, name string) bool {
	return c.srv.env.Auth.MayManageTopic(c.principal, c.nc.RemoteAddr(), op, name)
}

// captureCheck refuses a change of a topic that adds captures which the client has
// no right to; the change is made by fn.
func (c *conn) captureCheck(fn func(*shard.Topic) error) func(*shard.Topic) error {
	return func(t *shard.Topic) error {
		old := t.Captures
		if err := fn(t); err != nil {
			return err
		}
		if !c.srv.env.Auth.MayCapture(c.principal, c.nc.RemoteAddr(), gateway.NewCaptures(old, t)) {
			return c.denied(codeTopicAuthorizationFailed, "publish and subscribe to all that robustmq.captures names")
		}
		return nil
	}
}

// mayDescribe holds for who may do anything with the topic (Kafka: READ, WRITE,
// DELETE and ALTER imply DESCRIBE).
func (c *conn) mayDescribe(name string) bool {
	for _, op := range []shard.Operation{shard.OpDescribe, shard.OpSubscribe, shard.OpPublish, shard.OpAlter, shard.OpDelete} {
		if c.allowed(op, gateway.ResourceSubject, name) {
			return true
		}
	}
	return false
}

func (c *conn) mayCreate(name string) bool {
	return c.mayManage(shard.OpCreate, name)
}

func (c *conn) mayReadGroup(id string) bool {
	return c.allowed(shard.OpSubscribe, gateway.ResourceGroup, id)
}

func (c *conn) mayDescribeGroup(id string) bool {
	return c.allowed(shard.OpDescribe, gateway.ResourceGroup, id) || c.mayReadGroup(id)
}

func (c *conn) mayDeleteGroup(id string) bool {
	return c.srv.env.Auth.MayManageGroup(c.principal, c.nc.RemoteAddr(), shard.OpDelete, id)
}

func (c *conn) mayCluster(op shard.Operation) bool {
	return c.allowed(op, gateway.ResourceCluster, clusterName)
}

// mayAdminister holds for rules, credentials and limits.
func (c *conn) mayAdminister() bool {
	return c.srv.env.Auth.Administrator(c.principal, c.nc.RemoteAddr())
}

func (c *conn) maySeeAccounts() bool {
	return c.srv.env.Auth.MaySeeAccounts(c.principal, c.nc.RemoteAddr())
}

// addressOf gives where this client reaches a node.
func (c *conn) addressOf(n shard.Node) (host string, port int32, ok bool) {
	key, own := "kafka", c.srv.cfg.Advertised
	if c.nc.TLS != nil {
		key, own = "kafka_tls", c.srv.cfg.AdvertisedTLS
	}
	self := n.ID == c.srv.broker.Cluster.Self().ID
	addr := n.Addresses[key]
	if self && own != "" {
		addr = own
	}
	host, port, err := splitAddr(addr)
	if err == nil && host != "" && !net.ParseIP(host).IsUnspecified() && port != 0 {
		return host, port, true
	}
	if !self {
		return "", 0, false
	}
	// Nothing said how this gateway is reached: as this client did.
	host, local, lerr := splitAddr(c.nc.LocalAddr().String())
	if lerr != nil {
		return "", 0, false
	}
	return host, local, true
}

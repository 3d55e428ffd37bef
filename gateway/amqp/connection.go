package amqp

import (
	"bytes"
	"errors"
	"runtime/debug"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// Class connection (AMQP 1.4).

const mechanisms = "PLAIN AMQPLAIN ANONYMOUS"

// mechanisms offers EXTERNAL to who shows a certificate that is good.
func (c *conn) mechanisms() string {
	if c.nc.TLS != nil && len(c.nc.TLS.VerifiedChains) > 0 {
		return mechanisms + " EXTERNAL"
	}
	return mechanisms
}

func (c *conn) start() {
	c.phase = phaseStart
	caps := frame.Table{}
	for _, name := range []string{
		"publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify", "connection.blocked",
		"consumer_priorities", "authentication_failure_close", "per_consumer_qos", "direct_reply_to",
	} {
		caps = append(caps, frame.Field{Name: name, Value: frame.Bool(true)})
	}
	c.out.method(0, &frame.ConnectionStart{
		VersionMajor: 0, VersionMinor: 9,
		ServerProperties: frame.Table{
			{Name: "capabilities", Value: frame.Nested(caps)},
			{Name: "cluster_name", Value: frame.String(c.clusterName())},
			{Name: "product", Value: frame.String("RobustMQ")},
			{Name: "version", Value: frame.String(version())},
			{Name: "platform", Value: frame.String("Go")},
			{Name: "information", Value: frame.String("https://github.com/robustmq/robustmq-go")},
		},
		Mechanisms: []byte(c.mechanisms()),
		Locales:    []byte("en_US"),
	})
}

// version is the program's, as it was built, in numbers: clients take it apart.
func version() string {
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return unreleased
	}
	return numbers(b.Main.Version)
}

// unreleased is the version of what no release is.
const unreleased = "0.0.0"

func numbers(version string) string {
	version = strings.TrimPrefix(version, "v")
	if version == "" || version[0] < '0' || version[0] > '9' {
		return unreleased
	}
	return version
}

func (c *conn) clusterName() string {
	if cl := c.s.env.Broker.Cluster; cl != nil {
		return cl.ID()
	}
	return "robustmq"
}

// connectionMethod handles a method of channel 0.
func (c *conn) connectionMethod(m frame.Method) error {
	switch m := m.(type) {
	case *frame.ConnectionStartOk:
		if c.phase == phaseStart {
			return c.startOk(m)
		}
	case *frame.ConnectionTuneOk:
		if c.phase == phaseTune {
			return c.tuneOk(m)
		}
	case *frame.ConnectionOpen:
		if c.phase == phaseOpen {
			return c.open(m)
		}
	case *frame.ConnectionUpdateSecret:
		if c.phase == phaseRunning {
			// The principal stays: none of our mechanisms has secrets that expire.
			c.out.method(0, &frame.ConnectionUpdateSecretOk{})
			return nil
		}
	case *frame.ConnectionClose:
		c.flush()
		c.inflight.waitBelow(c.ctx, 0) // what was published without confirms, too
		c.closeChannels()
		c.dropExclusive() // whose names are free when the answer comes, as in RabbitMQ
		c.out.method(0, &frame.ConnectionCloseOk{})
		return errBye
	case *frame.ConnectionCloseOk:
		return errDone // the answer to the close that Drain sent
	}
	return refuse(codeCommandInvalid, "%s is not expected now", m.ID())
}

func (c *conn) startOk(m *frame.ConnectionStartOk) error {
	if v, ok := m.ClientProperties.Get("capabilities"); ok {
		has := func(name string) bool {
			v, _ := v.List.Get(name)
			return v.Bool()
		}
		c.caps = clientCaps{has("consumer_cancel_notify"), has("connection.blocked"), has("authentication_failure_close")}
	}
	c.mechanism = m.Mechanism
	who, err := c.authenticate(m)
	if err != nil {
		c.s.env.Stats.AuthFailures.Add(1)
		f := &fault{}
		if errors.As(err, &f) {
			return err
		}
		c.log.Debug("login refused", "mechanism", m.Mechanism, "error", err)
		if c.caps.authFailureClose {
			c.phase = phaseClosing
			c.out.method(0, &frame.ConnectionClose{
				ReplyCode: codeAccessRefused,
				ReplyText: "ACCESS_REFUSED - Login was refused using authentication mechanism " + m.Mechanism + ". For details see the broker logfile.",
			})
			return nil
		}
		return errDone
	}
	c.who = who
	if v, ok := m.ClientProperties.Get("connection_name"); ok {
		c.name, _ = v.Text()
	}
	c.phase = phaseTune
	c.frameMax = c.s.cfg.FrameMax
	c.out.method(0, &frame.ConnectionTune{
		ChannelMax: uint16(c.s.cfg.ChannelMax), FrameMax: uint32(c.s.cfg.FrameMax), Heartbeat: uint16(c.s.cfg.Heartbeat / time.Second),
	})
	return nil
}

var errMalformedLogin = shard.Errorf(shard.KindDenied, "login response is malformed")

// authenticate logs in by SASL PLAIN (RFC 4616), AMQPLAIN, ANONYMOUS, or
// EXTERNAL: the client's certificate.
func (c *conn) authenticate(m *frame.ConnectionStartOk) (gateway.Principal, error) {
	auth, remote := c.s.env.Auth, c.nc.RemoteAddr()
	switch m.Mechanism {
	case "PLAIN":
		parts := bytes.Split(m.Response, []byte{0})
		if len(parts) != 3 {
			return gateway.Principal{}, errMalformedLogin
		}
		return c.password(string(parts[1]), string(parts[2]))
	case "AMQPLAIN":
		t, err := frame.DecodeTable(m.Response)
		if err != nil {
			return gateway.Principal{}, errMalformedLogin
		}
		login, _ := t.Get("LOGIN")
		password, _ := t.Get("PASSWORD")
		return c.password(login.Str, password.Str)
	case "ANONYMOUS":
		return auth.Anonymous(remote)
	case "EXTERNAL": // RFC 4422, appendix A: the response is the identity to act as, or empty
		p, ok := auth.Certificate(remote, c.nc.TLS)
		if !ok || len(m.Response) > 0 && string(m.Response) != p.Name {
			return gateway.Principal{}, gateway.ErrBadCredentials
		}
		return p, nil
	}
	return gateway.Principal{}, refuse(codeCommandInvalid, "unknown authentication mechanism '%.64s'", m.Mechanism)
}

func (c *conn) tuneOk(m *frame.ConnectionTuneOk) error {
	switch {
	case m.FrameMax != 0 && m.FrameMax < frame.MinMax:
		return refuse(codeNotAllowed, "failed to negotiate connection parameters: negotiated frame_max = %d is lower than the minimum allowed value (%d)", m.FrameMax, frame.MinMax)
	case m.FrameMax > uint32(c.s.cfg.FrameMax):
		return refuse(codeNotAllowed, "failed to negotiate connection parameters: negotiated frame_max = %d is greater than the maximum allowed value (%d)", m.FrameMax, c.s.cfg.FrameMax)
	case int(m.ChannelMax) > c.s.cfg.ChannelMax:
		return refuse(codeNotAllowed, "failed to negotiate connection parameters: negotiated channel_max = %d is greater than the maximum allowed value (%d)", m.ChannelMax, c.s.cfg.ChannelMax)
	}
	if m.FrameMax != 0 {
		c.frameMax = int(m.FrameMax)
	}
	if m.ChannelMax != 0 {
		c.channelMax = int(m.ChannelMax)
	}
	c.heartbeat.Store(int64(time.Duration(m.Heartbeat) * time.Second))
	c.out.signal() // the writer takes up the interval
	c.phase = phaseOpen
	return nil
}

func (c *conn) open(m *frame.ConnectionOpen) error {
	vh := c.s.vhosts[m.VirtualHost]
	if vh == nil {
		return refuse(codeNotAllowed, "vhost %s not found", m.VirtualHost)
	}
	if err := vh.load(c.ctx); err != nil {
		return err
	}
	over := &gateway.TooManyConnections{}
	if err := c.s.env.Auth.Join(c.nc, c.who); errors.As(err, &over) {
		c.s.env.Stats.Refused.Add(1)
		return refuse(codeNotAllowed, "connection refused for user '%s': user connection limit (%d) is reached", over.User, over.Limit)
	} else if err != nil {
		return err
	}
	c.nc.Authenticated(c.who, c.name)
	c.vh = vh
	c.phase = phaseRunning
	c.out.method(0, &frame.ConnectionOpenOk{})
	return nil
}

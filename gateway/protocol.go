package gateway

import (
	"context"
	"log/slog"
	"net"
	"net/http"

	"github.com/robustmq/robustmq-go/shard"
)

// Protocol describes a gateway to the process that runs it.
type Protocol struct {
	// Name is the configuration's and the log's word for it: "mqtt".
	Name string
	// Listeners are on by default, on loopback.
	Listeners []ListenerSpec
	// New makes the server. It reads its configuration by env.Config.
	New func(env Env) (Server, error)
}

// ListenerSpec is a listener a protocol can have.
type ListenerSpec struct {
	// Key is its configuration key below the protocol's: "listen", "ws_listen".
	Key  string
	Port int
	// Subprotocols makes it a WebSocket listener that speaks one of these.
	Subprotocols []string
	// OwnTLS leaves the handshake to the protocol: its connections offer
	// Conn.StartTLS where the listener has TLS. Not for WebSocket.
	OwnTLS bool
	// HTTP serves plain HTTP by the Server's HTTPHandler.
	HTTP bool
	// Off leaves it out unless the configuration gives its address.
	Off bool
}

// HTTPServer is a Server with listeners whose spec says HTTP.
type HTTPServer interface {
	// HTTPHandler gives the handler of the listener with that key.
	HTTPHandler(key string) http.Handler
}

// Refuser is a Server that tells a client, in its protocol's words, that there are
// too many connections.
type Refuser interface {
	// Refuse gets a connection that is not served; the caller closes it. It has
	// to be brief.
	Refuse(c net.Conn)
}

// Server is a protocol gateway.
type Server interface {
	// ServeConn serves one connection and returns when it is over. When ctx
	// ends the connection has to go. The caller closes c afterwards.
	ServeConn(ctx context.Context, c *Conn)
	// Drain tells all clients in the protocol's own words to go elsewhere, and
	// returns once that is written or ctx ends. New connections are no longer
	// accepted by then.
	Drain(ctx context.Context)
}

// Env is what a gateway gets.
type Env struct {
	Broker shard.Broker
	Auth   *Auth
	Log    *slog.Logger
	Limits Limits
	Stats  *Stats
	// Decode fills dst, a pointer to a struct with mapstructure tags that holds
	// the defaults, from the protocol's part of the configuration. Unknown keys
	// are errors.
	Decode func(dst any) error
}

// Config decodes the protocol's configuration; without one (tests) the defaults
// stay.
func (e Env) Config(dst any) error {
	if e.Decode == nil {
		return nil
	}
	return e.Decode(dst)
}

// Limits are caps that every gateway keeps. All are positive.
type Limits struct {
	// MaxMessageBytes bounds a message's payload with its headers.
	MaxMessageBytes int
	// MaxConnections bounds the connections of one protocol.
	MaxConnections int
	// MaxSubscriptions bounds the subscriptions of one connection.
	MaxSubscriptions int
	// MaxInflightBytes bounds what one connection published that is not
	// acknowledged; reading stops there.
	MaxInflightBytes int
	// MaxOutboundBytes bounds what is queued for one connection.
	MaxOutboundBytes int
}

// DefaultLimits are the caps without configuration.
func DefaultLimits() Limits {
	return Limits{
		MaxMessageBytes:  16 << 20,
		MaxConnections:   200_000,
		MaxSubscriptions: 100_000,
		MaxInflightBytes: 32 << 20,
		MaxOutboundBytes: 64 << 20,
	}
}

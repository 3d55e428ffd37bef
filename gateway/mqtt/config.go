package mqtt

import (
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// Config is the configuration below "mqtt". Sizes are in bytes; 0 means the
// default that Server fills in.
type Config struct {
	// MaxPacketSize bounds a packet that a client sends; it is announced to
	// version 5 clients. Default: the gateway's bound on a message.
	MaxPacketSize int `mapstructure:"max_packet_size"`
	// ReceiveMaximum bounds the unfinished QoS 1 and 2 PUBLISHes of a client,
	// announced to version 5 clients, at most 65535.
	ReceiveMaximum int `mapstructure:"receive_maximum"`
	// MaxInflight bounds the unacknowledged PUBLISHes sent to a client, whatever
	// receive maximum it allows.
	MaxInflight int `mapstructure:"max_inflight"`
	// TopicAliasMaximum bounds the topic aliases in each direction.
	TopicAliasMaximum int `mapstructure:"topic_alias_maximum"`
	MaxTopicLevels    int `mapstructure:"max_topic_levels"`
	MaxClientIDBytes  int `mapstructure:"max_client_id_bytes"`
	MaxWillBytes      int `mapstructure:"max_will_bytes"`
	// MaxKeepAlive, when not 0, is the longest keep-alive: a version 5 client
	// that asks for more, or for none, is given it as Server Keep Alive.
	MaxKeepAlive time.Duration `mapstructure:"max_keep_alive"`
	// MaxSessionExpiry, when not 0, bounds the life of a session without a
	// connection, also of those that ask for none: what a session that nobody comes
	// back to has not had is kept from being freed.
	MaxSessionExpiry time.Duration `mapstructure:"max_session_expiry"`
	// SysInterval is the time between two publications of $SYS; 0 is off.
	SysInterval time.Duration `mapstructure:"sys_interval"`
	// WriteTimeout closes a connection that takes no bytes for so long.
	WriteTimeout time.Duration `mapstructure:"write_timeout"`
	// ResponseInformation is the prefix of response topics given to version 5
	// clients that ask for it; "" gives none.
	ResponseInformation string `mapstructure:"response_information"`
}

// maxConnectBytes bounds the one packet of somebody who is not logged in.
const maxConnectBytes = 256 << 10

func defaultConfig() Config {
	return Config{
		ReceiveMaximum:      4096,
		MaxInflight:         1024,
		TopicAliasMaximum:   64,
		MaxTopicLevels:      shard.MaxSubjectDepth,
		MaxClientIDBytes:    1024,
		MaxWillBytes:        65535,
		MaxSessionExpiry:    30 * 24 * time.Hour,
		SysInterval:         10 * time.Second,
		WriteTimeout:        30 * time.Second,
		ResponseInformation: "response/",
	}
}

// check fills defaults that depend on the limits and refuses what cannot be.
func (c *Config) check(l gateway.Limits) error {
	if c.MaxPacketSize <= 0 {
		c.MaxPacketSize = l.MaxMessageBytes
	}
	for _, v := range []struct {
		name     string
		v        int
		min, max int
	}{
		{"max_packet_size", c.MaxPacketSize, 1024, 268_435_455},
		{"receive_maximum", c.ReceiveMaximum, 1, 65535},
		{"max_inflight", c.MaxInflight, 1, 65535},
		{"topic_alias_maximum", c.TopicAliasMaximum, 0, 65535},
		{"max_topic_levels", c.MaxTopicLevels, 1, shard.MaxSubjectDepth},
		{"max_client_id_bytes", c.MaxClientIDBytes, 23, 65535},
		{"max_will_bytes", c.MaxWillBytes, 0, 65535},
		{"max_keep_alive (seconds)", int(c.MaxKeepAlive / time.Second), 0, 65535},
		{"max_session_expiry (seconds)", int(c.MaxSessionExpiry / time.Second), 0, int(noExpiry)},
		{"write_timeout (milliseconds)", int(c.WriteTimeout / time.Millisecond), 1, 1 << 31},
	} {
		if v.v < v.min || v.v > v.max {
			return shard.Errorf(shard.KindInvalid, "mqtt.%s is %d, not within %d and %d", v.name, v.v, v.min, v.max)
		}
	}
	return nil
}

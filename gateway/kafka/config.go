package kafka

import (
	"net"
	"strconv"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// Config is the gateway's part of the configuration ("kafka").
type Config struct {
	// Advertised is the host:port that clients without TLS are told to use for
	// this gateway; "" leaves it to the cluster's address for "kafka", or else
	// to the address the client reached.
	Advertised string `mapstructure:"advertised"`
	// AdvertisedTLS is Advertised for clients with TLS ("kafka_tls").
	AdvertisedTLS string `mapstructure:"advertised_tls"`
	// SASLRequired refuses clients that do not log in.
	SASLRequired bool `mapstructure:"sasl_required"`
	// AutoCreateTopics lets metadata requests create topics.
	AutoCreateTopics bool `mapstructure:"auto_create_topics"`
	// DefaultPartitions of topics created without a number, 1 to MaxPartitions;
	// 0: the cluster's default.
	DefaultPartitions int `mapstructure:"default_partitions"`
	// GroupMinSessionTimeout and GroupMaxSessionTimeout bound what members ask for.
	GroupMinSessionTimeout time.Duration `mapstructure:"group_min_session_timeout"`
	GroupMaxSessionTimeout time.Duration `mapstructure:"group_max_session_timeout"`
	// GroupInitialRebalanceDelay gathers the first members of an empty group.
	GroupInitialRebalanceDelay time.Duration `mapstructure:"group_initial_rebalance_delay"`
	// GroupMaxSize bounds the members of a group.
	GroupMaxSize int `mapstructure:"group_max_size"`
	// SkipDamaged lets consumers pass over records that are damaged, once they
	// were told; else they are told for ever.
	SkipDamaged bool `mapstructure:"skip_damaged"`
	// MaxGroups bounds the groups held in memory.
	MaxGroups int `mapstructure:"max_groups"`
}

// MaxPartitions bounds the partitions of a topic made by a Kafka client.
const MaxPartitions = 10_000

// DefaultConfig is what holds without configuration.
func DefaultConfig() Config {
	return Config{
		AutoCreateTopics:           true,
		SkipDamaged:                true,
		GroupMinSessionTimeout:     time.Second,
		GroupMaxSessionTimeout:     30 * time.Minute,
		GroupInitialRebalanceDelay: 50 * time.Millisecond,
		GroupMaxSize:               10_000,
		MaxGroups:                  100_000,
	}
}

func (c *Config) check() error {
	for _, a := range []string{c.Advertised, c.AdvertisedTLS} {
		if a == "" {
			continue
		}
		if _, _, err := splitAddr(a); err != nil {
			return shard.Errorf(shard.KindInvalid, "kafka advertised address %q: %w", a, err)
		}
	}
	switch {
	case c.DefaultPartitions < 0 || c.DefaultPartitions > MaxPartitions:
		return shard.Errorf(shard.KindInvalid, "kafka default_partitions %d is not between 0 and %d", c.DefaultPartitions, MaxPartitions)
	case c.GroupMinSessionTimeout <= 0 || c.GroupMaxSessionTimeout < c.GroupMinSessionTimeout:
		return shard.Errorf(shard.KindInvalid, "kafka group session timeouts %v and %v are not in order", c.GroupMinSessionTimeout, c.GroupMaxSessionTimeout)
	case c.GroupInitialRebalanceDelay < 0 || c.GroupInitialRebalanceDelay > time.Minute:
		return shard.Errorf(shard.KindInvalid, "kafka group_initial_rebalance_delay %v is not between 0 and 1m", c.GroupInitialRebalanceDelay)
	case c.GroupMaxSize < 1 || c.MaxGroups < 1:
		return shard.Errorf(shard.KindInvalid, "kafka group_max_size and max_groups must be at least 1")
	}
	return nil
}

func splitAddr(a string) (string, int32, error) {
	host, p, err := net.SplitHostPort(a)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, err
	}
	return host, int32(port), nil
}

// Protocol describes the gateway for the table of protocols.
func Protocol() gateway.Protocol {
	return gateway.Protocol{
		Name:      "kafka",
		Listeners: []gateway.ListenerSpec{{Key: "listen", Port: 9092}},
		New:       New,
	}
}

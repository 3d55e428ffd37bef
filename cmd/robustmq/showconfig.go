package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// setting is one key of the configuration.
type setting struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	Default string `json:"default"`
	Env     string `json:"env"`
	Doc     string `json:"doc,omitempty"`
	list    bool
	secret  string       // its value, which is never shown
	kind    reflect.Type // nil: a listener
}

// masked stands for a secret that is set.
const masked = "********"

// yaml gives the value as a configuration file has it. What YAML could read as
// something else is put into quotes.
func (s *setting) yaml() string {
	text := s.kind == nil || s.kind.Kind() == reflect.String
	switch {
	case s.Value == `""`, s.list, text && word.MatchString(s.Value) && !reserved.MatchString(s.Value), !text && plain.MatchString(s.Value):
		return s.Value
	}
	b, _ := json.Marshal(s.Value) // a string of JSON is one of YAML
	return string(b)
}

// plain is a number, a boolean or a duration; word is a text that YAML takes for
// one, unless it is reserved.
var (
	plain    = regexp.MustCompile(`^(-?[0-9]+|true|false|-?([0-9.]+[a-zµ]+)+)$`)
	word     = regexp.MustCompile(`^([a-zA-Z/][\w./-]*|[0-9]+(\.[0-9]+){3}:[0-9]+)$`)
	reserved = regexp.MustCompile(`(?i)^(null|true|false|yes|no|on|y|n)$`) // off is what turns a listener off
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the effective configuration: every key with its value, default and meaning; secrets are masked",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd.Flags())
			if err != nil {
				return err
			}
			all, err := settings(&cfg)
			if err != nil {
				return err
			}
			asJSON, _ := cmd.Flags().GetString("output")
			return printSettings(cmd.OutOrStdout(), all, asJSON == "json")
		},
	}
	configFlags(cmd)
	cmd.Flags().StringP("output", "o", "text", "text or json")
	return cmd
}

func printSettings(w io.Writer, all []setting, asJSON bool) error {
	if asJSON {
		b, err := json.MarshalIndent(all, "", "  ")
		if err != nil {
			return fmt.Errorf("encode configuration: %w", err)
		}
		_, err = fmt.Fprintln(w, string(b))
		return err
	}
	for _, s := range all {
		note := ""
		if s.Value != s.Default {
			note = fmt.Sprintf(" (default %q)", s.Default)
		}
		if s.Doc != "" || note != "" {
			fmt.Fprintf(w, "# %s%s\n", s.Doc, note)
		}
		line := s.Key + ": " + s.yaml()
		if s.Value == masked {
			line = "# " + s.Key + " is set, and not shown"
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// settings lists every key that can be set.
func settings(cfg *Config) ([]setting, error) {
	def := defaults()
	var out []setting
	walk(reflect.ValueOf(cfg).Elem(), reflect.ValueOf(&def).Elem(), "", nil, &out)
	for _, p := range protocols() {
		ps, err := protocolSettings(cfg, p)
		if err != nil {
			return nil, err
		}
		out = append(out, ps...)
	}
	return out, nil
}

// walk lists the keys of a struct with mapstructure tags.
func walk(v, def reflect.Value, prefix string, docs map[string]string, out *[]setting) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("mapstructure")
		if name == "" || !f.IsExported() {
			continue
		}
		key := prefix + name
		if f.Type.Kind() == reflect.Struct {
			walk(v.Field(i), def.Field(i), key+".", docs, out)
			continue
		}
		doc := f.Tag.Get("doc")
		if doc == "" {
			doc = docs[key]
		}
		s := setting{Key: key, Value: valueText(v.Field(i)), Default: valueText(def.Field(i)), Env: envName(key), Doc: doc, list: f.Type.Kind() == reflect.Slice, kind: f.Type}
		if f.Tag.Get("secret") != "" && s.Value != `""` {
			s.Value, s.secret = masked, s.Value
		}
		*out = append(*out, s)
	}
}

func envName(key string) string {
	return "ROBUSTMQ_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func valueText(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return x.String()
	case string:
		if x == "" {
			return `""`
		}
		return x
	case []string:
		quoted := make([]string, len(x))
		for i, e := range x {
			quoted[i] = (&setting{Value: e}).yaml()
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	default:
		return fmt.Sprint(x)
	}
}

// protocolDocs says what the protocols' keys mean whose structs have no doc tags.
var protocolDocs = map[string]string{
	"mqtt.max_packet_size":                "largest packet of a client; 0: limits.max_message_bytes",
	"mqtt.receive_maximum":                "unfinished QoS 1 and 2 PUBLISHes of a client",
	"mqtt.max_inflight":                   "unacknowledged PUBLISHes sent to a client",
	"mqtt.topic_alias_maximum":            "topic aliases in each direction",
	"mqtt.max_topic_levels":               "depth of topics and filters",
	"mqtt.max_client_id_bytes":            "length of a client identifier",
	"mqtt.max_will_bytes":                 "payload of a will",
	"mqtt.max_keep_alive":                 "longest keep-alive; 0: any",
	"mqtt.max_session_expiry":             "longest life of a session without a connection, whatever it asks for; 0: any",
	"mqtt.sys_interval":                   "time between publications of $SYS; 0: none",
	"mqtt.write_timeout":                  "a connection that takes no bytes for so long is closed",
	"mqtt.response_information":           "prefix of response topics given to clients that ask",
	"kafka.advertised":                    "host:port clients are told to use; empty: node.advertised_host and the listener's port",
	"kafka.advertised_tls":                "the same for clients with TLS",
	"kafka.sasl_required":                 "refuse clients that do not log in",
	"kafka.auto_create_topics":            "metadata requests may create topics",
	"kafka.default_partitions":            "of topics created without a number; 0: topics.auto_create.shards",
	"kafka.group_min_session_timeout":     "shortest session that a member may ask for",
	"kafka.group_max_session_timeout":     "longest session that a member may ask for",
	"kafka.group_initial_rebalance_delay": "gathers the first members of an empty group",
	"kafka.group_max_size":                "members of a group",
	"kafka.skip_damaged":                  "consumers pass over records that are damaged once they were told; false: they are told for ever",
	"kafka.max_groups":                    "groups in memory",
	"nats.max_payload":                    "largest message",
	"nats.ping_interval":                  "time between server pings",
	"nats.ping_max":                       "unanswered pings that end a connection",
	"nats.write_deadline":                 "bound of one write to a client",
	"amqp.root_sees_vhosts":               "/ is the whole subject space: it reads and writes the subjects of the other virtual hosts",
	"amqp.vhosts":                         "virtual hosts besides /; the subjects of v lie below v.",
	"amqp.heartbeat":                      "interval that the server proposes; 0: none",
	"amqp.frame_max":                      "largest frame that is negotiated",
	"amqp.channel_max":                    "most channels that are negotiated",
}

var errCaptured = errors.New("configuration captured")

// noCluster lets a gateway be made so far that it asks for its configuration.
type noCluster struct{ shard.Cluster }

// protocolSettings lists a protocol's keys: its listeners', and those of the
// struct that it decodes its configuration into, which a gateway does first.
func protocolSettings(cfg *Config, p gateway.Protocol) ([]setting, error) {
	_, rest, err := cfg.endpoints(p)
	if err != nil {
		return nil, err
	}
	var out []setting
	own, _ := cfg.protocols[p.Name].(map[string]any)
	for _, l := range p.Listeners {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(l.Port))
		if l.Off {
			addr = "off"
		}
		for key, def := range map[string]string{l.Key: addr, "tls_" + l.Key: `""`} {
			s := setting{Key: p.Name + "." + key, Value: def, Default: def, Env: envName(p.Name + "." + key), Doc: "address of the listener; off: none"}
			if def == `""` {
				s.Doc = "address of the same with TLS; empty: none"
			}
			if v, ok := own[key]; ok {
				s.Value = valueText(reflect.ValueOf(fmt.Sprint(v)))
			}
			out = append(out, s)
		}
		if n := len(out); out[n-2].Key > out[n-1].Key {
			out[n-2], out[n-1] = out[n-1], out[n-2]
		}
	}
	env := gateway.Env{Log: slog.New(slog.DiscardHandler), Limits: gateway.DefaultLimits(), Stats: &gateway.Stats{},
		Broker: shard.Broker{Cluster: noCluster{}}}
	env.Decode = func(dst any) error {
		v := reflect.ValueOf(dst).Elem()
		def := reflect.New(v.Type()).Elem()
		def.Set(v)
		if err := strictDecode(rest, dst, p.Name+"."); err != nil {
			return fmt.Errorf("configuration: %s: %w", p.Name, err)
		}
		walk(v, def, p.Name+".", protocolDocs, &out)
		return errCaptured
	}
	if _, err := p.New(env); !errors.Is(err, errCaptured) {
		return nil, errors.Join(fmt.Errorf("read configuration of %s", p.Name), err)
	}
	return out, nil
}

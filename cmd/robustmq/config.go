package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// Config is everything that is not one protocol's own. Sizes are in bytes.
type Config struct {
	DataDir string `mapstructure:"data_dir"`
	Log     struct {
		Level  string `mapstructure:"level"`
		Format string `mapstructure:"format"`
	} `mapstructure:"log"`
	Node struct {
		ID   string `mapstructure:"id"`
		Zone string `mapstructure:"zone"`
		// AdvertisedHost is what clients are told to connect to.
		AdvertisedHost string `mapstructure:"advertised_host"`
	} `mapstructure:"node"`
	Etcd struct {
		Endpoints []string      `mapstructure:"endpoints"`
		Prefix    string        `mapstructure:"prefix"`
		Username  string        `mapstructure:"username"`
		Password  string        `mapstructure:"password"`
		LeaseTTL  time.Duration `mapstructure:"lease_ttl"`
	} `mapstructure:"etcd"`
	Store struct {
		Kind      string `mapstructure:"kind"`
		Dir       string `mapstructure:"dir"`
		Endpoint  string `mapstructure:"endpoint"`
		Bucket    string `mapstructure:"bucket"`
		Prefix    string `mapstructure:"prefix"`
		Region    string `mapstructure:"region"`
		AccessKey string `mapstructure:"access_key"`
		SecretKey string `mapstructure:"secret_key"`
		PathStyle bool   `mapstructure:"path_style"`
	} `mapstructure:"store"`
	WAL struct {
		Dir       string `mapstructure:"dir"`
		MaxBytes  int64  `mapstructure:"max_bytes"`
		FileBytes int64  `mapstructure:"file_bytes"`
	} `mapstructure:"wal"`
	Flush struct {
		Bytes          int64         `mapstructure:"bytes"`
		Interval       time.Duration `mapstructure:"interval"`
		ObjectInterval time.Duration `mapstructure:"object_interval"`
		SegmentBytes   int64         `mapstructure:"segment_bytes"`
	} `mapstructure:"flush"`
	Memory struct {
		TailBytes   int64 `mapstructure:"tail_bytes"`
		AppendBytes int64 `mapstructure:"append_bytes"`
		CacheBytes  int64 `mapstructure:"cache_bytes"`
	} `mapstructure:"memory"`
	Topics struct {
		Durability      string        `mapstructure:"durability"`
		Retention       time.Duration `mapstructure:"retention"`
		RetentionBytes  int64         `mapstructure:"retention_bytes"`
		MaxMessageBytes int32         `mapstructure:"max_message_bytes"`
		AutoCreate      struct {
			Shards uint32 `mapstructure:"shards"`
			Max    int    `mapstructure:"max"`
		} `mapstructure:"auto_create"`
	} `mapstructure:"topics"`
	Background struct {
		RetentionInterval time.Duration `mapstructure:"retention_interval"`
		MergeInterval     time.Duration `mapstructure:"merge_interval"`
		MergeSegments     int           `mapstructure:"merge_segments"`
		DeleteGrace       time.Duration `mapstructure:"delete_grace"`
	} `mapstructure:"background"`
	Security struct {
		AllowAnonymousRemotely       bool `mapstructure:"allow_anonymous_remotely"`
		AllowDefaultPasswordRemotely bool `mapstructure:"allow_default_password_remotely"`
		Anonymous                    bool `mapstructure:"anonymous"`
	} `mapstructure:"security"`
	Limits struct {
		MaxMessageBytes  int           `mapstructure:"max_message_bytes"`
		MaxConnections   int           `mapstructure:"max_connections"`
		MaxSubscriptions int           `mapstructure:"max_subscriptions"`
		MaxInflightBytes int           `mapstructure:"max_inflight_bytes"`
		MaxOutboundBytes int           `mapstructure:"max_outbound_bytes"`
		LoginTimeout     time.Duration `mapstructure:"login_timeout"`
	} `mapstructure:"limits"`
	TLS   TLSConfig `mapstructure:"tls"`
	Admin struct {
		Listen string `mapstructure:"listen"`
	} `mapstructure:"admin"`

	protocols map[string]any // each protocol's own part, raw
}

func defaults() Config {
	var c Config
	c.DataDir = "data"
	c.Log.Level, c.Log.Format = "info", "text"
	c.Store.Kind = "dir"
	c.Store.Region = "us-east-1"
	c.Etcd.LeaseTTL = 5 * time.Second
	c.Topics.Durability = "wal"
	c.Topics.Retention = 7 * 24 * time.Hour
	c.Topics.RetentionBytes = -1
	c.Security.Anonymous = true
	l := gateway.DefaultLimits()
	c.Limits.MaxMessageBytes, c.Limits.MaxConnections = l.MaxMessageBytes, l.MaxConnections
	c.Limits.MaxSubscriptions, c.Limits.MaxInflightBytes = l.MaxSubscriptions, l.MaxInflightBytes
	c.Limits.MaxOutboundBytes, c.Limits.LoginTimeout = l.MaxOutboundBytes, 10*time.Second
	c.Admin.Listen = "127.0.0.1:8080"
	return c
}

// loadConfig reads, each overriding the one before: defaults, the file,
// environment variables (ROBUSTMQ_STORE_KIND), and flags: --data-dir and
// --set store.kind=s3. Unknown keys are errors.
func loadConfig(fs *pflag.FlagSet) (Config, error) {
	c := defaults()
	v := viper.New()
	file, _ := fs.GetString("config")
	if file != "" {
		v.SetConfigFile(file)
		if err := v.ReadInConfig(); err != nil {
			return c, fmt.Errorf("read configuration: %w", err)
		}
	}
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		if key, ok := strings.CutPrefix(name, "ROBUSTMQ_"); ok {
			if err := setEnv(v, key, value); err != nil {
				return c, err
			}
		}
	}
	if fs.Changed("data-dir") {
		dir, _ := fs.GetString("data-dir")
		v.Set("data_dir", dir)
	}
	sets, _ := fs.GetStringArray("set")
	for _, s := range sets {
		k, val, ok := strings.Cut(s, "=")
		if !ok {
			return c, fmt.Errorf("--set %q is not key=value", s)
		}
		v.Set(strings.ReplaceAll(k, "-", "_"), val)
	}
	return c, c.decode(v.AllSettings())
}

// setEnv maps ROBUSTMQ_STORE_ACCESS_KEY to store.access_key: the first word is
// the section, unless the whole is a key of its own.
func setEnv(v *viper.Viper, name, value string) error {
	name = strings.ToLower(name)
	if name == "data_dir" {
		v.Set(name, value)
		return nil
	}
	section, key, ok := strings.Cut(name, "_")
	if !ok {
		return fmt.Errorf("environment variable ROBUSTMQ_%s names no setting", strings.ToUpper(name))
	}
	if section == "topics" {
		if k, ok := strings.CutPrefix(key, "auto_create_"); ok {
			key = "auto_create." + k
		}
	}
	v.Set(section+"."+key, value)
	return nil
}

// decode splits off the protocols' parts and decodes the rest strictly.
func (c *Config) decode(all map[string]any) error {
	c.protocols = make(map[string]any)
	known := map[string]bool{}
	for _, p := range protocols() {
		known[p.Name] = true
	}
	for k, v := range all {
		if known[k] {
			c.protocols[k] = v
			delete(all, k)
		}
	}
	if err := strictDecode(all, c); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return c.check()
}

func strictDecode(in, out any) error {
	d, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result: out, ErrorUnused: true, WeaklyTypedInput: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			mapstructure.StringToTimeDurationHookFunc(), mapstructure.StringToSliceHookFunc(",")),
	})
	if err != nil {
		return err
	}
	return d.Decode(in)
}

func (c *Config) check() error {
	var errs []error
	if _, err := shard.ParseDurability(c.Topics.Durability); err != nil {
		errs = append(errs, err)
	}
	for name, n := range map[string]int{
		"limits.max_message_bytes": c.Limits.MaxMessageBytes, "limits.max_connections": c.Limits.MaxConnections,
		"limits.max_subscriptions": c.Limits.MaxSubscriptions, "limits.max_inflight_bytes": c.Limits.MaxInflightBytes,
		"limits.max_outbound_bytes": c.Limits.MaxOutboundBytes,
	} {
		if n <= 0 {
			errs = append(errs, fmt.Errorf("%s is %d; it has to be positive", name, n))
		}
	}
	if c.Topics.MaxMessageBytes < 0 || int64(c.Topics.MaxMessageBytes) > shard.MaxBatchBytes {
		errs = append(errs, fmt.Errorf("topics.max_message_bytes is over %d", shard.MaxBatchBytes))
	}
	switch c.Store.Kind {
	case "dir", "s3", "minio", "mem":
	default:
		errs = append(errs, fmt.Errorf("store.kind %q is none of dir, s3, minio, mem", c.Store.Kind))
	}
	return errors.Join(errs...)
}

// logger makes the process's logger.
func (c *Config) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch c.Log.Format {
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, opts)), nil
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, opts)), nil
	}
	return nil, fmt.Errorf("log.format %q is neither text nor json", c.Log.Format)
}

package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/robustmq/robustmq-go/engine"
	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/internal/ratelog"
	"github.com/robustmq/robustmq-go/shard"
)

// Config is everything that is not one protocol's own. Sizes are in bytes. The
// doc tags are what `robustmq config` prints.
type Config struct {
	DataDir string `mapstructure:"data_dir" doc:"directory of WAL, embedded etcd and the directory store"`
	Log     struct {
		Level  string `mapstructure:"level" doc:"debug, info, warn or error"`
		Format string `mapstructure:"format" doc:"text or json"`
	} `mapstructure:"log"`
	Node struct {
		ID             string `mapstructure:"id" doc:"name of this gateway, unique in the cluster; empty: robustmq-1"`
		Zone           string `mapstructure:"zone" doc:"availability zone"`
		AdvertisedHost string `mapstructure:"advertised_host" doc:"host that clients are told to connect to; empty: that of the listener"`
	} `mapstructure:"node"`
	Etcd struct {
		Endpoints    []string      `mapstructure:"endpoints" doc:"etcd cluster, comma-separated; empty: etcd runs inside this process"`
		Prefix       string        `mapstructure:"prefix" doc:"of all keys; clusters that share an etcd differ in it; empty: /robustmq/"`
		Username     string        `mapstructure:"username" doc:"of etcd's own authentication"`
		Password     string        `mapstructure:"password" secret:"true" doc:"of etcd's own authentication"`
		PasswordFile string        `mapstructure:"password_file" doc:"the password is in this file"`
		TLS          ClientTLS     `mapstructure:"tls"`
		LeaseTTL     time.Duration `mapstructure:"lease_ttl" doc:"how long a gateway is believed to live without a sign of life"`
		Quota        int64         `mapstructure:"quota_bytes" doc:"bound of etcd's file; 0: 4 GiB inside this process, else what etcd says from version 3.6 on"`
		History      time.Duration `mapstructure:"history" doc:"how long an etcd cluster keeps what was overwritten, then it is compacted; negative: somebody else does that"`
	} `mapstructure:"etcd"`
	Store StoreConfig `mapstructure:"store"`
	WAL   struct {
		Dir       string `mapstructure:"dir" doc:"directory of the write-ahead log; empty: wal below data_dir"`
		MaxBytes  int64  `mapstructure:"max_bytes" doc:"log not yet in object storage, past which publishers are refused"`
		FileBytes int64  `mapstructure:"file_bytes" doc:"size of one file of the log"`
		KeepFree  int64  `mapstructure:"keep_free_bytes" doc:"room that the log leaves on its disk, and the directory store half of it on its own: etcd inside this process ends it when it has none; 0: none"`
		// AcceptDamage is for once: after damage that nothing can repair.
		AcceptDamage bool `mapstructure:"accept_damage" doc:"serve sessions, groups and retained messages of which changes are lost as they are left; else they are refused"`
	} `mapstructure:"wal"`
	Flush struct {
		Bytes          int64         `mapstructure:"bytes" doc:"a segment is written at this size"`
		Interval       time.Duration `mapstructure:"interval" doc:"and at this age"`
		ObjectInterval time.Duration `mapstructure:"object_interval" doc:"age while somebody waits for durability object"`
		SegmentBytes   int64         `mapstructure:"segment_bytes" doc:"bound of one segment object"`
		Parallel       int           `mapstructure:"parallel" doc:"segment objects that are sent at once when flushing is behind"`
	} `mapstructure:"flush"`
	Memory struct {
		Limit           int64 `mapstructure:"limit" doc:"of the process; what is below is made smaller where it does not fit; 0: GOMEMLIMIT, or nine tenths of the cgroup's limit, or half of the machine's memory"`
		ConnectionBytes int64 `mapstructure:"connection_bytes" doc:"what the connections of all protocols hold: half for what clients send, half for what is queued for them; 0: a fifth of the limit"`
		Connections     int   `mapstructure:"connections" doc:"of all protocols together; 0: one for each 120 KiB of the limit, which holds if none of them reads"`
		GroupBytes      int64 `mapstructure:"group_bytes" doc:"messages that all queues, sessions and groups have ready for consumers"`
		StateBytes      int64 `mapstructure:"state_bytes" doc:"large values of the state, such as retained messages, kept in memory; others are read from the log"`

		TailBytes   int64 `mapstructure:"tail_bytes" doc:"newest batches, kept for readers at the end"`
		AppendBytes int64 `mapstructure:"append_bytes" doc:"appends that followers were not given yet (one shard: an eighth), and apart from them as much that waits for the object store, as much state, as much that waits for a shard's producers"`
		CacheBytes  int64 `mapstructure:"cache_bytes" doc:"blocks of segments, kept for readers that catch up"`
	} `mapstructure:"memory"`
	Topics struct {
		Durability      string        `mapstructure:"durability" doc:"what an acknowledgement means unless the topic says so: wal, object or memory"`
		Retention       time.Duration `mapstructure:"retention" doc:"age past which records are freed; negative: never"`
		RetentionBytes  int64         `mapstructure:"retention_bytes" doc:"bound of each shard; -1: none"`
		MaxMessageBytes int32         `mapstructure:"max_message_bytes" doc:"bound of a record batch"`
		AutoCreate      struct {
			Shards uint32 `mapstructure:"shards" doc:"of topics made by the first use of their subject"`
			Max    int    `mapstructure:"max" doc:"how many of them; further subjects go to the catch-all topic"`
		} `mapstructure:"auto_create"`
	} `mapstructure:"topics"`
	Background struct {
		RetentionInterval time.Duration `mapstructure:"retention_interval" doc:"time between retention passes"`
		MergeInterval     time.Duration `mapstructure:"merge_interval" doc:"time between looks for segments to merge"`
		MergeSegments     int           `mapstructure:"merge_segments" doc:"segments of one level merged into one of the next"`
		DeleteGrace       time.Duration `mapstructure:"delete_grace" doc:"how long an object outlives its last reference"`
	} `mapstructure:"background"`
	Security struct {
		AllowAnonymousRemotely       bool     `mapstructure:"allow_anonymous_remotely" doc:"let clients without a login in from beyond loopback"`
		AllowDefaultPasswordRemotely bool     `mapstructure:"allow_default_password_remotely" doc:"let user admin in with the default password from beyond loopback"`
		Anonymous                    bool     `mapstructure:"anonymous" doc:"let clients without a login in from loopback"`
		AllowedOrigins               []string `mapstructure:"allowed_origins" doc:"sites whose pages may use WebSocket listeners besides their own host's, as https://app.example; * for all"`
	} `mapstructure:"security"`
	Limits struct {
		MaxMessageBytes  int           `mapstructure:"max_message_bytes" doc:"a message's payload with its headers"`
		MaxConnections   int           `mapstructure:"max_connections" doc:"of one protocol"`
		MaxSubscriptions int           `mapstructure:"max_subscriptions" doc:"of one connection"`
		MaxInflightBytes int           `mapstructure:"max_inflight_bytes" doc:"published by one connection and not acknowledged; reading stops there"`
		MaxOutboundBytes int           `mapstructure:"max_outbound_bytes" doc:"queued for one connection"`
		LoginTimeout     time.Duration `mapstructure:"login_timeout" doc:"a connection that has not logged in by then is closed"`
	} `mapstructure:"limits"`
	TLS   TLSConfig `mapstructure:"tls"`
	Admin struct {
		Listen    string `mapstructure:"listen" doc:"address of the admin HTTP listener; off: none"`
		TLSListen string `mapstructure:"tls_listen" doc:"address of the admin HTTPS listener; empty: none"`
	} `mapstructure:"admin"`

	protocols map[string]any // each protocol's own part, raw
	// processMemory is what the process may take, in bytes, once boundMemory has found it.
	processMemory     int64
	live              *live         // of serve; nil otherwise
	clientCerts       []*clientCert // of etcd and the store
	etcdTLS, storeTLS *tls.Config   // nil: none is configured
}

// StoreConfig says which object store, as whom, and how hard it is worked.
type StoreConfig struct {
	Kind          string    `mapstructure:"kind" doc:"dir, s3, minio or mem (which keeps nothing)"`
	Dir           string    `mapstructure:"dir" doc:"dir: the directory; empty: objects below data_dir"`
	Endpoint      string    `mapstructure:"endpoint" doc:"minio: URL; s3: empty for Amazon's"`
	Bucket        string    `mapstructure:"bucket" doc:"s3, minio: the bucket, which has to exist"`
	Prefix        string    `mapstructure:"prefix" doc:"folder of all objects"`
	Region        string    `mapstructure:"region" doc:"s3, minio: region of the bucket"`
	AccessKey     string    `mapstructure:"access_key" doc:"s3, minio; empty: the provider's own chain"`
	SecretKey     string    `mapstructure:"secret_key" secret:"true" doc:"s3, minio"`
	AccessKeyFile string    `mapstructure:"access_key_file" doc:"s3, minio: the access key is in this file"`
	SecretKeyFile string    `mapstructure:"secret_key_file" doc:"s3, minio: the secret key is in this file"`
	TLS           ClientTLS `mapstructure:"tls"`
	PathStyle     bool      `mapstructure:"path_style" doc:"s3: the bucket in the path, not in the host name; always so with an endpoint"`
	// AcceptForeign is for once: the store is this cluster's from then on.
	AcceptForeign bool `mapstructure:"accept_foreign" doc:"begin a new catalog beside segments of another one, which are neither read nor deleted, or serve on over a store that has lost all segments; else serve refuses"`

	Tries          int           `mapstructure:"tries" doc:"of a request that failed for a time, in all"`
	RetryBase      time.Duration `mapstructure:"retry_base" doc:"longest first pause between tries; doubled each time"`
	RetryMax       time.Duration `mapstructure:"retry_max" doc:"longest pause between tries"`
	Timeout        time.Duration `mapstructure:"timeout" doc:"of one try"`
	Concurrency    int           `mapstructure:"concurrency" doc:"requests under way; 0: no bound"`
	BytesPerSecond int64         `mapstructure:"bytes_per_second" doc:"of reads and writes together; 0: no bound"`
}

func defaults() Config {
	var c Config
	c.DataDir = "data"
	c.WAL.KeepFree = 128 << 20
	c.Log.Level, c.Log.Format = "info", "text"
	c.Store.Kind = "dir"
	c.Store.Region = "us-east-1"
	c.Store.Tries, c.Store.RetryBase, c.Store.RetryMax = 5, 50*time.Millisecond, 5*time.Second
	c.Store.Timeout, c.Store.Concurrency = 30*time.Second, 128
	c.Etcd.LeaseTTL = 5 * time.Second
	c.Etcd.History = 5 * time.Minute
	c.engineDefaults()
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

// engineDefaults shows what the engine takes where nothing is set.
func (c *Config) engineDefaults() {
	o := engine.DefaultOptions()
	c.WAL.MaxBytes, c.WAL.FileBytes = o.WALMaxBytes, o.WALFileBytes
	c.Flush.Bytes, c.Flush.Interval, c.Flush.ObjectInterval, c.Flush.SegmentBytes = o.FlushBytes, o.FlushInterval, o.ObjectFlushInterval, o.SegmentBytes
	c.Flush.Parallel = o.FlushParallel
	c.Memory.TailBytes, c.Memory.AppendBytes, c.Memory.CacheBytes = o.TailBytes, o.AppendBytes, o.CacheBytes
	c.Memory.GroupBytes, c.Memory.StateBytes = o.GroupBytes, o.StateBytes
	c.Topics.MaxMessageBytes, c.Topics.AutoCreate.Shards, c.Topics.AutoCreate.Max = o.MaxMessageBytes, o.AutoShards, o.AutoTopics
	c.Background.RetentionInterval, c.Background.MergeInterval = o.RetentionInterval, o.MergeInterval
	c.Background.MergeSegments, c.Background.DeleteGrace = o.MergeSegments, o.DeleteGrace
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
		if key, ok := strings.CutPrefix(name, "ROBUSTMQ_"); ok && !notSettings(key) {
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

// loadUsed is loadConfig for who uses the configuration: it reads the files, too,
// that hold certificates and secrets for etcd and the object store.
func loadUsed(fs *pflag.FlagSet) (Config, error) {
	c, err := loadConfig(fs)
	if err != nil {
		return c, err
	}
	if err := c.loadClients(); err != nil {
		return c, fmt.Errorf("configuration: %w", err)
	}
	return c, nil
}

// notSettings tells whether a variable (without its ROBUSTMQ_) belongs to
// somebody else: to tests and tools, or to the verbs that call the admin API.
func notSettings(key string) bool {
	return slices.Contains([]string{"TOOLS", "BIN", "SERVER", "USER", "PASSWORD"}, key) || strings.HasPrefix(key, "TEST_")
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
	if k, ok := strings.CutPrefix(key, "tls_"); ok && (section == "etcd" || section == "store") {
		key = "tls." + k
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
	if err := strictDecode(all, c, ""); err != nil {
		return fmt.Errorf("configuration: %w (`robustmq config` lists all keys)", err)
	}
	if limits, _ := all["limits"].(map[string]any); limits["max_message_bytes"] == nil {
		c.Limits.MaxMessageBytes = min(c.Limits.MaxMessageBytes, c.batchBound())
	}
	if err := c.check(); err != nil {
		return err
	}
	_, err := settings(c) // the protocols' parts are looked at before anything is started
	return err
}

// batchBound is topics.max_message_bytes as it holds.
func (c *Config) batchBound() int {
	if c.Topics.MaxMessageBytes == 0 {
		return int(engine.DefaultOptions().MaxMessageBytes)
	}
	return int(c.Topics.MaxMessageBytes)
}

// strictDecode decodes a section into a struct. prefix is that of its keys.
func strictDecode(in map[string]any, out any, prefix string) error {
	in, err := withUnits(in, reflect.TypeOf(out).Elem(), prefix)
	if err != nil {
		return err
	}
	d, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result: out, ErrorUnused: true, WeaklyTypedInput: true,
		DecodeHook: mapstructure.StringToSliceHookFunc(","),
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
	for _, o := range c.Security.AllowedOrigins {
		if err := gateway.CheckOriginPattern(o); err != nil {
			errs = append(errs, fmt.Errorf("security.allowed_origins: %w", err))
		}
	}
	if c.Topics.MaxMessageBytes < 0 || int64(c.Topics.MaxMessageBytes) > shard.MaxBatchBytes {
		errs = append(errs, fmt.Errorf("topics.max_message_bytes is over %d", shard.MaxBatchBytes))
	}
	if bound := c.batchBound(); c.Limits.MaxMessageBytes > bound {
		errs = append(errs, fmt.Errorf("limits.max_message_bytes is %d, over topics.max_message_bytes, which is %d: messages between them would be taken and then refused", c.Limits.MaxMessageBytes, bound))
	}
	switch c.Store.Kind {
	case "dir", "s3", "minio", "mem":
	default:
		errs = append(errs, fmt.Errorf("store.kind %q is none of dir, s3, minio, mem", c.Store.Kind))
	}
	if c.Store.Tries < 1 || c.Store.RetryBase <= 0 || c.Store.RetryMax < c.Store.RetryBase || c.Store.Timeout <= 0 {
		errs = append(errs, errors.New("store.tries, store.retry_base and store.timeout have to be positive, store.retry_max at least store.retry_base"))
	}
	if c.Store.Concurrency < 0 || c.Store.BytesPerSecond < 0 {
		errs = append(errs, errors.New("store.concurrency and store.bytes_per_second may not be negative"))
	}
	return errors.Join(append(errs, c.checkEngine()...)...)
}

// checkEngine checks what the engine does not, which takes its default for 0.
func (c *Config) checkEngine() (errs []error) {
	for _, k := range []struct {
		name string
		n    int64
	}{
		{"etcd.lease_ttl", int64(c.Etcd.LeaseTTL)},
		{"etcd.quota_bytes", c.Etcd.Quota},
		{"wal.max_bytes", c.WAL.MaxBytes},
		{"wal.file_bytes", c.WAL.FileBytes},
		{"wal.keep_free_bytes", c.WAL.KeepFree},
		{"flush.bytes", c.Flush.Bytes},
		{"flush.interval", int64(c.Flush.Interval)},
		{"flush.object_interval", int64(c.Flush.ObjectInterval)},
		{"flush.segment_bytes", c.Flush.SegmentBytes},
		{"flush.parallel", int64(c.Flush.Parallel)},
		{"memory.limit", c.Memory.Limit},
		{"memory.connection_bytes", c.Memory.ConnectionBytes},
		{"memory.connections", int64(c.Memory.Connections)},
		{"memory.group_bytes", c.Memory.GroupBytes},
		{"memory.state_bytes", c.Memory.StateBytes},
		{"memory.tail_bytes", c.Memory.TailBytes},
		{"memory.append_bytes", c.Memory.AppendBytes},
		{"memory.cache_bytes", c.Memory.CacheBytes},
		{"topics.auto_create.max", int64(c.Topics.AutoCreate.Max)},
		{"background.retention_interval", int64(c.Background.RetentionInterval)},
		{"background.merge_interval", int64(c.Background.MergeInterval)},
		{"background.merge_segments", int64(c.Background.MergeSegments)},
		{"background.delete_grace", int64(c.Background.DeleteGrace)},
		{"limits.login_timeout", int64(c.Limits.LoginTimeout)},
	} {
		if k.n < 0 {
			errs = append(errs, fmt.Errorf("%s may not be negative", k.name))
		}
	}
	if c.Background.MergeSegments == 1 {
		errs = append(errs, errors.New("background.merge_segments is 1; a merge takes two at least"))
	}
	if n := c.Topics.AutoCreate.Shards; n > engine.MaxShards {
		errs = append(errs, fmt.Errorf("topics.auto_create.shards is %d; a topic has no more than %d", n, engine.MaxShards))
	}
	return errs
}

// level reads log.level.
func (c *Config) level() (level slog.Level, err error) {
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return level, fmt.Errorf("log.level: %w", err)
	}
	return level, nil
}

// logger makes the process's logger, whose level can be changed.
func (c *Config) logger() (*slog.Logger, *slog.LevelVar, error) {
	now, err := c.level()
	if err != nil {
		return nil, nil, err
	}
	level := new(slog.LevelVar)
	level.Set(now)
	opts := &slog.HandlerOptions{Level: level}
	switch c.Log.Format {
	case "json":
		return slog.New(ratelog.New(slog.NewJSONHandler(os.Stderr, opts))), level, nil
	case "text":
		return slog.New(ratelog.New(slog.NewTextHandler(os.Stderr, opts))), level, nil
	}
	return nil, nil, fmt.Errorf("log.format %q is neither text nor json", c.Log.Format)
}

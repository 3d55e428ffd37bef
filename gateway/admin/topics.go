package admin

import (
	"maps"
	"strconv"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// Topic is a topic as the API shows it.
type Topic struct {
	Name     string            `json:"name"`
	Number   uint64            `json:"number" doc:"never used again, not even for a topic of the same name"`
	Shards   uint32            `json:"shards"`
	Captures []string          `json:"captures,omitempty" doc:"subject filters; none: the topic's own name"`
	Created  time.Time         `json:"created"`
	Auto     bool              `json:"auto,omitempty" doc:"made by the first use of its subject"`
	Labels   map[string]string `json:"labels,omitempty"`
	Config   TopicConfig       `json:"config"`
	// LeavesOut is told to who creates or changes a topic.
	LeavesOut      []string `json:"leaves_out,omitempty" doc:"what the captures match and do not take, because other topics have it; at most 20"`
	LeavesOutCount int      `json:"leaves_out_count,omitempty" doc:"how many there are of leaves_out"`
}

// TopicConfig holds the settings of a topic; what is absent or zero is the
// cluster's default.
type TopicConfig struct {
	Durability      *string            `json:"durability,omitempty" doc:"wal, object, memory or default"`
	RetentionMs     *int64             `json:"retention_ms,omitempty" doc:"-1: never; 0: the cluster's default"`
	RetentionBytes  *int64             `json:"retention_bytes,omitempty" doc:"of each shard; -1: no bound; 0: the cluster's default"`
	RetentionHard   *bool              `json:"retention_hard,omitempty" doc:"free what durable cursors have not acknowledged, too"`
	Compact         *bool              `json:"compact,omitempty" doc:"keep the newest record of each key"`
	Delete          *bool              `json:"delete,omitempty" doc:"free by retention"`
	MaxMessageBytes *int32             `json:"max_message_bytes,omitempty" doc:"bound of a record batch; 0: the cluster's default"`
	AppendTime      *bool              `json:"append_time,omitempty" doc:"stamp records with the time of their append"`
	Extra           map[string]*string `json:"extra,omitempty" doc:"settings that a gateway enforces by itself; null removes one"`
}

// TopicCreate is the body that creates a topic.
type TopicCreate struct {
	Name     string            `json:"name"`
	Shards   uint32            `json:"shards,omitempty" doc:"0: the cluster's default"`
	Captures []string          `json:"captures,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Config   TopicConfig       `json:"config"`
}

// TopicUpdate is the body that changes a topic; what is absent stays.
type TopicUpdate struct {
	Shards   *uint32      `json:"shards,omitempty" doc:"may only grow"`
	Captures *[]string    `json:"captures,omitempty"`
	Config   *TopicConfig `json:"config,omitempty"`
}

const maxExtraBytes = 64 << 10

func viewTopic(t *shard.Topic) Topic {
	c := &t.Config
	v := Topic{Name: t.Name, Number: uint64(t.Num), Shards: t.Shards, Captures: t.Captures,
		Created: time.UnixMilli(t.Created).UTC(), Auto: t.Auto, Labels: t.Labels}
	d := c.Durability.String()
	v.Config = TopicConfig{Durability: &d, RetentionMs: &c.RetentionMs, RetentionBytes: &c.RetentionBytes,
		RetentionHard: &c.RetentionHard, Compact: &c.Compact, Delete: &c.Delete,
		MaxMessageBytes: &c.MaxMessageBytes, AppendTime: &c.AppendTime}
	for k, x := range c.Extra {
		if v.Config.Extra == nil {
			v.Config.Extra = make(map[string]*string, len(c.Extra))
		}
		v.Config.Extra[k] = &x
	}
	return v
}

// mostLeftOut bounds the captures that an answer names.
const mostLeftOut = 20

// viewCaptures is viewTopic for who changed what the topic captures.
func (s *Server) viewCaptures(t *shard.Topic) Topic {
	v := viewTopic(t)
	v.LeavesOut, v.LeavesOutCount = shard.LeftOut(s.env.Broker.Topics.List(), t, mostLeftOut)
	return v
}

func set[T any](dst, src *T) {
	if src != nil {
		*dst = *src
	}
}

// apply writes what is present into a topic's settings.
func (c *TopicConfig) apply(to *shard.TopicConfig) error {
	if c.Durability != nil {
		d, err := shard.ParseDurability(*c.Durability)
		if err != nil {
			return err
		}
		to.Durability = d
	}
	set(&to.RetentionMs, c.RetentionMs)
	set(&to.RetentionBytes, c.RetentionBytes)
	set(&to.RetentionHard, c.RetentionHard)
	set(&to.Compact, c.Compact)
	set(&to.Delete, c.Delete)
	set(&to.MaxMessageBytes, c.MaxMessageBytes)
	set(&to.AppendTime, c.AppendTime)
	extra := maps.Clone(to.Extra)
	size := 0
	for k, v := range c.Extra {
		if extra == nil {
			extra = make(map[string]string)
		}
		if v == nil {
			delete(extra, k)
			continue
		}
		size += len(k) + len(*v)
		extra[k] = *v
	}
	to.Extra = extra
	switch {
	case to.RetentionMs < -1 || to.RetentionBytes < -1:
		return shard.Errorf(shard.KindInvalid, "a retention is under -1")
	case to.MaxMessageBytes < 0 || to.MaxMessageBytes > shard.MaxBatchBytes:
		return shard.Errorf(shard.KindInvalid, "max_message_bytes is not from 0 to %d", shard.MaxBatchBytes)
	case size > maxExtraBytes:
		return shard.Errorf(shard.KindTooLarge, "extra is over %d bytes", maxExtraBytes)
	}
	return nil
}

func checkCaptures(cs []string) error {
	for _, c := range cs {
		if _, err := shard.ParseSubjectFilter(c); err != nil {
			return err
		}
	}
	return nil
}

// topic finds a topic that clients may see.
func (r *request) topic() (*shard.Topic, error) {
	t, ok := r.s.env.Broker.Topics.ByName(r.PathValue("name"))
	if !ok || t.Internal {
		return nil, shard.ErrTopicNotFound
	}
	return t, nil
}

func (s *Server) listTopics(r *request) (any, error) {
	all := s.env.Broker.Topics.List()
	all = withPrefix(all, r.URL.Query().Get("prefix"), func(t *shard.Topic) string { return t.Name })
	return paginate(r, all, func(t *shard.Topic) string { return t.Name }, viewTopic)
}

func (s *Server) getTopic(r *request) (any, error) {
	t, err := r.topic()
	if err != nil {
		return nil, err
	}
	return viewTopic(t), nil
}

func (s *Server) createTopic(r *request) (any, error) {
	in, err := body[TopicCreate](r)
	if err != nil {
		return nil, err
	}
	if err := shard.CheckSubject(in.Name); err != nil {
		return nil, err
	}
	if err := checkCaptures(in.Captures); err != nil {
		return nil, err
	}
	if err := r.mayManageTopic(shard.OpCreate, in.Name); err != nil {
		return nil, err
	}
	t := shard.Topic{Name: in.Name, Shards: in.Shards, Captures: in.Captures, Labels: in.Labels}
	if err := r.mayCapture(nil, &t); err != nil {
		return nil, err
	}
	if err := in.Config.apply(&t.Config); err != nil {
		return nil, err
	}
	made, err := s.env.Broker.Topics.Create(r.Context(), t)
	if err != nil {
		return nil, err
	}
	return s.viewCaptures(made), nil
}

func (s *Server) updateTopic(r *request) (any, error) {
	in, err := body[TopicUpdate](r)
	if err != nil {
		return nil, err
	}
	if err := r.mayManageTopic(shard.OpAlter, r.PathValue("name")); err != nil {
		return nil, err
	}
	if _, err := r.topic(); err != nil {
		return nil, err
	}
	if in.Captures != nil {
		if err := checkCaptures(*in.Captures); err != nil {
			return nil, err
		}
	}
	t, err := s.env.Broker.Topics.Update(r.Context(), r.PathValue("name"), func(t *shard.Topic) error {
		if in.Shards != nil && *in.Shards < t.Shards {
			return shard.Errorf(shard.KindInvalid, "topic has %d shards; their number may only grow", t.Shards)
		}
		set(&t.Shards, in.Shards)
		old := t.Captures
		set(&t.Captures, in.Captures)
		if err := r.mayCapture(old, t); err != nil {
			return err
		}
		if in.Config == nil {
			return nil
		}
		return in.Config.apply(&t.Config)
	})
	if err != nil {
		return nil, err
	}
	return s.viewCaptures(t), nil
}

func (s *Server) deleteTopic(r *request) (any, error) {
	if err := r.mayManageTopic(shard.OpDelete, r.PathValue("name")); err != nil {
		return nil, err
	}
	t, err := r.topic()
	if err != nil {
		return nil, err
	}
	return nil, s.env.Broker.Topics.Delete(r.Context(), t.Name)
}

// Shard is one shard with its offsets as of now.
type Shard struct {
	Topic  string `json:"topic"`
	Index  uint32 `json:"index"`
	Leader string `json:"leader" doc:"name of the gateway that owns it; empty while nobody does"`
	Epoch  int32  `json:"epoch"`
	Start  int64  `json:"start" doc:"first offset that can be read"`
	End    int64  `json:"end" doc:"offset after the last visible record"`
	Stable int64  `json:"stable" doc:"before it no transaction is open"`
	Error  string `json:"error,omitempty" doc:"why its offsets are not known here"`
}

// Segment is where records of a shard are in object storage.
type Segment struct {
	Object   string    `json:"object"`
	Size     int64     `json:"size" doc:"bytes of the whole object"`
	Level    int       `json:"level"`
	Created  time.Time `json:"created"`
	Base     int64     `json:"base" doc:"first offset"`
	Last     int64     `json:"last" doc:"last offset"`
	Records  int64     `json:"records"`
	Position int64     `json:"position" doc:"byte in the object"`
	Length   int64     `json:"length" doc:"bytes"`
	MinTime  time.Time `json:"min_time"`
	MaxTime  time.Time `json:"max_time"`
}

func (r *request) viewShard(t *shard.Topic, index uint32) Shard {
	id := t.Shard(index)
	v := Shard{Topic: t.Name, Index: index}
	if n, epoch, ok := r.s.env.Broker.Cluster.Leader(id); ok {
		v.Leader, v.Epoch = n.Name, epoch
	}
	b, err := r.s.env.Broker.Log.Bounds(r.Context(), id)
	if err != nil {
		v.Error = err.Error()
		return v
	}
	v.Start, v.End, v.Stable = b.Start, b.End, b.Stable
	return v
}

func (s *Server) listShards(r *request) (any, error) {
	t, err := r.topic()
	if err != nil {
		return nil, err
	}
	limit, err := r.limit()
	if err != nil {
		return nil, err
	}
	from := uint64(0)
	if after := r.URL.Query().Get("after"); after != "" {
		n, err := strconv.ParseUint(after, 10, 32)
		if err != nil {
			return nil, shard.Errorf(shard.KindInvalid, "after %q is no shard index", after)
		}
		from = n + 1
	}
	p := page[Shard]{Items: []Shard{}}
	for i := from; i < uint64(t.Shards); i++ {
		if len(p.Items) == limit {
			p.Next = strconv.FormatUint(i-1, 10)
			break
		}
		p.Items = append(p.Items, r.viewShard(t, uint32(i)))
	}
	return p, nil
}

func (r *request) shard() (*shard.Topic, uint32, error) {
	t, err := r.topic()
	if err != nil {
		return nil, 0, err
	}
	i, err := strconv.ParseUint(r.PathValue("index"), 10, 32)
	if err != nil || i >= uint64(t.Shards) {
		return nil, 0, shard.Errorf(shard.KindNotFound, "topic %q has no shard %q", t.Name, r.PathValue("index"))
	}
	return t, uint32(i), nil
}

func (s *Server) getShard(r *request) (any, error) {
	t, i, err := r.shard()
	if err != nil {
		return nil, err
	}
	return r.viewShard(t, i), nil
}

func (s *Server) listSegments(r *request) (any, error) {
	t, i, err := r.shard()
	if err != nil {
		return nil, err
	}
	// Offsets have their own order, not that of their text: pad them.
	key := func(x Segment) string { return pad(x.Base) }
	return paginate(r, s.env.Engine.Segments(t.Shard(i)), key, same)
}

func pad(n int64) string {
	s := strconv.FormatInt(n, 10)
	const width = 19
	for len(s) < width {
		s = "0" + s
	}
	return s
}

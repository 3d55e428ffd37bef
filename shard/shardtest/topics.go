package shardtest

import (
	"errors"
	"fmt"

	"github.com/robustmq/robustmq-go/shard"
)

var topicTests = []test{
	{"resolve", func(e *env) {
		_, err := e.Broker.Topics.Resolve(e.ctx, "a.b", false)
		if !errors.Is(err, shard.ErrTopicNotFound) {
			e.Fatal(err)
		}
		t := e.topic("a.b")
		if t.Name != "a.b" || !t.Auto || t.Shards == 0 || t.Num == 0 {
			e.Fatalf("%+v", t)
		}
		if again := e.topic("a.b"); again.Num != t.Num {
			e.Fatal("another topic for the same subject")
		}
		_, err = e.Broker.Topics.Resolve(e.ctx, "", true)
		e.kind(err, shard.KindInvalid)
	}},
	{"the most specific capture wins", func(e *env) {
		wide := e.create(shard.Topic{Name: "wide", Captures: []string{"s.>"}})
		narrow := e.create(shard.Topic{Name: "narrow", Captures: []string{"s.*.temp"}})
		exact := e.create(shard.Topic{Name: "s.k.temp"})
		for subject, want := range map[string]*shard.Topic{"s.x": wide, "s.x.temp": narrow, "s.k.temp": exact, "s.k.hum": wide} {
			if t := e.topic(subject); t.Num != want.Num {
				e.Errorf("%s went to %s", subject, t.Name)
			}
		}
	}},
	{"conflicts", func(e *env) {
		e.create(shard.Topic{Name: "a", Captures: []string{"s.*.x"}})
		_, err := e.Broker.Topics.Create(e.ctx, shard.Topic{Name: "a"})
		if !errors.Is(err, shard.ErrTopicExists) {
			e.Error(err)
		}
		_, err = e.Broker.Topics.Create(e.ctx, shard.Topic{Name: "b", Captures: []string{"s.*.x"}})
		if !errors.Is(err, shard.ErrCaptureConflict) {
			e.Error(err)
		}
		_, err = e.Broker.Topics.Create(e.ctx, shard.Topic{Name: "c", Captures: []string{"x..y"}})
		e.kind(err, shard.KindInvalid)
		e.create(shard.Topic{Name: "d", Captures: []string{"s.*.y"}})
	}},
	{"update", func(e *env) {
		t := e.create(shard.Topic{Name: "a", Shards: 2, Labels: map[string]string{"l": "1"}})
		changed := e.Broker.Topics.Changed()
		n, err := e.Broker.Topics.Update(e.ctx, "a", func(t *shard.Topic) error {
			t.Shards, t.Labels["l"] = 4, "2"
			return nil
		})
		e.must(err)
		<-changed
		got, _ := e.Broker.Topics.ByName("a")
		if n.Shards != 4 || got.Shards != 4 || got.Num != t.Num || t.Labels["l"] != "1" || got.Labels["l"] != "2" {
			e.Fatalf("%+v", got)
		}
		e.append(t.Shard(3), shard.BatchOf(shard.Record{}), shard.AppendOptions{})
		_, err = e.Broker.Topics.Update(e.ctx, "a", func(t *shard.Topic) error { t.Shards = 1; return nil })
		e.kind(err, shard.KindInvalid)
		_, err = e.Broker.Topics.Update(e.ctx, "none", func(*shard.Topic) error { return nil })
		e.kind(err, shard.KindNotFound)
	}},
	{"delete", func(e *env) {
		e.publish("a", "1")
		old := e.topic("a")
		e.must(e.Broker.Topics.Delete(e.ctx, "a"))
		e.kind(e.Broker.Topics.Delete(e.ctx, "a"), shard.KindNotFound)
		if _, ok := e.Broker.Topics.ByNum(old.Num); ok {
			e.Error("still there by number")
		}
		_, err := e.Broker.Log.Read(e.ctx, old.Shard(0), 0, shard.ReadOptions{})
		e.kind(err, shard.KindNotFound)
		if t := e.topic("a"); t.Num == old.Num {
			e.Error("the number was used again")
		}
		e.equal(e.publish("a", "2").Base, 0)
	}},
	{"list", func(e *env) {
		for _, n := range []string{"c", "a", "b"} {
			e.topic(n)
		}
		var names []string
		for _, t := range e.Broker.Topics.List() {
			names = append(names, t.Name)
		}
		e.equal(names, []string{"a", "b", "c"})
	}},
	{"past the bound", func(e *env) {
		if e.AutoTopics == 0 {
			return
		}
		for i := range e.AutoTopics {
			e.topic(fmt.Sprint("auto", i))
		}
		g := e.group(shard.GroupConfig{Name: "g"}, "over.*")
		_, in := e.attach(g, shard.ConsumerConfig{})
		if t := e.topic("over.1"); t.Name != shard.CatchAllTopic {
			e.Fatal(t.Name)
		}
		e.publish("over.1", "x")
		e.publish("other", "y")
		e.want(in, "x")
	}},
}

var clusterTests = []test{
	{"one node", func(e *env) {
		c := e.Broker.Cluster
		t := e.topic("t")
		n, _, ok := c.Leader(t.Shard(0))
		if !ok || n.ID != c.Self().ID || len(c.Nodes()) != 1 || c.ID() == "" {
			e.Fatal(n, ok, c.Nodes())
		}
		if n, ok := c.Owner("group/x"); !ok || n.ID != c.Self().ID {
			e.Fatal(n, ok)
		}
	}},
	{"ids are taken once", func(e *env) {
		seen := make(map[int64]bool)
		for range 20 {
			first, err := e.Broker.Cluster.NextIDs(e.ctx, "c", 3)
			e.must(err)
			for i := first; i < first+3; i++ {
				if seen[i] {
					e.Fatalf("%d came twice", i)
				}
				seen[i] = true
			}
		}
	}},
}

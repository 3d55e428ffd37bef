package shardtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

func (e *env) subscribe() (shard.Subscription, *inbox) {
	in := &inbox{}
	s := e.Broker.Live.Subscribe(subscriber{in})
	e.Cleanup(s.Close)
	return s, in
}

var liveTests = []test{
	{"early and durable", func(e *env) {
		early, ei := e.subscribe()
		durable, di := e.subscribe()
		e.must(early.Add(1, e.filter("a.*"), shard.LiveOptions{}))
		e.must(durable.Add(2, e.filter("a.*"), shard.LiveOptions{Durable: true}))
		e.publish("a.b", "1", "2")
		e.publish("b", "3")
		e.publish("a.c", "4")
		e.messages(ei, "a.b 1 [1]", "a.b 2 [1]", "a.c 4 [1]")
		e.messages(di, "a.b 1 [2]", "a.b 2 [2]", "a.c 4 [2]")
	}},
	{"order", func(e *env) {
		s, in := e.subscribe()
		e.must(s.Add(1, e.filter("t"), shard.LiveOptions{Durable: true}))
		var want []string
		for i := range 500 {
			want = append(want, fmt.Sprintf("t %d [1]", i))
			e.Broker.Log.Append(e.ctx, e.topic("t").Shard(0), shard.BatchOf(record(e.topic("t"), "t", fmt.Sprint(i))),
				shard.AppendOptions{}, shard.CompletionFunc(func(shard.AppendResult) {}))
		}
		e.messages(in, want...)
	}},
	{"filters of one subscriber are merged", func(e *env) {
		s, in := e.subscribe()
		for i, f := range []string{"a.b", "a.*", "a.>", "c"} {
			e.must(s.Add(shard.SubID(i), e.filter(f), shard.LiveOptions{}))
		}
		e.publish("a.b", "1")
		e.messages(in, "a.b 1 [0 1 2]")
		s.Remove(1)
		e.must(s.Add(2, e.filter("x"), shard.LiveOptions{}))
		e.publish("a.b", "2")
		e.publish("x", "3")
		e.messages(in, "a.b 2 [0]", "x 3 [2]")
		s.Close()
		e.publish("a.b", "4")
		e.messages(in)
	}},
	{"queue", func(e *env) {
		var ins []*inbox
		for range 3 {
			s, in := e.subscribe()
			e.must(s.Add(1, e.filter("t"), shard.LiveOptions{Queue: "q"}))
			ins = append(ins, in)
		}
		for i := range 60 {
			e.publish("t", fmt.Sprint(i))
		}
		var all []string
		e.eventually("60 messages", func() bool {
			for _, in := range ins {
				all = append(all, in.takeMessages()...)
			}
			return len(all) >= 60
		})
		time.Sleep(silence)
		for _, in := range ins {
			all = append(all, in.takeMessages()...)
		}
		n := len(all)
		slices.Sort(all)
		if all = slices.Compact(all); n != 60 || len(all) != 60 {
			e.Fatalf("%d messages, %d of them distinct", n, len(all))
		}
	}},
	{"not from", func(e *env) {
		s, in := e.subscribe()
		e.must(s.Add(1, e.filter("t"), shard.LiveOptions{NotFrom: 5}))
		t := e.topic("t")
		e.append(t.Shard(0), shard.BatchOf(record(t, "t", "mine")), shard.AppendOptions{Origin: 5})
		e.append(t.Shard(0), shard.BatchOf(record(t, "t", "theirs")), shard.AppendOptions{Origin: 6})
		e.messages(in, "t theirs [1]")
	}},
	{"relay", func(e *env) {
		s, in := e.subscribe()
		e.must(s.Add(1, e.filter("_INBOX.x.*"), shard.LiveOptions{}))
		n := e.Broker.Live.Relay([]shard.Message{
			{Subject: "_INBOX.x.1", Record: &shard.Record{Value: []byte("hi")}},
			{Subject: "_INBOX.y.1", Record: &shard.Record{Value: []byte("no")}},
		})
		e.equal(n, 1)
		e.messages(in, "_INBOX.x.1 hi [1]")
		if !e.Broker.Live.Interest("_INBOX.x.9") || e.Broker.Live.Interest("_INBOX.y.9") {
			e.Error("interest is wrong")
		}
		if _, err := e.Broker.Topics.Resolve(e.ctx, "_INBOX.x.1", false); err == nil {
			e.Error("a relayed message made a topic")
		}
	}},
	{"mqtt names", func(e *env) {
		s, in := e.subscribe()
		for i, text := range []string{"a/+", "a.b", "x.y/#"} {
			f, err := shard.ParseMQTTFilter(text)
			e.must(err)
			e.must(s.Add(shard.SubID(i), f, shard.LiveOptions{}))
		}
		e.publish("a.b", "foreign")
		t := e.topic("x.y.z")
		e.append(t.Shard(0), shard.BatchOf(record(t, "x.y.z", "exact", shard.Header{Name: shard.HeaderMQTTTopic, Value: []byte("x.y/z")})), shard.AppendOptions{})
		e.messages(in, "a.b foreign [0 1]", "x.y.z exact [2]")
	}},
}

package mqtt

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
)

func TestRetained(t *testing.T) {
	eachVersion(t, func(t *testing.T, v packet.Version) {
		b := newBed(t, bedOptions{})
		p := b.connect(clean(v, "p"))
		early := b.connect(clean(v, "early"))
		early.subscribe("r/#", 0)
		p.publish("r/1", "old", 1, 1, retained)
		p.expect("PUBACK 1")
		early.expect(`PUBLISH r/1 "old" q0`)    // [MQTT-3.3.1-12]
		p.publish("r/1", "new", 1, 2, retained) // [MQTT-3.3.1-5]
		p.expect("PUBACK 2")
		p.publish("r/2", "gone", 1, 3, retained)
		p.expect("PUBACK 3")
		p.publish("r/2", "", 1, 4, retained) // [MQTT-3.3.1-6]
		p.expect("PUBACK 4")
		p.publish("r/1", "not kept", 1, 5) // [MQTT-3.3.1-8]
		p.expect("PUBACK 5")
		early.expect(`PUBLISH r/1 "new" q0`, `PUBLISH r/2 "gone" q0`, `PUBLISH r/2 "" q0`, `PUBLISH r/1 "not kept" q0`)
		late := b.connect(clean(v, "late"))
		late.subscribe("r/#", 0)
		late.expect(`PUBLISH r/1 "new" q0 retain`)
		late.subscribe("r/#", 0) // again [MQTT-3.8.4-3]
		late.expect(`PUBLISH r/1 "new" q0 retain`)
		late.quiet()
	})
}

// TestRetainedOverTheTopicsBound: a message that the topic does not take is not kept.
func TestRetainedOverTheTopicsBound(t *testing.T) {
	b := newBed(t, bedOptions{})
	topic := shard.Topic{Name: "small", Shards: 1, Config: shard.TopicConfig{MaxMessageBytes: 1000}}
	if _, err := b.mem.Broker().Topics.Create(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	p := b.connect(clean(5, "p"))
	p.publish("small", "x", 1, 1, retained)
	p.expect("PUBACK 1")
	p.publish("small", strings.Repeat("y", 2000), 1, 2, retained)
	p.expect("PUBACK 2 0x97")
	s := b.connect(clean(5, "s"))
	s.subscribe("small", 0)
	s.expect(`PUBLISH small "x" q0 retain`)
	s.quiet()
}

func TestRetainHandling(t *testing.T) { // [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]
	b := newBed(t, bedOptions{})
	p := b.connect(clean(5, "p"))
	p.publish("r", "x", 1, 1, retained)
	p.expect("PUBACK 1")
	with := func(rh uint8, id uint32) func(*packet.Subscribe) {
		return func(s *packet.Subscribe) {
			s.Filters[0].RetainHandling = rh
			if id > 0 {
				s.Props = s.Props.AddNum(packet.PropSubscriptionID, id)
			}
		}
	}
	s := b.connect(clean(5, "s"))
	s.subscribe("r", 0, with(2, 0))
	s.subscribe("r", 0, with(1, 0))
	s.quiet()
	s.subscribe("r", 0, with(0, 9))
	s.expect(`PUBLISH r "x" q0 retain 11:9`)
	s.subscribe("+", 0, with(1, 0))
	s.expect(`PUBLISH r "x" q0 retain`)
	s.quiet()
}

func TestRetainAsPublished(t *testing.T) { // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
	b := newBed(t, bedOptions{})
	s := b.connect(clean(5, "s"))
	s.subscribe("r", 0, func(k *packet.Subscribe) { k.Filters[0].RetainAsPublished = true })
	p := b.connect(clean(5, "p"))
	p.publish("r", "1", 0, 0, retained)
	p.publish("r", "2", 0, 0)
	s.expect(`PUBLISH r "1" q0 retain`, `PUBLISH r "2" q0`)
}

// TestRetainedSurvivesRestart reads the retained messages of the last process.
func TestRetainedSurvivesRestart(t *testing.T) {
	b := newBed(t, bedOptions{})
	p := b.connect(clean(5, "p"))
	p.publish("a/b.c", "kept", 1, 1, retained, func(k *packet.Publish) { k.Props = k.Props.AddUser("k", []byte("v")) })
	p.expect("PUBACK 1")
	p.bye()
	b = b.restart(bedOptions{})
	s := b.connect(clean(5, "s"))
	s.subscribe("#", 0)
	s.expect(`PUBLISH a/b.c "kept" q0 retain 38:k=v`)
}

// TestManyRetained: retained messages are not dropped however many there are.
func TestManyRetained(t *testing.T) {
	b := newBed(t, bedOptions{})
	p := b.connect(clean(5, "p"))
	const n = 300
	big := strings.Repeat("x", 4000)
	for i := range n {
		p.publish(fmt.Sprintf("many/%d", i), big, 1, uint16(i+1), retained)
		p.expect(fmt.Sprintf("PUBACK %d", i+1))
	}
	s := b.connect(clean(5, "s"))
	s.subscribe("many/+", 0)
	for range n {
		if k, ok := s.read().(*packet.Publish); !ok || !k.Retain || len(k.Payload) != len(big) {
			t.Fatalf("got %v", k)
		}
	}
	s.quiet()
}

// TestRetainTree holds the tree against shard.Filter.Match.
func TestRetainTree(t *testing.T) {
	names := []string{"a", "a/b", "a/b/c", "/", "/a", "a/", "a//b", "$SYS/x", "$x", "b", "a/$b", "é/ü"}
	filters := []string{"#", "+", "a/#", "a/+", "+/+", "/#", "/+", "+/b/#", "a//b", "a/+/b", "$SYS/#", "$SYS/+", "+/x", "a/b/c/#", "é/+", "$x", "+/$b"}
	mem := shardmem.New(shardmem.Options{})
	defer mem.Close()
	s := newRetainStore(mem.Broker().State)
	check := func(present []string) {
		t.Helper()
		for _, text := range filters {
			f, err := shard.ParseMQTTFilter(text)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, n := range present {
				if f.Match(n) {
					want = append(want, n)
				}
			}
			got := s.match(f)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s: got %q, want %q", text, got, want)
			}
		}
		if s.count() != len(present) {
			t.Errorf("count %d, want %d", s.count(), len(present))
		}
	}
	for _, n := range names {
		s.note(n, true)
		s.note(n, true)
	}
	check(names)
	for i, n := range names {
		s.note(n, false)
		s.note("not/there", false)
		check(names[i+1:])
	}
	if len(s.mu.root.next) != 0 {
		t.Error("levels are left over")
	}
}

func TestSys(t *testing.T) {
	b := newBed(t, bedOptions{config: func(c *Config) { c.SysInterval = 1e7 }})
	s := b.connect(clean(5, "s"))
	s.subscribe("$SYS/broker/clients/+", 0)
	seen := make(map[string]bool)
	for range 3 {
		k, ok := s.read().(*packet.Publish)
		if !ok || !k.Retain {
			t.Fatalf("got %v", k)
		}
		seen[string(k.Topic)+" "+string(k.Payload)] = true
	}
	if !seen["$SYS/broker/clients/connected 1"] || !seen["$SYS/broker/clients/total 1"] {
		t.Fatalf("got %v", seen)
	}
	if k, ok := s.read().(*packet.Publish); !ok || k.Retain || !strings.HasPrefix(string(k.Topic), "$SYS/broker/clients/") {
		t.Fatalf("got %v", k)
	}
	all := b.connect(clean(4, "all"))
	all.subscribe("#", 0)
	all.quiet() // [MQTT-4.7.2-1]
}

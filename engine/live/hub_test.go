package live

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/robustmq/robustmq-go/shard"
)

func mustFilter(t testing.TB, s string) shard.Filter {
	t.Helper()
	f, err := parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func parse(s string) (shard.Filter, error) {
	if rest, ok := strings.CutPrefix(s, "mqtt:"); ok {
		return shard.ParseMQTTFilter(rest)
	}
	if rest, ok := strings.CutPrefix(s, "amqp:"); ok {
		return shard.ParseAMQPFilter("", rest)
	}
	return shard.ParseSubjectFilter(s)
}

// recorder notes "subject value [ids]" per message.
type recorder struct {
	mu    sync.Mutex
	got   []string
	calls int
}

func (r *recorder) Deliver(ms []shard.Message, ids []shard.SubID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	ids = slices.Clone(ids)
	slices.Sort(ids)
	for i := range ms {
		r.got = append(r.got, fmt.Sprintf("%s %s %v", ms[i].Subject, ms[i].Record.Value, ids))
	}
}

func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got, r.calls = nil, 0
	return got
}

func record(topic, subject, value string, headers ...shard.Header) shard.Record {
	if subject != topic {
		headers = append(headers, shard.Header{Name: shard.HeaderSubject, Value: []byte(subject)})
	}
	return shard.Record{Timestamp: time.Now().UnixMilli(), Value: []byte(value), Headers: headers}
}

func newTopic(name string, captures ...string) *shard.Topic {
	return &shard.Topic{Num: 1, Name: name, Shards: 1, Captures: captures}
}

func TestDeliver(t *testing.T) {
	topic := newTopic("t", "a.>", "t")
	batch := func() *shard.Batch {
		return shard.BatchOf(record("t", "a.b", "1"), record("t", "a.b", "2"), record("t", "a.c", "3"),
			record("t", "a.b", "4", shard.Header{Name: shard.HeaderMQTTTopic, Value: []byte("x.y/z")}))
	}
	for name, c := range map[string]struct {
		filters []string
		want    string
		calls   int
	}{
		"one":       {[]string{"a.b"}, "a.b 1 [0]|a.b 2 [0]|a.b 4 [0]", 2},
		"merged":    {[]string{"a.b", "a.*"}, "a.b 1 [0 1]|a.b 2 [0 1]|a.c 3 [1]|a.b 4 [0 1]", 3},
		"mqtt":      {[]string{"mqtt:a/+", "mqtt:x.y/#"}, "a.b 1 [0]|a.b 2 [0]|a.c 3 [0]|a.b 4 [1]", 3},
		"verbatim":  {[]string{"mqtt:a.b", "mqtt:a/b"}, "a.b 1 [0 1]|a.b 2 [0 1]", 1},
		"amqp many": {[]string{"amqp:#.b.#", "amqp:#.#.c"}, "a.b 1 [0]|a.b 2 [0]|a.c 3 [1]|a.b 4 [0]", 3},
		"nothing":   {[]string{"b.>", "mqtt:a"}, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := NewHub(nil, nil)
			early, durable := &recorder{}, &recorder{}
			es, ds := h.Subscribe(early), h.Subscribe(durable)
			for i, f := range c.filters {
				if err := es.Add(shard.SubID(i), mustFilter(t, f), shard.LiveOptions{}); err != nil {
					t.Fatal(err)
				}
				if err := ds.Add(shard.SubID(i), mustFilter(t, f), shard.LiveOptions{Durable: true}); err != nil {
					t.Fatal(err)
				}
			}
			b := batch()
			h.Assigned(topic, 0, b, 0)
			if calls := early.calls; calls != c.calls {
				t.Errorf("%d calls, want %d", calls, c.calls)
			}
			if got := strings.Join(early.take(), "|"); got != c.want {
				t.Errorf("early got %s\nwant %s", got, c.want)
			}
			if got := durable.take(); got != nil {
				t.Errorf("durable got %v too early", got)
			}
			h.Durable(topic, 0, b, 0)
			if got := strings.Join(durable.take(), "|"); got != c.want {
				t.Errorf("durable got %s\nwant %s", got, c.want)
			}
			es.Close()
			ds.Close()
			h.Assigned(topic, 0, b, 0)
			h.Durable(topic, 0, b, 0)
			if got := append(early.take(), durable.take()...); got != nil || h.index.Len() != 0 || !h.index.subject.empty() || !h.index.mqtt.empty() {
				t.Errorf("after close: %v, %d filters", got, h.index.Len())
			}
		})
	}
}

func TestNotFromAndExpiry(t *testing.T) {
	h, r := NewHub(nil, nil), &recorder{}
	s := h.Subscribe(r)
	_ = s.Add(1, mustFilter(t, "t"), shard.LiveOptions{NotFrom: 7})
	_ = s.Add(2, mustFilter(t, "*"), shard.LiveOptions{})
	topic := newTopic("t")
	h.Assigned(topic, 0, shard.BatchOf(record("t", "t", "mine")), 7)
	h.Assigned(topic, 0, shard.BatchOf(record("t", "t", "theirs")), 8)
	// What comes has its time before it, whatever time its writer gave it.
	old := record("t", "t", "old", shard.Header{Name: shard.HeaderExpiration, Value: []byte("1000")})
	old.Timestamp -= 2000
	young := old
	young.Timestamp += 60_000
	young.Value = []byte("young")
	h.Assigned(topic, 0, shard.BatchOf(old, young), 0)
	if got, want := strings.Join(r.take(), "|"), "t mine [2]|t theirs [1 2]|t old [1 2]|t young [1 2]"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
}

func TestQueueTakesEachOnce(t *testing.T) {
	h := NewHub(nil, nil)
	var rs [4]recorder
	var subs [4]shard.Subscription
	for i := range rs {
		subs[i] = h.Subscribe(&rs[i])
		q := "q"
		if i == 3 {
			q = "other"
		}
		_ = subs[i].Add(1, mustFilter(t, "t"), shard.LiveOptions{Queue: q})
	}
	topic := newTopic("t")
	for i := range 300 {
		h.Assigned(topic, 0, shard.BatchOf(record("t", "t", fmt.Sprint(i))), 0)
	}
	if n := len(rs[3].take()); n != 300 {
		t.Fatalf("the other queue got %d", n)
	}
	seen := make(map[string]bool)
	for i := range 3 {
		got := rs[i].take()
		if len(got) < 40 {
			t.Errorf("member %d got only %d", i, len(got))
		}
		for _, g := range got {
			if seen[g] {
				t.Errorf("%s came twice", g)
			}
			seen[g] = true
		}
	}
	if len(seen) != 300 {
		t.Fatalf("%d messages came", len(seen))
	}
	subs[0].Close()
	subs[1].Remove(1)
	h.Assigned(topic, 0, shard.BatchOf(record("t", "t", "x"), record("t", "t", "y")), 0)
	if n := len(rs[2].take()); n != 2 {
		t.Fatalf("the last member got %d", n)
	}
}

// queued takes so many messages of its queue and no more.
type queued struct {
	recorder
	left int
}

func (q *queued) DeliverQueued(ms []shard.Message, id shard.SubID) int {
	n := min(q.left, len(ms))
	if n > 0 {
		q.Deliver(ms[:n], []shard.SubID{id})
		q.left -= n
	}
	return n
}

// TestQueueGoesOn: what a member does not take goes to others with the queue,
// under whatever pattern.
func TestQueueGoesOn(t *testing.T) {
	for range 20 {
		h := NewHub(nil, nil)
		few, all := &queued{left: 2}, &recorder{}
		_ = h.Subscribe(few).Add(1, mustFilter(t, "t"), shard.LiveOptions{Queue: "q"})
		s := h.Subscribe(all)
		_ = s.Add(1, mustFilter(t, "*"), shard.LiveOptions{Queue: "q"})
		recs := make([]shard.Record, 10)
		for i := range recs {
			recs[i] = record("t", "t", fmt.Sprint(i))
		}
		topic := newTopic("t")
		h.Assigned(topic, 0, shard.BatchOf(recs...), 0)
		if n := len(few.take()) + len(all.take()); n != 10 {
			t.Fatalf("%d of 10 messages came", n)
		}
		s.Close()
		few.left = 1
		h.Assigned(topic, 0, shard.BatchOf(recs...), 0)
		if n := len(few.take()); n != 1 {
			t.Fatalf("%d messages came where one was wanted", n)
		}
	}
}

func TestRelayAndInterest(t *testing.T) {
	h, r := NewHub(nil, nil), &recorder{}
	s := h.Subscribe(r)
	_ = s.Add(1, mustFilter(t, "_INBOX.a.*"), shard.LiveOptions{})
	_ = s.Add(2, mustFilter(t, "mqtt:_INBOX/#"), shard.LiveOptions{Durable: true})
	ms := []shard.Message{
		{Subject: "_INBOX.a.1", Record: &shard.Record{Value: []byte("x")}},
		{Subject: "_INBOX.a.1", Record: &shard.Record{Value: []byte("y")}},
		{Subject: "_INBOX.b.1", Record: &shard.Record{Value: []byte("z")}},
		{Subject: "nobody", Record: &shard.Record{}},
	}
	if n := h.Relay(ms); n != 5 || len(r.take()) != 5 {
		t.Fatalf("%d deliveries", n)
	}
	for subject, want := range map[string]bool{"_INBOX.a.7": true, "_INBOX.b": true, "other": false} {
		if h.Interest(subject) != want {
			t.Errorf("interest in %s: %v", subject, !want)
		}
	}
	_ = s.Add(3, mustFilter(t, "mine"), shard.LiveOptions{NotFrom: 7})
	if h.InterestIn("mine", 7) || !h.InterestIn("mine", 8) || h.InterestIn("other", 8) {
		t.Error("what a filter leaves out is told wrongly")
	}
	_ = s.Add(4, mustFilter(t, "mine"), shard.LiveOptions{Queue: "q"})
	if !h.InterestIn("mine", 7) {
		t.Error("a member of a queue is not counted")
	}
}

func TestNoDeliveryAfterRemove(t *testing.T) {
	h, topic := NewHub(nil, nil), newTopic("t")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				h.Assigned(topic, 0, shard.BatchOf(record("t", "t", "x")), 0)
			}
		}
	}()
	for range 300 {
		r := &recorder{}
		s := h.Subscribe(r)
		_ = s.Add(1, mustFilter(t, "t"), shard.LiveOptions{})
		s.Remove(1)
		before := r.take()
		time.Sleep(20 * time.Microsecond)
		if after := r.take(); after != nil {
			t.Fatalf("%d before, %d after Remove", len(before), len(after))
		}
	}
	close(stop)
	<-done
}

func TestBadBatchIsSkipped(t *testing.T) {
	var out strings.Builder
	h, r := NewHub(newLogger(&out), nil), &recorder{}
	_ = h.Subscribe(r).Add(1, mustFilter(t, ">"), shard.LiveOptions{})
	good := shard.BatchOf(record("t", "t", "good"))
	for range 3 {
		h.Assigned(newTopic("t"), 0, brokenBatch(t), 0)
	}
	h.Assigned(newTopic("t"), 0, good, 0)
	if got := r.take(); len(got) != 1 || strings.Count(out.String(), "cannot be decoded") != 1 {
		t.Fatalf("got %v; log: %s", got, out.String())
	}
}

// TestIndexMatchesAsFilters compares the trie with Filter.MatchMessage.
func TestIndexMatchesAsFilters(t *testing.T) {
	tok := rapid.SampledFrom([]string{"a", "b", "", "$x", "c.d"})
	rapid.Check(t, func(t *rapid.T) {
		x := NewIndex(func(vs []int) *[]int { slices.Sort(vs); return &vs })
		var fs []shard.Filter
		for i := range rapid.IntRange(1, 8).Draw(t, "filters") {
			f := shard.Filter{Space: shard.Space(rapid.IntRange(0, 1).Draw(t, "space"))}
			n := rapid.IntRange(1, 5).Draw(t, "tokens")
			for k := range n {
				kind := shard.TokenKind(rapid.IntRange(0, 3).Draw(t, "kind"))
				if kind == shard.TokenRest && k != n-1 {
					kind = shard.TokenMany
				}
				tk := shard.Token{Kind: kind}
				if kind == shard.TokenLiteral {
					tk.Text = tok.Draw(t, "text")
					if f.Space == shard.SpaceSubject {
						tk.Text = strings.ReplaceAll(tk.Text, ".", "")
					}
				}
				f.Tokens = append(f.Tokens, tk)
			}
			fs = append(fs, f)
			x.Add(f, i)
		}
		subject := strings.Join(rapid.SliceOfN(tok, 1, 5).Draw(t, "subject"), ".")
		r := &shard.Record{}
		switch rapid.IntRange(0, 2).Draw(t, "how") {
		case 1:
			r.Headers = []shard.Header{{Name: shard.HeaderMQTT, Value: []byte("0")}}
		case 2:
			r.Headers = []shard.Header{{Name: shard.HeaderMQTTTopic, Value: []byte(strings.Join(rapid.SliceOfN(tok, 1, 4).Draw(t, "mqtt"), "/"))}}
		}
		var want []int
		for i, f := range fs {
			if f.MatchMessage(subject, r) {
				want = append(want, i)
			}
		}
		for range 2 {
			var got []int
			if m := x.Match(subject, r); m != nil {
				got = *m
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%q %v: got %v, want %v of %v", subject, r.Headers, got, want, fs)
			}
		}
		if topic := (&shard.Topic{Num: 1, Name: subject}); len(want) > 0 && r.Headers == nil && !x.CanMatch(topic) {
			t.Fatalf("%q cannot match, they say, but %v do", subject, want)
		}
		for i, f := range fs {
			x.Remove(f, i)
		}
		if x.Len() != 0 || !x.subject.empty() || !x.mqtt.empty() {
			t.Fatal("the index is not empty after all were removed")
		}
	})
}

func TestManyManyIsNotExponential(t *testing.T) {
	x := NewIndex(func(vs []int) *[]int { return &vs })
	x.Add(mustFilter(t, "amqp:"+strings.Repeat("#.a.", 50)+"z"), 1)
	start := time.Now()
	if m := x.Match(strings.Repeat("a.", 127)+"a", &shard.Record{}); m != nil {
		t.Fatal("matched")
	}
	if d := time.Since(start); d > time.Second {
		t.Fatalf("took %v", d)
	}
}

func TestCanMatch(t *testing.T) {
	for _, c := range []struct {
		filter string
		topic  *shard.Topic
		want   bool
	}{
		{"a.b", newTopic("a.b"), true},
		{"a.c", newTopic("a.b"), false},
		{"a.*", newTopic("t", "a.>"), true},
		{"b.*", newTopic("t", "a.>"), false},
		{"mqtt:a.b/c", newTopic("a.b.c"), true},
		{"mqtt:+/c", newTopic("a.b.c"), true},
		{"mqtt:b/#", newTopic("a.b.c"), false},
		{"x", newTopic(shard.CatchAllTopic), true},
	} {
		x := NewIndex(func(vs []int) *[]int { return &vs })
		if x.CanMatch(c.topic) {
			t.Errorf("an empty index can match")
		}
		x.Add(mustFilter(t, c.filter), 1)
		if got := x.CanMatch(c.topic); got != c.want {
			t.Errorf("%s over %s %v: %v", c.filter, c.topic.Name, c.topic.Captures, got)
		}
	}
}

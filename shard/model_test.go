package shard

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestMurmur2 has the vectors of Kafka's own test (UtilsTest.testMurmur2).
func TestMurmur2(t *testing.T) {
	for s, want := range map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string":                       -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107} {
		if got := int32(murmur2([]byte(s))); got != want {
			t.Errorf("%s: %d, want %d", s, got, want)
		}
	}
}

func TestShardOf(t *testing.T) {
	one, many := &Topic{Num: 3, Shards: 1}, &Topic{Num: 3, Shards: 7}
	if one.ShardOf([]byte("k"), "s") != (ID{Topic: 3}) {
		t.Fatal("one shard")
	}
	// 479470107 & 0x7fffffff mod 7
	if got := many.ShardOf([]byte("abc"), "s"); got.Index != uint32(479470107%7) {
		t.Fatal(got)
	}
	if many.ShardOf(nil, "abc") != many.ShardOf([]byte("abc"), "x") {
		t.Fatal("the subject is not the key where there is none")
	}
	if many.ShardOf([]byte{}, "abc") == many.ShardOf(nil, "abc") && many.ShardOf([]byte{}, "x") != many.ShardOf([]byte{}, "y") {
		t.Fatal("an empty key is not a key")
	}
}

func TestCaptures(t *testing.T) {
	c := NewCaptures()
	put := func(n TopicNum, name string, captures ...string) *Topic {
		x := &Topic{Num: n, Name: name, Shards: 1, Captures: captures}
		if o := c.Conflict(x); o != nil {
			t.Fatalf("%s conflicts with %s", name, o.Name)
		}
		c.Put(x)
		return x
	}
	put(1, "wide", "s.>")
	put(2, "mid", "s.*.x", "other")
	put(3, "s.a.x")
	for subject, want := range map[string]string{"s.b": "wide", "s.b.x": "mid", "s.a.x": "s.a.x", "other": "mid", "mid": "", "nothing": ""} {
		got := ""
		if x := c.Find(subject); x != nil {
			got = x.Name
		}
		if got != want {
			t.Errorf("%s is captured by %q, want %q", subject, got, want)
		}
	}
	for _, x := range []*Topic{{Num: 9, Name: "n", Captures: []string{"s.*.x"}}, {Num: 9, Name: "other"}, {Num: 9, Name: "s.a.x"},
		{Num: 9, Name: "n", Captures: []string{"s.*.*"}}} {
		if (c.Conflict(x) == nil) != (x.Name == "n" && x.Captures[0] == "s.*.*") {
			t.Errorf("conflict of %s %v: %v", x.Name, x.Captures, c.Conflict(x))
		}
	}
	overlapping := func(f Filter) (names string) {
		seen := make(map[string]int)
		c.Overlapping(f, func(x *Topic) { seen[x.Name]++ })
		for _, n := range []string{"wide", "mid", "s.a.x"} {
			if seen[n] > 1 {
				t.Errorf("%s came %d times", n, seen[n])
			}
			if seen[n] > 0 {
				names += n + " "
			}
		}
		return names
	}
	for s, want := range map[string]string{"s.a.x": "wide mid s.a.x ", "s.b": "wide ", "other": "mid ", "*": "mid ", ">": "wide mid s.a.x ", "q": ""} {
		if got := overlapping(mustSubject(t, s)); got != want {
			t.Errorf("%s overlaps %q, want %q", s, got, want)
		}
	}
	put(2, "mid", "new.*")
	if c.Find("s.b.x").Name != "wide" || c.Find("new.a").Name != "mid" || c.Find("other") != nil {
		t.Error("Put does not replace")
	}
	c.Remove(1)
	c.Remove(77)
	if c.Find("s.b") != nil || c.Find("s.a.x") == nil {
		t.Error("Remove")
	}
}

func TestWindow(t *testing.T) {
	w := NewWindow(2)
	var freed atomic.Int32
	free := func() { freed.Add(1); w.Used() } // no lock is held
	got := make([]bool, 5)
	for i, key := range []int{1, 1, 1, 1, 2} {
		got[i] = w.Acquire(key, free)
	}
	if !slices.Equal(got, []bool{true, true, false, false, false}) {
		t.Fatal("the bound is not 2")
	}
	w.Forget(2)
	w.Release(1)
	if freed.Load() != 1 || w.Used() != 1 {
		t.Fatal(freed.Load(), w.Used())
	}
	w.Release(1)
	if freed.Load() != 1 {
		t.Fatal("told twice")
	}
	w.SetLimit(1)
	if !w.Acquire(1, free) || w.Acquire(1, free) {
		t.Fatal("the bound is not 1")
	}
	w.SetLimit(0)
	if freed.Load() != 2 || !w.Acquire(1, free) || w.Used() != 2 {
		t.Fatal("0 is no bound", freed.Load())
	}
	w.Release(9)
	if w.Used() != 0 {
		t.Fatal(w.Used())
	}
}

func TestWindowUnderLoad(t *testing.T) {
	w := NewWindow(3)
	var in, peak atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			wake := make(chan struct{}, 1)
			for range 500 {
				for !w.Acquire(i, func() {
					select {
					case wake <- struct{}{}:
					default:
					}
				}) {
					select {
					case <-wake:
					case <-time.After(30 * time.Second):
						t.Error("never woken")
						return
					}
				}
				peak.Store(max(peak.Load(), in.Add(1)))
				in.Add(-1)
				w.Release(1)
			}
		})
	}
	wg.Wait()
	if peak.Load() > 3 || w.Used() != 0 {
		t.Fatal(peak.Load(), w.Used())
	}
}

func TestErrors(t *testing.T) {
	err := At(fmt.Errorf("outer: %w", ErrPrecondition), "append batch", ID{17, 3}, 42)
	if !errors.Is(err, ErrPrecondition) || KindOf(err) != KindStale ||
		err.Error() != "append batch: outer: next offset is not the expected one (shard 17/3 offset 42)" {
		t.Fatal(err)
	}
	cause := errors.New("disk is gone")
	e := Errorf(KindUnavailable, "write segment: %w", cause)
	if !errors.Is(e, cause) || e.Error() != "write segment: disk is gone" || KindOf(fmt.Errorf("x: %w", e)) != KindUnavailable {
		t.Fatal(e)
	}
	if KindOf(cause) != KindInternal || KindOf(nil) != KindInternal || At(nil, "x", ID{}, 0) != nil {
		t.Fatal("kinds of others")
	}
	for k := KindInternal; k <= KindClosed; k++ {
		if k.String() == "" || k.String() == "unknown" {
			t.Error(k)
		}
	}
	if Kind(200).String() != "unknown" {
		t.Error("unknown kind")
	}
}

func TestRecordExpiry(t *testing.T) {
	for v, want := range map[string]int64{"0": 1000, "250": 1250, "": -1, "-1": -1, "1e3": -1, "9999999999999999": -1} {
		r := Record{Timestamp: 1000, Headers: []Header{{Name: HeaderExpiration, Value: []byte(v)}}}
		at, ok := r.Expires()
		if ok != (want >= 0) || ok && at != want {
			t.Errorf("%q: %d, %v", v, at, ok)
		}
		if ok && (r.Expired(time.UnixMilli(at-1)) || !r.Expired(time.UnixMilli(at))) {
			t.Errorf("%q expires at another time", v)
		}
	}
}

func TestHeaderMatch(t *testing.T) {
	r := &Record{Headers: []Header{{Name: "a", Value: []byte("1")}, {Name: "b", Value: nil}, {Name: "a", Value: []byte("3")}}}
	cond := func(name, value string) HeaderCond { return HeaderCond{Name: name, Value: []byte(value)} }
	for _, c := range []struct {
		m    *HeaderMatch
		want bool
	}{
		{nil, true}, {&HeaderMatch{}, true}, {&HeaderMatch{Any: true}, false},
		{&HeaderMatch{Conds: []HeaderCond{cond("a", "1"), {Name: "b"}}}, true},
		{&HeaderMatch{Conds: []HeaderCond{cond("a", "1"), {Name: "c"}}}, false},
		{&HeaderMatch{Conds: []HeaderCond{cond("a", "3"), cond("a", "1")}}, true},
		{&HeaderMatch{Any: true, Conds: []HeaderCond{cond("a", "2"), {Name: "b"}}}, true},
		{&HeaderMatch{Any: true, Conds: []HeaderCond{cond("a", "2"), {Name: "c"}}}, false},
	} {
		if c.m.Match(r) != c.want {
			t.Errorf("%+v: want %v", c.m, c.want)
		}
	}
}

func TestMQTTNames(t *testing.T) {
	ours, exact := Header{Name: HeaderMQTT, Value: []byte("1")}, Header{Name: HeaderMQTTTopic, Value: []byte("a.b/c")}
	for _, c := range []struct {
		subject         string
		headers         []Header
		topic, verbatim string
	}{
		{"a.b", nil, "a/b", "a.b"}, {"a", nil, "a", ""}, {"a.b", []Header{ours}, "a/b", ""}, {"a.b.c", []Header{ours, exact}, "a.b/c", ""},
	} {
		topic, verbatim := MQTTNames(c.subject, &Record{Headers: c.headers})
		if topic != c.topic || verbatim != c.verbatim {
			t.Errorf("%s: %q %q", c.subject, topic, verbatim)
		}
	}
}

func TestTopicClone(t *testing.T) {
	a := &Topic{Name: "n", Captures: []string{"a"}, Labels: map[string]string{"k": "v"}, Config: TopicConfig{Extra: map[string]string{"e": "1"}}}
	b := a.Clone()
	b.Captures[0], b.Labels["k"], b.Config.Extra["e"] = "b", "w", "2"
	if a.Captures[0] != "a" || a.Labels["k"] != "v" || a.Config.Extra["e"] != "1" {
		t.Fatalf("%+v", a)
	}
	if (&Topic{Name: "n"}).CapturesMany() || (&Topic{Name: "n", Captures: []string{"n"}}).CapturesMany() || !b.CapturesMany() || !(&Topic{Name: CatchAllTopic}).CapturesMany() {
		t.Fatal("CapturesMany")
	}
	for d := DurabilityDefault; d <= DurabilityMemory; d++ {
		if got, err := ParseDurability(d.String()); err != nil || got != d {
			t.Error(d, err)
		}
	}
	if _, err := ParseDurability("disk"); KindOf(err) != KindInvalid {
		t.Error(err)
	}
}

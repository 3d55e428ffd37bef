package kafka

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestOffsetsOfATopicMadeAnewAreGone(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, nil)
	w := s.dial()
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Group, q.Generation = "g", -1
	for v := int16(2); v <= 9; v++ {
		q.Topics = nil
		if c := ask[*kmsg.OffsetCommitResponse](w, commitTopic(q, "t", int64(v)), v).Topics[0].Partitions[0].ErrorCode; c != 0 {
			t.Fatalf("commit v%d: %d", v, c)
		}
		if off, _ := w.committed("g", "t"); off != int64(v) {
			t.Errorf("committed %d, want %d", off, v)
		}
	}
	if err := s.mem.Broker().Topics.Delete(context.Background(), "t"); err != nil {
		t.Fatal(err)
	}
	top := s.topic("t", 1, nil)
	if off, code := w.committed("g", "t"); off != -1 || code != 0 {
		t.Errorf("the new topic has offset %d, %d", off, code)
	}
	q.Topics = nil
	commitTopic(q, "", 5).Topics[0].TopicID = s.srv.ids.of(top)
	if c := ask[*kmsg.OffsetCommitResponse](w, q, 10).Topics[0].Partitions[0].ErrorCode; c != 0 {
		t.Fatalf("commit by id: %d", c)
	}
	all := kmsg.NewPtrOffsetFetchRequest()
	all.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g", MemberEpoch: -1}}
	for v := int16(8); v <= 10; v++ {
		g := ask[*kmsg.OffsetFetchResponse](w, all, v).Groups[0]
		if len(g.Topics) != 1 || len(g.Topics[0].Partitions) != 1 || g.Topics[0].Partitions[0].Offset != 5 || *g.Topics[0].Partitions[0].Metadata != "" && v == 0 {
			t.Errorf("v%d, all offsets: %+v", v, g)
		}
	}
	all.Group = "g"
	for v := int16(2); v <= 7; v++ {
		if r := ask[*kmsg.OffsetFetchResponse](w, all, v); len(r.Topics) != 1 || r.Topics[0].Partitions[0].Offset != 5 {
			t.Errorf("v%d, all offsets: %+v", v, r)
		}
	}
}

// Partitions assigned by hand: no generation, and yet librdkafka sends the
// group.instance.id that is configured.
func TestCommitsWithoutAGeneration(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, nil)
	w := s.dial()
	commit := func(group, member string, instance *string) int16 {
		q := kmsg.NewPtrOffsetCommitRequest()
		q.Group, q.Generation, q.MemberID, q.InstanceID = group, -1, member, instance
		return ask[*kmsg.OffsetCommitResponse](w, commitTopic(q, "t", 3), 8).Topics[0].Partitions[0].ErrorCode
	}
	for group, c := range map[string]int16{
		"nobody": commit("nobody", "", nil), "instance": commit("instance", "", ptr("i")), "member": commit("member", "m", nil),
	} {
		if off, _ := w.committed(group, "t"); c != codeNone || off != 3 {
			t.Errorf("%s: %d, committed %d", group, c, off)
		}
	}
	cl := s.client(kgo.ConsumerGroup("used"), kgo.ConsumeTopics("t"))
	defer cl.Close()
	waitFor(t, func() bool { return s.describe("used").State == "Stable" })
	for _, c := range []int16{commit("used", "", nil), commit("used", "", ptr("i")), commit("used", "m", nil)} {
		if c != codeUnknownMemberID {
			t.Errorf("in a group with members: %d", c)
		}
	}
}

func TestDeleteOffsetsAndGroups(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, nil)
	s.topic("u", 1, nil)
	cl := s.client(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit())
	w := s.dial()
	w.produce("t", batchOf(rec("k", "v")))
	poll(t, cl)
	if err := cl.CommitUncommittedOffsets(context.Background()); err != nil {
		t.Fatal(err)
	}
	del := func(topic string) (int16, int16) {
		q := kmsg.NewPtrOffsetDeleteRequest()
		q.Group = "g"
		q.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}}}
		r := ask[*kmsg.OffsetDeleteResponse](w, q, 0)
		if len(r.Topics) == 0 {
			return r.ErrorCode, 0
		}
		return r.ErrorCode, r.Topics[0].Partitions[0].ErrorCode
	}
	group := func(id string) int16 {
		q := kmsg.NewPtrDeleteGroupsRequest()
		q.Groups = []string{id}
		return ask[*kmsg.DeleteGroupsResponse](w, q, 2).Groups[0].ErrorCode
	}
	if a, b := del("t"); a != 0 || b != codeGroupSubscribedToTopic {
		t.Errorf("offsets of a subscribed topic: %d, %d", a, b)
	}
	if a, b := del("u"); a != 0 || b != 0 {
		t.Errorf("offsets of another topic: %d, %d", a, b)
	}
	if c := group("g"); c != codeNonEmptyGroup {
		t.Errorf("delete a group with members: %d", c)
	}
	cl.Close()
	waitFor(t, func() bool { return s.describe("g").State == "Empty" })
	if off, _ := w.committed("g", "t"); off != 1 {
		t.Errorf("committed %d", off)
	}
	if a, b := del("t"); a != 0 || b != 0 {
		t.Errorf("offsets of an empty group: %d, %d", a, b)
	}
	if off, _ := w.committed("g", "t"); off != -1 {
		t.Errorf("deleted offset %d", off)
	}
	if c := group("g"); c != 0 {
		t.Errorf("delete an empty group: %d", c)
	}
	if c := group("g"); c != codeGroupIDNotFound {
		t.Errorf("delete no group: %d", c)
	}
	if d := s.describe("g"); d.State != "Dead" {
		t.Errorf("a deleted group is %s", d.State)
	}
}

func TestListGroups(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, nil)
	w := s.dial()
	together(t, s.fellow("active"))
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Group, q.Generation = "offsets only", -1
	ask[*kmsg.OffsetCommitResponse](w, commitTopic(q, "t", 1), 8)
	list := func(v int16, states, types []string) (out []string) {
		l := kmsg.NewPtrListGroupsRequest()
		l.StatesFilter, l.TypesFilter = states, types
		for _, g := range ask[*kmsg.ListGroupsResponse](w, l, v).Groups {
			out = append(out, g.Group+"/"+g.GroupState)
		}
		return out
	}
	if got := list(5, nil, nil); !slices.Equal(got, []string{"active/Stable", "offsets only/Empty"}) {
		t.Errorf("all: %v", got)
	}
	if got := list(4, []string{"empty"}, nil); !slices.Equal(got, []string{"offsets only/Empty"}) {
		t.Errorf("empty ones: %v", got)
	}
	if got := list(5, nil, []string{"consumer"}); len(got) != 0 {
		t.Errorf("consumer type: %v", got)
	}
	if got := list(5, nil, []string{"Classic"}); len(got) != 2 {
		t.Errorf("classic type: %v", got)
	}
}

// Consumers come and go, with every balancer, and each record is seen.
func TestBalancersWithRealConsumers(t *testing.T) {
	for name, b := range map[string]kgo.GroupBalancer{"range": kgo.RangeBalancer(), "sticky": kgo.StickyBalancer(), "cooperative": kgo.CooperativeStickyBalancer()} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t)
			s.topic("t", 6, nil)
			var mu sync.Mutex
			seen := make(map[string]bool)
			consume := func() (stop func()) {
				cl := s.client(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.Balancers(b), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(30*time.Millisecond))
				done := make(chan struct{})
				go func() {
					defer close(done)
					for {
						fs := cl.PollFetches(context.Background())
						if fs.IsClientClosed() {
							return
						}
						mu.Lock()
						fs.EachRecord(func(r *kgo.Record) { seen[string(r.Value)] = true })
						mu.Unlock()
					}
				}()
				return func() { cl.Close(); <-done }
			}
			members := func(n int) {
				t.Helper()
				waitFor(t, func() bool { d := s.describe("g"); return d.State == "Stable" && len(d.Members) == n })
			}
			p := s.client(kgo.DefaultProduceTopic("t"))
			total := 0
			produce := func() {
				for range 100 {
					r := &kgo.Record{Key: fmt.Append(nil, total), Value: fmt.Append(nil, total)}
					if err := p.ProduceSync(context.Background(), r).FirstErr(); err != nil {
						t.Fatal(err)
					}
					total++
				}
			}
			stop1 := consume()
			members(1)
			produce()
			stop2, stop3 := consume(), consume()
			members(3)
			produce()
			stop1()
			members(2)
			produce()
			waitFor(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) == total })
			stop2()
			stop3()
		})
	}
}

func TestVoteAndCompatibility(t *testing.T) {
	g := newGroup(nil, "g")
	for i, ps := range [][]string{{"range", "sticky"}, {"sticky", "range"}, {"sticky", "other", "range"}} {
		m := &member{id: fmt.Sprint(i)}
		for _, p := range ps {
			m.protocols = append(m.protocols, memberProtocol{name: p})
		}
		g.add(m)
	}
	g.protocolType = "consumer"
	if got := g.vote(); got != "sticky" {
		t.Errorf("the vote is for %q", got)
	}
	if g.compatible("consumer", []memberProtocol{{name: "other"}}, nil) || g.compatible("connect", []memberProtocol{{name: "range"}}, nil) || !g.compatible("consumer", []memberProtocol{{name: "range"}}, nil) {
		t.Error("compatibility is judged wrongly")
	}
}

func TestMembersMemoryIsBounded(t *testing.T) {
	s := newStand(t)
	a, b := s.fellow("g"), s.fellow("g")
	big := string(make([]byte, 5<<20))
	a.protocols, b.protocols = []string{"range"}, []string{"range"}
	join := func(f *fellow) int16 {
		q := f.joinReq()
		q.Protocols[0].Metadata = []byte(big)
		return ask[*kmsg.JoinGroupResponse](f.wire, q, 3).ErrorCode // v3: at once, without an id
	}
	ask[*kmsg.ApiVersionsResponse](a.wire, newAPIVersions(), 3) // larger frames from now on
	ask[*kmsg.ApiVersionsResponse](b.wire, newAPIVersions(), 3)
	if c := join(a); c != 0 {
		t.Fatalf("the first: %d", c)
	}
	if c := join(b); c != codeGroupMaxSizeReached {
		t.Errorf("the second: %d", c)
	}
	if n := s.srv.groups.bytes.Load(); n < 5<<20 || n > 6<<20 {
		t.Errorf("%d bytes are counted", n)
	}
	s.stop()
	if n := s.srv.groups.bytes.Load(); n != 0 {
		t.Errorf("%d bytes are counted at the end", n)
	}
	s.start()
}

package kafka

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fellow is a member of a group on a connection of its own.
type fellow struct {
	*wire
	group      string
	id         string
	instance   *string
	session    int32
	rebalance  int32
	protocols  []string
	generation int32
	leader     bool
	members    []kmsg.JoinGroupResponseMember
	skip       bool
}

func (s *stand) fellow(group string) *fellow {
	return &fellow{wire: s.dial(), group: group, session: 10_000, rebalance: 10_000, protocols: []string{"range"}}
}

func (f *fellow) joinReq() *kmsg.JoinGroupRequest {
	q := kmsg.NewPtrJoinGroupRequest()
	q.Group, q.MemberID, q.InstanceID, q.ProtocolType = f.group, f.id, f.instance, "consumer"
	q.SessionTimeoutMillis, q.RebalanceTimeoutMillis = f.session, f.rebalance
	for _, p := range f.protocols {
		q.Protocols = append(q.Protocols, kmsg.JoinGroupRequestProtocol{Name: p, Metadata: []byte("meta " + p)})
	}
	return q
}

// join joins and gives the code; it takes the id it is told to take.
func (f *fellow) join() int16 {
	f.t.Helper()
	r := ask[*kmsg.JoinGroupResponse](f.wire, f.joinReq(), 9)
	if r.ErrorCode == codeMemberIDRequired {
		f.id = r.MemberID
		r = ask[*kmsg.JoinGroupResponse](f.wire, f.joinReq(), 9)
	}
	if r.ErrorCode == 0 {
		f.id, f.generation, f.leader, f.members, f.skip = r.MemberID, r.Generation, r.LeaderID == r.MemberID, r.Members, r.SkipAssignment
	}
	return r.ErrorCode
}

// sync asks for the assignment; a leader gives each member its own id as one.
func (f *fellow) sync() (string, int16) {
	f.t.Helper()
	q := kmsg.NewPtrSyncGroupRequest()
	q.Group, q.MemberID, q.InstanceID, q.Generation = f.group, f.id, f.instance, f.generation
	q.ProtocolType = ptr("consumer")
	if f.leader {
		for _, m := range f.members {
			q.GroupAssignment = append(q.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: m.MemberID, MemberAssignment: []byte("for " + m.MemberID)})
		}
	}
	r := ask[*kmsg.SyncGroupResponse](f.wire, q, 5)
	return string(r.MemberAssignment), r.ErrorCode
}

func (f *fellow) beat() int16 {
	f.t.Helper()
	q := kmsg.NewPtrHeartbeatRequest()
	q.Group, q.MemberID, q.InstanceID, q.Generation = f.group, f.id, f.instance, f.generation
	return ask[*kmsg.HeartbeatResponse](f.wire, q, 4).ErrorCode
}

func (f *fellow) leave() int16 {
	f.t.Helper()
	q := kmsg.NewPtrLeaveGroupRequest()
	q.Group = f.group
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID, m.InstanceID = f.id, f.instance
	q.Members = append(q.Members, m)
	return ask[*kmsg.LeaveGroupResponse](f.wire, q, 5).Members[0].ErrorCode
}

func (f *fellow) commit(topic string, offset int64) int16 {
	f.t.Helper()
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Group, q.MemberID, q.InstanceID, q.Generation = f.group, f.id, f.instance, f.generation
	return ask[*kmsg.OffsetCommitResponse](f.wire, commitTopic(q, topic, offset), 8).Topics[0].Partitions[0].ErrorCode
}

func commitTopic(q *kmsg.OffsetCommitRequest, topic string, offset int64) *kmsg.OffsetCommitRequest {
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset, p.Metadata = offset, ptr("note")
	ct := kmsg.NewOffsetCommitRequestTopic()
	ct.Topic, ct.Partitions = topic, append(ct.Partitions, p)
	q.Topics = append(q.Topics, ct)
	return q
}

func (w *wire) committed(group, topic string) (int64, int16) {
	w.t.Helper()
	q := kmsg.NewPtrOffsetFetchRequest()
	q.Groups = []kmsg.OffsetFetchRequestGroup{{Group: group, MemberEpoch: -1, Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: topic, Partitions: []int32{0}}}}}
	g := ask[*kmsg.OffsetFetchResponse](w, q, 8).Groups[0]
	if g.ErrorCode != 0 {
		return -1, g.ErrorCode
	}
	return g.Topics[0].Partitions[0].Offset, g.Topics[0].Partitions[0].ErrorCode
}

// together has all join, and sync, at the same time.
func together(t testing.TB, fs ...*fellow) {
	t.Helper()
	var wg sync.WaitGroup
	for _, f := range fs {
		wg.Go(func() {
			if code := f.join(); code != 0 {
				t.Errorf("join: %d", code)
			}
		})
	}
	wg.Wait()
	for _, f := range fs {
		wg.Go(func() {
			if got, code := f.sync(); code != 0 || got != "for "+f.id {
				t.Errorf("sync: %d, %q", code, got)
			}
		})
	}
	wg.Wait()
}

func (s *stand) describe(group string) kmsg.DescribeGroupsResponseGroup {
	s.t.Helper()
	q := kmsg.NewPtrDescribeGroupsRequest()
	q.Groups = []string{group}
	return ask[*kmsg.DescribeGroupsResponse](s.dial(), q, 6).Groups[0]
}

func TestGroupLife(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, nil)
	a, b := s.fellow("g"), s.fellow("g")
	together(t, a)
	if !a.leader || a.generation != 1 || len(a.members) != 1 {
		t.Fatalf("alone: %+v", a)
	}
	if code := a.beat(); code != 0 {
		t.Errorf("heartbeat: %d", code)
	}
	// A second one: the first is told by its heartbeat, and both join.
	done := make(chan struct{})
	go func() { defer close(done); together(t, b) }()
	waitFor(t, func() bool { return a.beat() == codeRebalanceInProgress })
	together(t, a)
	<-done
	if a.generation != 2 || b.generation != 2 || a.leader == b.leader {
		t.Errorf("generations %d and %d, leaders %v and %v", a.generation, b.generation, a.leader, b.leader)
	}
	if d := s.describe("g"); d.State != "Stable" || len(d.Members) != 2 || d.Protocol != "range" || d.Members[0].ClientID != "wire" || string(d.Members[1].ProtocolMetadata) != "meta range" {
		t.Errorf("described as %+v", d)
	}
	if code := a.commit("t", 7); code != 0 {
		t.Errorf("commit: %d", code)
	}
	if off, code := a.committed("g", "t"); off != 7 || code != 0 {
		t.Errorf("committed %d, %d", off, code)
	}
	// One leaves: the other is told.
	if code := b.leave(); code != 0 {
		t.Errorf("leave: %d", code)
	}
	if code := a.beat(); code != codeRebalanceInProgress {
		t.Errorf("heartbeat after a leave: %d", code)
	}
	together(t, a)
	if code := b.beat(); code != codeUnknownMemberID {
		t.Errorf("heartbeat of who left: %d", code)
	}
	a.leave()
	if d := s.describe("g"); d.State != "Empty" || len(d.Members) != 0 {
		t.Errorf("described as %+v", d)
	}
	if off, _ := a.committed("g", "t"); off != 7 {
		t.Errorf("committed %d after all left", off)
	}
	if d := s.describe("none"); d.State != "Dead" || d.ErrorCode != codeGroupIDNotFound {
		t.Errorf("no group is described as %+v", d)
	}
}

func TestGroupRefusals(t *testing.T) {
	s := newStand(t, withConfig(func(c *Config) { c.GroupMaxSize = 2; c.GroupMaxSessionTimeout = time.Minute }))
	s.topic("t", 1, nil)
	a := s.fellow("g")
	together(t, a)
	with := func(f func(*fellow)) int16 {
		x := s.fellow("g")
		f(x)
		return x.join()
	}
	if c := with(func(x *fellow) { x.session = 5 }); c != codeInvalidSessionTimeout {
		t.Errorf("short session: %d", c)
	}
	if c := with(func(x *fellow) { x.session = 61_000 }); c != codeInvalidSessionTimeout {
		t.Errorf("long session: %d", c)
	}
	if c := with(func(x *fellow) { x.group = "" }); c != codeInvalidGroupID {
		t.Errorf("no group: %d", c)
	}
	if c := with(func(x *fellow) { x.protocols = nil }); c != codeInconsistentGroupProtocol {
		t.Errorf("no protocols: %d", c)
	}
	if c := with(func(x *fellow) { x.protocols = []string{"sticky"} }); c != codeInconsistentGroupProtocol {
		t.Errorf("no common protocol: %d", c)
	}
	if c := with(func(x *fellow) { x.id = "invented" }); c != codeUnknownMemberID {
		t.Errorf("invented member: %d", c)
	}
	if c := with(func(x *fellow) { x.id, x.instance = "invented", ptr("i") }); c != codeUnknownMemberID {
		t.Errorf("invented static member: %d", c)
	}
	gen := a.generation
	a.generation = gen + 1
	if c := a.beat(); c != codeIllegalGeneration {
		t.Errorf("heartbeat of another generation: %d", c)
	}
	if _, c := a.sync(); c != codeIllegalGeneration {
		t.Errorf("sync of another generation: %d", c)
	}
	if c := a.commit("t", 1); c != codeIllegalGeneration {
		t.Errorf("commit of another generation: %d", c)
	}
	a.generation = gen
	outsider := kmsg.NewPtrOffsetCommitRequest()
	outsider.Group, outsider.Generation = "g", -1
	if c := ask[*kmsg.OffsetCommitResponse](a.wire, commitTopic(outsider, "t", 1), 8).Topics[0].Partitions[0].ErrorCode; c != codeUnknownMemberID {
		t.Errorf("commit from outside of a group with members: %d", c)
	}
	if c := a.commit("none", 1); c != codeUnknownTopicOrPartition {
		t.Errorf("commit for no topic: %d", c)
	}
	b := s.fellow("g")
	done := make(chan struct{})
	go func() { defer close(done); b.join() }()
	waitFor(t, func() bool { return a.beat() == codeRebalanceInProgress })
	if c := with(func(*fellow) {}); c != codeGroupMaxSizeReached {
		t.Errorf("a third of two: %d", c)
	}
	a.join()
	<-done
}

func TestSilentMembersAreLost(t *testing.T) {
	s := newStand(t)
	a, b := s.fellow("g"), s.fellow("g")
	b.session = 120
	done := make(chan struct{})
	go func() { defer close(done); together(t, a) }()
	together(t, b)
	<-done
	if a.generation != b.generation { // one came later
		waitFor(t, func() bool { return a.generation == b.generation || a.join() == 0 })
	}
	waitFor(t, func() bool { return a.beat() == codeRebalanceInProgress })
	if c := b.beat(); c != codeUnknownMemberID {
		t.Errorf("heartbeat of the lost: %d", c)
	}
}

func TestWhoDoesNotRejoinIsOut(t *testing.T) {
	s := newStand(t)
	a, b := s.fellow("g"), s.fellow("g")
	a.rebalance, b.rebalance = 200, 200
	together(t, a)
	start := time.Now()
	if code := b.join(); code != 0 { // a never joins again
		t.Fatal(code)
	}
	if d := time.Since(start); d < 150*time.Millisecond || !b.leader || len(b.members) != 1 {
		t.Errorf("after %v: leader %v, %d members", d, b.leader, len(b.members))
	}
	if c := a.beat(); c != codeUnknownMemberID {
		t.Errorf("heartbeat of who did not join: %d", c)
	}
}

func TestWhoDoesNotSyncIsOut(t *testing.T) {
	s := newStand(t)
	a := s.fellow("g")
	a.rebalance = 100
	if code := a.join(); code != 0 {
		t.Fatal(code)
	}
	waitFor(t, func() bool { return a.beat() == codeUnknownMemberID })
}

func TestStaticMembers(t *testing.T) {
	s := newStand(t)
	a, b := s.fellow("g"), s.fellow("g")
	a.instance, b.instance = ptr("ia"), ptr("ib")
	together(t, a)
	done := make(chan struct{})
	go func() { defer close(done); together(t, b) }()
	waitFor(t, func() bool { return a.beat() == codeRebalanceInProgress })
	together(t, a)
	<-done
	// The follower comes back: same generation, same assignment, nobody notices.
	old := *b
	again := s.fellow("g")
	again.instance = b.instance
	if code := again.join(); code != 0 || again.generation != b.generation || again.id == b.id || again.leader {
		t.Fatalf("back: %d, %+v", code, again)
	}
	if got, code := again.sync(); code != 0 || got != "for "+old.id {
		t.Errorf("its assignment: %q, %d", got, code)
	}
	if c := a.beat(); c != 0 {
		t.Errorf("the other notices: %d", c)
	}
	if c := old.beat(); c != codeFencedInstanceID {
		t.Errorf("the former one's heartbeat: %d", c)
	}
	// The leader comes back and is told to skip the assignment (KIP-814).
	lead := s.fellow("g")
	lead.instance = a.instance
	if code := lead.join(); code != 0 || !lead.skip || !lead.leader || len(lead.members) != 2 {
		t.Errorf("the leader is back: %d, skip %v, leader %v, %d members", code, lead.skip, lead.leader, len(lead.members))
	}
	// Leaving by instance id alone, as an admin does.
	admin := s.fellow("g")
	admin.instance = ptr("ib")
	if c := admin.leave(); c != 0 {
		t.Errorf("leave by instance: %d", c)
	}
	if c := lead.beat(); c != codeRebalanceInProgress {
		t.Errorf("after the leave: %d", c)
	}
}

func TestGroupsLiveOverRestarts(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, nil)
	a := s.fellow("g")
	together(t, a)
	if c := a.commit("t", 3); c != 0 {
		t.Fatal(c)
	}
	s.restart()
	a.wire = s.dial()
	if c := a.beat(); c != 0 {
		t.Errorf("heartbeat after the restart: %d", c)
	}
	if c := a.commit("t", 4); c != 0 {
		t.Errorf("commit after the restart: %d", c)
	}
	if off, _ := a.committed("g", "t"); off != 4 {
		t.Errorf("committed %d", off)
	}
	b := s.fellow("g")
	done := make(chan struct{})
	go func() { defer close(done); b.join() }()
	waitFor(t, func() bool { return a.beat() == codeRebalanceInProgress })
	if code := a.join(); code != 0 || a.generation != 2 {
		t.Errorf("join after the restart: %d, generation %d", code, a.generation)
	}
	<-done
}

func TestAssignmentsThatCannotBeKeptAreNotGiven(t *testing.T) {
	var fail atomic.Bool
	s := newStand(t, withMem(func(o *shardmem.Options) {
		o.FailState = func(string) error {
			if fail.Load() {
				return shard.ErrWALFull
			}
			return nil
		}
	}))
	s.topic("t", 1, nil)
	a := s.fellow("g")
	if code := a.join(); code != 0 {
		t.Fatal(code)
	}
	fail.Store(true)
	if _, c := a.sync(); c != codeCoordinatorNotAvailable {
		t.Errorf("sync: %d", c)
	}
	fail.Store(false)
	together(t, a)
	fail.Store(true)
	if c := a.commit("t", 1); c != codeCoordinatorNotAvailable {
		t.Errorf("commit: %d", c)
	}
}

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

func TestDeleteOffsetsAndGroups(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, nil)
	s.topic("u", 1, nil)
	cl := s.client(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit())
	w := s.dial()
	w.produce("t", raw(rec("k", "v")))
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

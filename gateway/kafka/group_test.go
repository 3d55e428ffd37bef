package kafka

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
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

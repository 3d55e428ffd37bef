package kafka

import (
	"context"
	"slices"
	"sync"
	"time"
)

// groupState is the state of a classic group, by Kafka's names.
type groupState uint8

const (
	groupEmpty groupState = iota
	groupPreparing
	groupCompleting
	groupStable
	groupDead
)

var groupStateNames = [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}

func (s groupState) String() string { return groupStateNames[s] }

// group is a classic consumer group. Its lock guards everything in it; nothing
// waits while holding it but for the group's own state to be read.
//
//	Empty -> Preparing      a member joins
//	Preparing -> Completing all members joined, or the time for it is over
//	Completing -> Stable    the leader's assignments are durable
//	any -> Preparing        a member joins, leaves, changes or is lost
//	Preparing -> Empty      nobody is left
type group struct {
	sync.Mutex
	co *coordinator
	id string

	loaded bool
	gone   bool // out of the coordinator's map: look again
	writes int  // changes of its metadata that are not durable yet
	bytes  int  // that its members' metadata takes

	state        groupState
	generation   int32
	protocolType string
	protocol     string
	leader       string
	members      map[string]*member
	static       map[string]string      // instance id -> member id
	pending      map[string]*time.Timer // member ids handed out with MEMBER_ID_REQUIRED
	joinSeq      int

	// timer ends the phase of a rebalance; phase numbers it, so that one that
	// fires late does nothing.
	timer *time.Timer
	phase int
	// initial is when the first gathering must end; zero outside of it.
	initial  time.Time
	newcomer bool // somebody joined during the last delay
}

// member is one member of a group.
type member struct {
	id        string
	instance  *string
	clientID  string
	host      string
	session   time.Duration
	rebalance time.Duration
	protocols []memberProtocol
	seq       int // order of joining

	assignment []byte
	synced     bool
	deadline   time.Time // of the session
	timer      *time.Timer

	joining chan joinResult // a JoinGroup that waits
	syncing chan syncResult // a SyncGroup that waits
}

type memberProtocol struct {
	name     string
	metadata []byte
}

type joinResult struct {
	code         int16
	generation   int32
	protocolType string
	protocol     string
	leader       string
	memberID     string
	skip         bool
	members      []joinMember // for the leader
}

type joinMember struct {
	id       string
	instance *string
	metadata []byte
}

type syncResult struct {
	code         int16
	protocolType string
	protocol     string
	assignment   []byte
}

func newGroup(co *coordinator, id string) *group {
	return &group{
		co: co, id: id,
		members: make(map[string]*member), static: make(map[string]string), pending: make(map[string]*time.Timer),
	}
}

// idle tells whether memory holds nothing that the state does not.
func (g *group) idle() bool {
	return len(g.members) == 0 && len(g.pending) == 0 && g.writes == 0 && (g.state == groupEmpty || g.state == groupDead)
}

// load reads the group once; found is false when the state holds nothing of it.
func (g *group) load(ctx context.Context) (found bool, err error) {
	if g.loaded {
		return len(g.members) > 0 || g.generation > 0 || g.hasOffsets(ctx), nil
	}
	v, ok, err := g.co.srv.broker.State.Get(ctx, groupOwner(g.id), groupMetaKey)
	if err != nil {
		return false, err
	}
	g.loaded = true
	if !ok {
		return g.hasOffsets(ctx), nil
	}
	if err := g.decode(v.Data); err != nil {
		return false, err
	}
	for _, m := range g.members {
		g.watch(m)
	}
	return true, nil
}

// check tells whether a request of a member is good: it knows of itself.
func (g *group) check(memberID string, instance *string) (*member, int16) {
	if instance != nil {
		id, ok := g.static[*instance]
		switch {
		case !ok:
			return nil, codeUnknownMemberID
		case id != memberID:
			return nil, codeFencedInstanceID
		}
	}
	m := g.members[memberID]
	if m == nil {
		return nil, codeUnknownMemberID
	}
	return m, codeNone
}

// touch renews a member's session.
func (m *member) touch() { m.deadline = time.Now().Add(m.session) }

// watch starts the session of a member. The timer is not moved by heartbeats: it
// looks at the deadline when it fires.
func (g *group) watch(m *member) {
	m.touch()
	if m.timer != nil {
		m.timer.Stop()
	}
	id := m.id
	m.timer = time.AfterFunc(m.session, func() { g.sessionOver(m, id) })
}

func (g *group) sessionOver(m *member, id string) {
	g.Lock()
	defer g.Unlock()
	if g.gone || g.members[id] != m || m.id != id {
		return
	}
	left := time.Until(m.deadline)
	if left <= 0 && (m.joining != nil || m.syncing != nil) {
		left = m.session // it waits for us
	}
	if left > 0 {
		m.timer.Reset(left)
		return
	}
	g.co.srv.log.Info("group member lost", "group", g.id, "member", m.id)
	g.remove(m, codeUnknownMemberID)
	g.rebalanceAfterLoss()
}

// remove takes a member out and answers what it waits for.
func (g *group) remove(m *member, code int16) {
	g.answer(m, code)
	m.timer.Stop()
	delete(g.members, m.id)
	g.charge(-m.size())
	if m.instance != nil && g.static[*m.instance] == m.id {
		delete(g.static, *m.instance)
	}
	if g.leader == m.id {
		g.leader = ""
		if first := g.first(); first != nil {
			g.leader = first.id
		}
	}
}

func (g *group) answer(m *member, code int16) {
	if m.joining != nil {
		m.joining <- joinResult{code: code, memberID: m.id, generation: -1}
		m.joining = nil
	}
	if m.syncing != nil {
		m.syncing <- syncResult{code: code}
		m.syncing = nil
	}
}

// rebalanceAfterLoss goes on after members were removed.
func (g *group) rebalanceAfterLoss() {
	switch g.state {
	case groupStable, groupCompleting:
		g.prepare()
	case groupPreparing:
		g.maybeComplete()
	}
}

func (g *group) first() *member {
	var f *member
	for _, m := range g.members {
		if f == nil || m.seq < f.seq {
			f = m
		}
	}
	return f
}

// ordered gives the members in the order in which they joined.
func (g *group) ordered() []*member {
	ms := make([]*member, 0, len(g.members))
	for _, m := range g.members {
		ms = append(ms, m)
	}
	slices.SortFunc(ms, func(a, b *member) int { return a.seq - b.seq })
	return ms
}

// abandon answers everybody and stops the timers; the group is gone after it.
func (g *group) abandon(code int16) {
	g.gone = true
	g.stopTimer()
	for _, m := range g.members {
		g.answer(m, code)
		m.timer.Stop()
		g.charge(-m.size())
	}
	for _, t := range g.pending {
		t.Stop()
	}
}

func (m *member) metadataFor(protocol string) []byte {
	for i := range m.protocols {
		if m.protocols[i].name == protocol {
			return m.protocols[i].metadata
		}
	}
	return nil
}

func (m *member) supports(protocol string) bool {
	return slices.ContainsFunc(m.protocols, func(p memberProtocol) bool { return p.name == protocol })
}

// size is what the member's metadata takes, in bytes.
func (m *member) size() int {
	n := len(m.id) + len(m.clientID) + 256
	for i := range m.protocols {
		n += len(m.protocols[i].name) + len(m.protocols[i].metadata)
	}
	return n
}

// charge counts memory taken by members, in the group and in all.
func (g *group) charge(n int) {
	g.bytes += n
	if g.co != nil {
		g.co.bytes.Add(int64(n))
	}
}

// full tells whether there is no room for n bytes more of members.
func (g *group) full(n int) bool {
	return g.bytes+n > maxGroupBytes || g.co.bytes.Load()+int64(n) > maxGroupsBytes
}

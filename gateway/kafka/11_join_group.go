package kafka

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// JoinGroup (11): v2-9.
//
// v4+: a dynamic member without an id is given one and asked to come again
// (KIP-394). v5+: static members (KIP-345). v7+: protocol type in the answer.
// v9+: a static leader that is replaced may skip the assignment (KIP-814).
func joinGroup(ctx context.Context, c *conn, q *kmsg.JoinGroupRequest) kmsg.Response {
	res := c.join(ctx, q)
	if c.ctx.Err() != nil {
		return nil
	}
	resp := q.ResponseKind().(*kmsg.JoinGroupResponse)
	resp.ErrorCode, resp.Generation, resp.LeaderID, resp.MemberID, resp.SkipAssignment = res.code, res.generation, res.leader, res.memberID, res.skip
	if res.code == codeNone || q.Version < 7 {
		resp.Protocol = &res.protocol
	}
	if res.code == codeNone {
		resp.ProtocolType = &res.protocolType
	} else {
		resp.Generation = -1
	}
	for i := range res.members {
		m := &res.members[i]
		resp.Members = append(resp.Members, kmsg.JoinGroupResponseMember{MemberID: m.id, InstanceID: m.instance, ProtocolMetadata: m.metadata})
	}
	return resp
}

func (c *conn) join(ctx context.Context, q *kmsg.JoinGroupRequest) joinResult {
	fail := func(code int16) joinResult { return joinResult{code: code, memberID: q.MemberID} }
	cfg := &c.srv.cfg
	session := time.Duration(q.SessionTimeoutMillis) * time.Millisecond
	switch {
	case !c.mayReadGroup(q.Group):
		return fail(codeGroupAuthorizationFailed)
	case session < cfg.GroupMinSessionTimeout || session > cfg.GroupMaxSessionTimeout:
		return fail(codeInvalidSessionTimeout)
	case q.ProtocolType == "" || len(q.Protocols) == 0:
		return fail(codeInconsistentGroupProtocol)
	case q.InstanceID != nil && (*q.InstanceID == "" || len(*q.InstanceID) > maxKafkaName):
		return fail(codeInvalidRequest)
	}
	g, code := c.srv.groups.acquire(ctx, q.Group, q.MemberID == "")
	switch code {
	case codeNone:
	case codeGroupIDNotFound:
		return fail(codeUnknownMemberID)
	default:
		return fail(code)
	}
	m := c.memberOf(q, session)
	wait, res := g.join(m, q)
	c.srv.groups.release(g)
	if wait == nil {
		return res
	}
	select {
	case res = <-wait:
		return res
	case <-c.alive.Done(): // it has left, or we do: nobody waits for the answer
		return fail(codeNotCoordinator)
	}
}

// memberOf makes a member of a request, in memory of its own.
func (c *conn) memberOf(q *kmsg.JoinGroupRequest, session time.Duration) *member {
	m := &member{id: q.MemberID, instance: q.InstanceID, session: session}
	m.rebalance = session
	if d := time.Duration(q.RebalanceTimeoutMillis) * time.Millisecond; d > 0 {
		m.rebalance = min(d, 24*time.Hour)
	}
	m.clientID = c.nc.Info().ClientID
	m.host = "/" + hostOf(c.nc.RemoteAddr())
	for i := range q.Protocols {
		m.protocols = append(m.protocols, memberProtocol{q.Protocols[i].Name, bytes.Clone(q.Protocols[i].Metadata)})
	}
	return m
}

func hostOf(a net.Addr) string {
	if host, _, err := net.SplitHostPort(a.String()); err == nil {
		return host
	}
	return a.String()
}

// newMemberID is unguessable: knowing it is what makes a request the member's.
func newMemberID(prefix string) string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	if len(prefix) > 200 {
		prefix = prefix[:200]
	}
	return strings.ToValidUTF8(prefix, "?") + "-" + fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// join puts m into the group, or has it wait for the rebalance.
func (g *group) join(m *member, q *kmsg.JoinGroupRequest) (wait chan joinResult, res joinResult) {
	fail := func(code int16) (chan joinResult, joinResult) { return nil, joinResult{code: code, memberID: m.id} }
	var old *member
	if m.instance != nil {
		old = g.members[g.static[*m.instance]]
	} else {
		old = g.members[m.id]
	}
	switch {
	case !g.compatible(q.ProtocolType, m.protocols, old):
		return fail(codeInconsistentGroupProtocol)
	case g.full(m.size()):
		return fail(codeGroupMaxSizeReached)
	case q.MemberID == "" && m.instance != nil:
		if old != nil {
			return g.replaceStatic(old, m, q)
		}
		m.id = newMemberID(*m.instance)
		return g.joinNew(m, q)
	case q.MemberID == "":
		if len(g.members)+len(g.pending) >= g.co.srv.cfg.GroupMaxSize {
			return fail(codeGroupMaxSizeReached)
		}
		m.id = newMemberID(m.clientID)
		if q.Version >= 4 {
			g.expect(m.id, m.session)
			return fail(codeMemberIDRequired)
		}
		return g.joinNew(m, q)
	case g.pending[m.id] != nil && m.instance == nil:
		return g.joinNew(m, q)
	}
	known, code := g.check(m.id, m.instance)
	if code != codeNone {
		return fail(code)
	}
	return g.rejoin(known, m, q)
}

// expect keeps a place for a member that was told its id.
func (g *group) expect(id string, session time.Duration) {
	g.pending[id] = time.AfterFunc(session, func() {
		g.Lock()
		if _, ok := g.pending[id]; !ok || g.gone {
			g.Unlock()
			return
		}
		delete(g.pending, id)
		g.maybeComplete()
		g.co.release(g)
	})
}

func (g *group) joinNew(m *member, q *kmsg.JoinGroupRequest) (chan joinResult, joinResult) {
	if t, ok := g.pending[m.id]; ok {
		t.Stop()
		delete(g.pending, m.id)
	} else if len(g.members)+len(g.pending) >= g.co.srv.cfg.GroupMaxSize {
		return nil, joinResult{code: codeGroupMaxSizeReached, memberID: m.id}
	}
	g.protocolType = q.ProtocolType
	g.add(m)
	g.watch(m)
	m.joining = make(chan joinResult, 1)
	wait := m.joining
	g.newcomer = true
	if g.state == groupPreparing {
		g.maybeComplete()
	} else {
		g.prepare()
	}
	return wait, joinResult{}
}

// rejoin is the join of somebody who is a member.
func (g *group) rejoin(m, again *member, q *kmsg.JoinGroupRequest) (chan joinResult, joinResult) {
	changed := !sameProtocols(m.protocols, again.protocols)
	switch {
	case g.state == groupCompleting && !changed, // it missed our answer
		g.state == groupStable && !changed && m.id != g.leader: // a follower that came too early, or late
		m.touch()
		res := g.joined(m)
		if m.id == g.leader {
			res.members = g.joinMembers()
		}
		return nil, res
	}
	if m.joining != nil {
		m.joining <- joinResult{code: codeRebalanceInProgress, memberID: m.id}
	}
	g.protocolType = q.ProtocolType
	g.update(m, again)
	m.joining = make(chan joinResult, 1)
	wait := m.joining
	if g.state == groupPreparing {
		g.maybeComplete()
	} else {
		g.prepare()
	}
	return wait, joinResult{}
}

func (g *group) update(m, again *member) {
	before := m.size()
	m.protocols, m.session, m.rebalance = again.protocols, again.session, again.rebalance
	m.clientID, m.host = again.clientID, again.host
	g.charge(m.size() - before)
	m.touch()
}

func sameProtocols(a, b []memberProtocol) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].name != b[i].name || !bytes.Equal(a[i].metadata, b[i].metadata) {
			return false
		}
	}
	return true
}

// replaceStatic lets a static member come back under a new member id. Where the
// group is stable and would choose the same protocol, nobody else notices.
func (g *group) replaceStatic(old, m *member, q *kmsg.JoinGroupRequest) (chan joinResult, joinResult) {
	g.answer(old, codeFencedInstanceID)
	wasLeader, oldID := g.leader == old.id, old.id
	delete(g.members, old.id)
	g.charge(-old.size())
	old.id = newMemberID(*m.instance)
	g.charge(old.size())
	g.members[old.id] = old
	g.static[*m.instance] = old.id
	if wasLeader {
		g.leader = old.id
	}
	g.protocolType = q.ProtocolType
	g.update(old, m)
	g.watch(old)
	if g.state == groupStable && g.vote() == g.protocol {
		g.save(func(error) {})
		res := g.joined(old)
		switch {
		case wasLeader && q.Version >= 9:
			res.skip, res.members = true, g.joinMembers()
		case wasLeader:
			res.leader = oldID // so that it does not take itself for the leader
		}
		return nil, res
	}
	old.joining = make(chan joinResult, 1)
	wait := old.joining
	if g.state == groupPreparing {
		g.maybeComplete()
	} else {
		g.prepare()
	}
	return wait, joinResult{}
}

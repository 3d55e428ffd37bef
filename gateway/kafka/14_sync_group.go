package kafka

import (
	"bytes"
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// SyncGroup (14): v0-5.
//
// v3+: static members. v5+: protocol type and name are checked. The leader's
// assignments are durable before anybody gets one.
func syncGroup(ctx context.Context, c *conn, q *kmsg.SyncGroupRequest) kmsg.Response {
	res := c.sync(ctx, q)
	if c.ctx.Err() != nil {
		return nil
	}
	resp := q.ResponseKind().(*kmsg.SyncGroupResponse)
	resp.ErrorCode, resp.MemberAssignment = res.code, res.assignment
	if res.code == codeNone {
		resp.ProtocolType, resp.Protocol = &res.protocolType, &res.protocol
	}
	return resp
}

func (c *conn) sync(ctx context.Context, q *kmsg.SyncGroupRequest) syncResult {
	if !c.mayReadGroup(q.Group) {
		return syncResult{code: codeGroupAuthorizationFailed}
	}
	g, code := c.srv.groups.acquire(ctx, q.Group, false)
	switch code {
	case codeNone:
	case codeGroupIDNotFound:
		return syncResult{code: codeUnknownMemberID}
	default:
		return syncResult{code: code}
	}
	wait, res := g.sync(q)
	c.srv.groups.release(g)
	if wait == nil {
		return res
	}
	select {
	case res = <-wait:
		return res
	case <-c.alive.Done():
		return syncResult{code: codeNotCoordinator}
	}
}

func (g *group) sync(q *kmsg.SyncGroupRequest) (chan syncResult, syncResult) {
	m, code := g.check(q.MemberID, q.InstanceID)
	switch {
	case code != codeNone:
		return nil, syncResult{code: code}
	case q.Generation != g.generation:
		return nil, syncResult{code: codeIllegalGeneration}
	case q.ProtocolType != nil && *q.ProtocolType != g.protocolType, q.Protocol != nil && *q.Protocol != g.protocol:
		return nil, syncResult{code: codeInconsistentGroupProtocol}
	}
	m.touch()
	switch g.state {
	case groupPreparing:
		return nil, syncResult{code: codeRebalanceInProgress}
	case groupStable:
		m.synced = true
		return nil, g.assigned(m)
	case groupCompleting:
	default:
		return nil, syncResult{code: codeUnknownMemberID}
	}
	if m.syncing != nil {
		m.syncing <- syncResult{code: codeRebalanceInProgress}
	}
	m.syncing = make(chan syncResult, 1)
	wait := m.syncing
	if m.id == g.leader {
		g.assign(q.GroupAssignment)
	}
	return wait, syncResult{}
}

func (g *group) assigned(m *member) syncResult {
	return syncResult{protocolType: g.protocolType, protocol: g.protocol, assignment: m.assignment}
}

// assign keeps what the leader gave each member and, once that is durable, hands
// it out.
func (g *group) assign(as []kmsg.SyncGroupRequestGroupAssignment) {
	for _, m := range g.members {
		m.assignment = nil
	}
	for i := range as {
		if m := g.members[as[i].MemberID]; m != nil {
			m.assignment = bytes.Clone(as[i].MemberAssignment)
		}
	}
	generation := g.generation
	g.save(func(err error) {
		go g.handOut(generation, err)
	})
}

func (g *group) handOut(generation int32, err error) {
	g.Lock()
	defer g.Unlock()
	if g.gone || g.state != groupCompleting || g.generation != generation {
		return
	}
	if err != nil {
		for _, m := range g.members {
			m.assignment = nil
			if m.syncing != nil {
				m.syncing <- syncResult{code: groupErrorCode(err)}
				m.syncing = nil
			}
		}
		g.prepare()
		return
	}
	g.state = groupStable
	for _, m := range g.members {
		if m.syncing != nil {
			m.syncing <- g.assigned(m)
			m.syncing, m.synced = nil, true
			m.touch()
		}
	}
}

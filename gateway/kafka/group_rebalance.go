package kafka

import (
	"math"
	"time"
)

// prepare begins a rebalance: everybody has to join again.
func (g *group) prepare() {
	fromEmpty := g.state == groupEmpty
	for _, m := range g.members {
		if m.syncing != nil {
			m.syncing <- syncResult{code: codeRebalanceInProgress}
			m.syncing = nil
		}
	}
	g.state = groupPreparing
	delay := g.co.srv.cfg.GroupInitialRebalanceDelay
	if fromEmpty && delay > 0 {
		g.initial = time.Now().Add(g.rebalanceTimeout())
		g.newcomer = false
		g.startTimer(min(delay, g.rebalanceTimeout()), g.initialOver)
		return
	}
	g.initial = time.Time{}
	g.startTimer(g.rebalanceTimeout(), g.complete)
	g.maybeComplete()
}

// initialOver ends the gathering of the first members, or prolongs it while they
// still come.
func (g *group) initialOver() {
	left := time.Until(g.initial)
	if g.newcomer && left > 0 {
		g.newcomer = false
		g.startTimer(min(g.co.srv.cfg.GroupInitialRebalanceDelay, left), g.initialOver)
		return
	}
	g.complete()
}

// rebalanceTimeout is the longest that a member asks for.
func (g *group) rebalanceTimeout() time.Duration {
	var d time.Duration
	for _, m := range g.members {
		d = max(d, m.rebalance)
	}
	return d
}

// maybeComplete ends the joining when everybody has joined.
func (g *group) maybeComplete() {
	if g.state != groupPreparing || len(g.pending) > 0 && len(g.members) > 0 {
		return
	}
	if len(g.members) > 0 && !g.initial.IsZero() {
		return // the delay decides
	}
	for _, m := range g.members {
		if m.joining == nil {
			return
		}
	}
	g.complete()
}

// complete ends the joining: who has not joined is out (static members stay
// until their session ends), the generation is new.
func (g *group) complete() {
	g.stopTimer()
	g.initial = time.Time{}
	joined := 0
	for _, m := range g.members {
		switch {
		case m.joining != nil:
			joined++
		case m.instance == nil:
			g.remove(m, codeUnknownMemberID)
		}
	}
	if len(g.members) > 0 && joined == 0 {
		g.startTimer(g.rebalanceTimeout(), g.complete) // static members only: wait for them
		return
	}
	if g.generation++; g.generation == math.MaxInt32 {
		g.generation = 1
	}
	if len(g.members) == 0 {
		g.empty()
		return
	}
	if l := g.members[g.leader]; l == nil || l.joining == nil {
		for _, m := range g.ordered() {
			if m.joining != nil {
				g.leader = m.id
				break
			}
		}
	}
	g.protocol = g.vote()
	g.state = groupCompleting
	list := g.joinMembers()
	for _, m := range g.members {
		m.synced = false
		if m.joining == nil {
			continue
		}
		res := g.joined(m)
		if m.id == g.leader {
			res.members = list
		}
		m.joining <- res
		m.joining = nil
		g.watch(m)
	}
	g.startTimer(g.rebalanceTimeout(), g.syncOver)
}

// empty is reached when the last member is gone.
func (g *group) empty() {
	g.state, g.protocol, g.leader = groupEmpty, "", ""
	g.save(func(error) {})
}

// joined is the answer to a member that takes part in this generation.
func (g *group) joined(m *member) joinResult {
	return joinResult{
		generation: g.generation, protocolType: g.protocolType, protocol: g.protocol,
		leader: g.leader, memberID: m.id,
	}
}

func (g *group) joinMembers() []joinMember {
	out := make([]joinMember, 0, len(g.members))
	for _, m := range g.ordered() {
		out = append(out, joinMember{m.id, m.instance, m.metadataFor(g.protocol)})
	}
	return out
}

// vote chooses the protocol that most members like best of those that all know.
func (g *group) vote() string {
	votes := make(map[string]int)
	best := ""
	for _, m := range g.ordered() {
		for i := range m.protocols {
			name := m.protocols[i].name
			if g.allSupport(name) {
				votes[name]++
				break
			}
		}
	}
	for _, m := range g.ordered() { // ties: in the order of the first member
		for i := range m.protocols {
			if name := m.protocols[i].name; votes[name] > votes[best] {
				best = name
			}
		}
	}
	return best
}

func (g *group) allSupport(protocol string) bool {
	for _, m := range g.members {
		if !m.supports(protocol) {
			return false
		}
	}
	return true
}

// compatible tells whether somebody with these protocols can be a member.
func (g *group) compatible(protocolType string, protocols []memberProtocol, but *member) bool {
	if protocolType == "" || len(protocols) == 0 {
		return false
	}
	if len(g.members) == 0 || len(g.members) == 1 && but != nil {
		return true
	}
	if g.protocolType != protocolType {
		return false
	}
	for i := range protocols {
		all := true
		for _, m := range g.members {
			if m != but && !m.supports(protocols[i].name) {
				all = false
				break
			}
		}
		if all {
			return true
		}
	}
	return false
}

// syncOver removes members that joined and then did not ask for their
// assignment in time.
func (g *group) syncOver() {
	if g.state != groupCompleting && g.state != groupStable {
		return
	}
	lost := false
	for _, m := range g.members {
		if !m.synced && m.syncing == nil {
			g.remove(m, codeUnknownMemberID)
			lost = true
		}
	}
	if lost {
		g.rebalanceAfterLoss()
	}
}

// startTimer replaces the timer of the phase.
func (g *group) startTimer(d time.Duration, f func()) {
	g.stopTimer()
	phase := g.phase
	g.timer = time.AfterFunc(d, func() {
		g.Lock()
		defer g.Unlock()
		if !g.gone && g.phase == phase {
			f()
		}
	})
}

func (g *group) stopTimer() {
	g.phase++
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
}

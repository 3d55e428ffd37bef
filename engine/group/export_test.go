package group

import "github.com/robustmq/robustmq-go/shard"

// Wakes is how many wake-ups of groups wait for their time.
func (m *Manager) Wakes() int {
	m.timer.mu.Lock()
	defer m.timer.mu.Unlock()
	return len(m.timer.heap)
}

// Lag is how many cursors of a group read on by themselves, and whether those are just
// the ones that are not fed.
func Lag(x shard.Group) (n int, right bool) {
	g := x.(*group)
	g.mu.Lock()
	defer g.mu.Unlock()
	not := 0
	for _, c := range g.cursors {
		if !c.live {
			not++
			if g.lag[c.lagAt] != c {
				return len(g.lag), false
			}
		}
	}
	return len(g.lag), not == len(g.lag)
}

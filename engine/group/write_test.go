package group

import (
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

// TestReplacedBindingsAreWrittenTogether: of bindings that do not fit one write, none is
// ended without what took its place, and none is forgotten before that is written.
func TestReplacedBindingsAreWrittenTogether(t *testing.T) {
	g := &group{name: "g", durable: true}
	add := func(id string) *binding {
		b := newBinding(g, uint64(len(g.all)+1), &shard.Binding{ID: id, Filter: shard.LiteralFilter(id), Data: make([]byte, 1<<20)})
		g.dirtyBinding(b)
		g.all = append(g.all, b)
		return b
	}
	old := add("replaced")
	for range 2*maxBindingWrite>>20 - 1 {
		add("further")
	}
	n := add("replaced")
	g.removed++
	old.removed, old.next, old.ends = true, n, map[shard.ID]int64{{Topic: 1}: 5}
	g.prune()
	writes := 0
	for all := false; !all; writes++ {
		var bs []*binding
		bs, _, all = g.dirtyBindings()
		has := map[*binding]bool{}
		for _, b := range bs {
			has[b] = true
		}
		if has[old] != has[n] {
			t.Fatalf("write %d has the old one: %v, the new one: %v", writes+1, has[old], has[n])
		}
	}
	for _, b := range g.all {
		if b.dirty {
			t.Errorf("binding %d was not written", b.serial)
		}
	}
	if g.prune(); writes < 2 || len(g.dropKeys) != 1 || g.dropKeys[0] != bindingKey(old.serial) {
		t.Errorf("%d writes, dropped %v", writes, g.dropKeys)
	}
}

package gateway

import (
	"slices"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
)

// A topic's own name needs no right but that to create it; one that is named as a filter
// captures what others publish.
func TestNewCaptures(t *testing.T) {
	for _, c := range []struct {
		name          string
		old, captures []string
		want          []string
		many          bool
	}{
		{"a", nil, []string{"a"}, nil, false},
		{"a", nil, []string{"a", "b.>"}, []string{"b.>"}, true},
		{"a", []string{"b.>"}, []string{"a", "b.>"}, nil, true},
		{">", nil, []string{">"}, []string{">"}, true},
		{"pay.*", nil, []string{"pay.*"}, []string{"pay.*"}, true},
	} {
		x := &shard.Topic{Name: c.name, Captures: c.captures}
		if got := NewCaptures(c.old, x); !slices.Equal(got, c.want) || x.CapturesMany() != c.many {
			t.Errorf("%s captures %v, before %v: new %v, many %t", c.name, c.captures, c.old, got, x.CapturesMany())
		}
	}
}

// Without rules nobody but an administrator makes the topic that takes the subjects of
// everybody past the bound: its maker chooses its retention.
func TestCatchAllIsTheClusters(t *testing.T) {
	a := NewAuth(nil, &rules{}, AuthConfig{})
	for name, want := range map[string]bool{"a": true, shard.CatchAllTopic: false} {
		if got := a.MayManageTopic(Principal{Name: "u"}, nil, shard.OpCreate, name); got != want {
			t.Errorf("create %s: %t", name, got)
		}
	}
	if !a.MayManageTopic(Principal{Name: "admin", Superuser: true}, nil, shard.OpCreate, shard.CatchAllTopic) {
		t.Error("an administrator may not create it")
	}
}

package shard

import (
	"slices"
	"testing"
)

// TestLeftOut: what is said to be left out is what Find gives to another topic.
func TestLeftOut(t *testing.T) {
	var all []*Topic
	index := NewCaptures()
	for i, x := range []Topic{
		{Name: "dev.1"}, {Name: "dev.2.temp"}, {Name: "other"}, {Name: "b", Captures: []string{"dev.b.*", "x"}},
		{Name: "hidden", Captures: []string{"dev.hidden"}, Internal: true}, {Name: "wide", Captures: []string{"*.>"}},
	} {
		x.Num = TopicNum(i + 1)
		all = append(all, &x)
		index.Put(&x)
	}
	later := &Topic{Num: 99, Name: "all", Captures: []string{"dev.>"}}
	index.Put(later)
	got, n := LeftOut(all, later, 10)
	if want := []string{"dev.1", "dev.2.temp", "dev.b.*"}; n != 3 || !slices.Equal(got, want) {
		t.Errorf("%d: %v", n, got)
	}
	for _, subject := range []string{"dev.1", "dev.2.temp", "dev.b.7"} {
		if index.Find(subject).Num == later.Num {
			t.Errorf("%s is captured after all", subject)
		}
	}
	for _, subject := range []string{"dev.3", "dev.b.7.8"} {
		if index.Find(subject).Num != later.Num {
			t.Errorf("%s is not captured", subject)
		}
	}
	if got, n := LeftOut(all, later, 1); n != 3 || len(got) != 1 {
		t.Errorf("bounded: %d, %v", n, got)
	}
	if _, n := LeftOut(all, all[0], 10); n != 0 {
		t.Errorf("a topic without captures leaves %d out", n)
	}
}

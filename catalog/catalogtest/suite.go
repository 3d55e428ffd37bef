package catalogtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

// Run is the conformance suite. config gives an empty cluster each time.
func Run(t *testing.T, config func(testing.TB) catalog.Config) {
	base := config(t)
	n := 0
	tests := []struct {
		name string
		run  func(*testing.T, catalog.Config)
	}{
		{"Join", testJoin}, {"Takeover", testTakeover}, {"ClaimRace", testClaimRace}, {"HandOver", testHandOver},
		{"Zombie", testZombie}, {"Pending", testPending}, {"Commit", testCommit}, {"BigCommit", testBigCommit},
		{"Swap", testSwap}, {"SwapRace", testSwapRace}, {"Topics", testTopics}, {"TopicRace", testTopicRace}, {"TopicsAtOnce", testTopicsAtOnce},
		{"Numbers", testNumbers}, {"Rare", testRare}, {"Dump", testDump},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			cfg := base
			n++
			cfg.Prefix = fmt.Sprintf("%s%d/", base.Prefix, n)
			tc.run(t, cfg)
		})
	}
}

var background = context.Background()

func testJoin(t *testing.T, cfg catalog.Config) {
	a, b := Open(t, cfg), Open(t, cfg)
	if a.ClusterID() == "" || a.ClusterID() != b.ClusterID() {
		t.Fatalf("cluster ids %q and %q", a.ClusterID(), b.ClusterID())
	}
	s := Join(t, a, "x")
	Eventually(t, "b sees x", func() bool { return len(b.Gateways()) == 1 })
	if g := b.Gateways()[0]; g.ID != "x" || g.Incarnation != s.Incarnation() || g.WALID != "wal-x" || g.Addresses["rpc"] == "" {
		t.Fatalf("gateway %+v", g)
	}
	if w, ok := b.WAL("wal-x"); !ok || w.State != catalog.WALOpen || w.Owner != "x" {
		t.Fatalf("wal %+v", w)
	}
	ctx, cancel := context.WithTimeout(background, 100*time.Millisecond)
	defer cancel()
	if _, err := b.Join(ctx, catalog.Gateway{ID: "x"}, false); !errors.Is(err, catalog.ErrExists) {
		t.Fatalf("second join of a living id: %v", err)
	}
	joined := make(chan error, 1)
	go func() {
		_, err := b.Join(background, catalog.Gateway{ID: "x"}, false)
		joined <- err
	}()
	if err := s.Leave(); err != nil {
		t.Fatal(err)
	}
	if err := <-joined; err != nil {
		t.Fatalf("join after the former has left: %v", err)
	}
	if err := s.CommitSegment(background, Segment(0, 1, shard.ID{Topic: 1})); !errors.Is(err, catalog.ErrFenced) {
		t.Fatalf("commit after leaving: %v", err)
	}
}

func testTakeover(t *testing.T, cfg catalog.Config) {
	a, b := Open(t, cfg), Open(t, cfg)
	old := Join(t, a, "x")
	if _, err := old.ClaimSlots(background, []int{1, 2}); err != nil {
		t.Fatal(err)
	}
	s, err := b.Join(background, catalog.Gateway{ID: "x", WALID: "wal-x"}, true)
	if err != nil {
		t.Fatal(err)
	}
	if s.Incarnation() <= old.Incarnation() {
		t.Fatalf("incarnation %d after %d", s.Incarnation(), old.Incarnation())
	}
	select {
	case <-old.Lost():
	case <-time.After(5 * time.Second):
		t.Fatal("the evicted session does not know it")
	}
	// One with a log of its own is not the same gateway come back: it waits, and gives up.
	ctx, cancel := context.WithTimeout(background, 300*time.Millisecond)
	defer cancel()
	if _, err := a.Join(ctx, catalog.Gateway{ID: "x", WALID: "wal-y"}, true); !errors.Is(err, catalog.ErrExists) {
		t.Fatalf("a gateway of that name with another log joined: %v", err)
	}
	got, err := s.ClaimSlots(background, []int{1, 2, 3})
	if err != nil || got[1] != 2 || got[2] != 2 || got[3] != 1 {
		t.Fatalf("claimed %v: %v", got, err)
	}
	if sl := b.Slots()[1]; len(sl.Pending) != 0 || sl.WAL != "wal-x" || sl.Incarnation != s.Incarnation() {
		t.Fatalf("slot %+v", sl)
	}
}

func allSlots() []int {
	all := make([]int, catalog.NumSlots)
	for i := range all {
		all[i] = i
	}
	return all
}

func testClaimRace(t *testing.T, cfg catalog.Config) {
	const gateways = 3
	var wg sync.WaitGroup
	var got [gateways]map[int]int64
	var sessions [gateways]*catalog.Session
	for i := range gateways {
		sessions[i] = Join(t, Open(t, cfg), fmt.Sprint("g", i))
	}
	for i := range gateways {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var err error
			if got[i], err = sessions[i].ClaimSlots(background, allSlots()); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	owners := map[int]int{}
	for i := range got {
		for n, epoch := range got[i] {
			owners[n]++
			if epoch != 1 {
				t.Errorf("slot %d has epoch %d", n, epoch)
			}
		}
	}
	for n := range catalog.NumSlots {
		if owners[n] != 1 {
			t.Errorf("slot %d has %d owners", n, owners[n])
		}
	}
}

func testHandOver(t *testing.T, cfg catalog.Config) {
	a, b := Open(t, cfg), Open(t, cfg)
	sa, sb := Join(t, a, "a"), Join(t, b, "b")
	if _, err := sa.ClaimSlots(background, allSlots()); err != nil {
		t.Fatal(err)
	}
	if got, err := sb.ClaimSlots(background, []int{5}); err != nil || len(got) != 0 {
		t.Fatalf("claimed a living owner's slot: %v %v", got, err)
	}
	seg := Segment(0, 9, shard.ID{Topic: 1})
	if err := sa.CommitSegment(background, seg); err != nil {
		t.Fatal(err)
	}
	if err := sa.ReleaseSlots(background, []int{5, 6}); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "b sees the release", func() bool { return b.SlotFree(b.Slots()[5]) && b.SlotFree(b.Slots()[6]) })
	got, err := sb.ClaimSlots(background, []int{5, 6, 7})
	if err != nil || len(got) != 2 || got[5] != 2 || got[6] != 2 {
		t.Fatalf("claimed %v: %v", got, err)
	}
	if _, _, ok := b.FindExtent(shard.ID{Topic: 1}, 9); !ok {
		t.Fatal("the new owner does not see what the former has committed")
	}
	if sl := b.Slots()[5]; len(sl.Pending) != 0 {
		t.Fatalf("a released slot waits for a log: %+v", sl)
	}
	if again, err := sb.ClaimSlots(background, []int{5}); err != nil || again[5] != 2 {
		t.Fatalf("claimed again: %v %v", again, err)
	}
	if err := sa.ReleaseSlots(background, []int{5}); err != nil || b.Slots()[5].Released {
		t.Fatalf("released another's slot: %v", err)
	}
}

func testZombie(t *testing.T, cfg catalog.Config) {
	proxy := StartProxy(t, strings.TrimPrefix(cfg.Endpoints[0], "http://"))
	cut := cfg
	cut.Endpoints = []string{proxy.Addr()}
	a, b := Open(t, cut), Open(t, cfg)
	zombie, heir := Join(t, a, "a"), Join(t, b, "b")
	if _, err := zombie.ClaimSlots(background, allSlots()); err != nil {
		t.Fatal(err)
	}
	id := shard.ID{Topic: 4}
	if err := zombie.CommitSegment(background, Segment(0, 9, id)); err != nil {
		t.Fatal(err)
	}
	proxy.Stall(true)
	late := Segment(10, 19, id)
	result := make(chan error, 1)
	go func() { result <- zombie.CommitSegment(background, late) }()
	select {
	case <-zombie.Lost():
	case <-time.After(cfg.LeaseTTL + 3*time.Second):
		t.Fatal("the session is not lost when the lease must be gone")
	}
	if err := <-result; !errors.Is(err, catalog.ErrFenced) {
		t.Fatalf("commit of a cut-off gateway: %v", err)
	}
	Eventually(t, "the lease runs out", func() bool { return b.SlotFree(b.Slots()[0]) })
	got, err := heir.ClaimSlots(background, allSlots())
	if err != nil || len(got) != catalog.NumSlots || got[9] != 2 {
		t.Fatalf("claimed %d: %v", len(got), err)
	}
	// What the zombie had under way reaches etcd only now.
	proxy.Stall(false)
	if err := heir.CommitSegment(background, Segment(10, 12, id)); err != nil {
		t.Fatal(err)
	}
	if err := zombie.CommitSegment(background, late); !errors.Is(err, catalog.ErrFenced) {
		t.Fatalf("zombie's commit: %v", err)
	}
	if _, err := zombie.ClaimSlots(background, []int{0}); !errors.Is(err, catalog.ErrFenced) {
		t.Fatalf("zombie's claim: %v", err)
	}
	Eventually(t, "a catches up", func() bool { _, last, _ := a.Bounds(id); return last == 12 })
	if x := b.Extents(id); len(x) != 2 || x[1].Extent.Last != 12 {
		t.Fatalf("extents %+v", x)
	}
	// The same process may come back as a new incarnation.
	if _, err := a.Join(background, catalog.Gateway{ID: "a"}, false); err != nil {
		t.Fatal(err)
	}
}

func testPending(t *testing.T, cfg catalog.Config) {
	a, b := Open(t, cfg), Open(t, cfg)
	sa, sb := Join(t, a, "a"), Join(t, b, "b")
	if _, err := sa.ClaimSlots(background, []int{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if err := sa.Leave(); err != nil { // without releasing: as a crash
		t.Fatal(err)
	}
	Eventually(t, "a is gone", func() bool { return b.SlotFree(b.Slots()[1]) })
	if _, err := sb.ClaimSlots(background, []int{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if p := b.Slots()[1].Pending; len(p) != 1 || p[0] != "wal-a" {
		t.Fatalf("pending %v", p)
	}
	if err := sb.SettleWAL(background, "wal-a", []int{1}); err != nil {
		t.Fatal(err)
	}
	if s := b.Slots(); len(s[1].Pending) != 0 || len(s[2].Pending) != 1 || s[1].Epoch != 2 {
		t.Fatalf("slots %+v %+v", s[1], s[2])
	}
	if err := b.AbandonWAL(background, "wal-b"); !errors.Is(err, catalog.ErrConflict) {
		t.Fatalf("abandoned a log that is being written: %v", err)
	}
	if err := b.AbandonWAL(background, "wal-a"); err != nil {
		t.Fatal(err)
	}
	if w, _ := b.WAL("wal-a"); w.State != catalog.WALAbandoned {
		t.Fatalf("wal %+v", w)
	}
	if err := sb.PutWAL(background, "wal-b", catalog.WALClean); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "a sees wal-b clean", func() bool { w, _ := a.WAL("wal-b"); return w.State == catalog.WALClean })
}

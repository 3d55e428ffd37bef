package catalogtest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

func testTopics(t *testing.T, cfg catalog.Config) {
	a, b := Open(t, cfg), Open(t, cfg)
	changed := b.Changed()
	made, err := a.CreateTopic(background, shard.Topic{Name: "telemetry", Shards: 16, Captures: []string{"sensors.>"}, Labels: map[string]string{"k": "v"}})
	if err != nil || made.Num != 1 {
		t.Fatalf("made %+v: %v", made, err)
	}
	<-changed
	Eventually(t, "b has it", func() bool {
		got, ok := b.Topics().Resolve("sensors.kitchen")
		return ok && got.Num == 1 && got.Labels["k"] == "v"
	})
	if _, err := b.CreateTopic(background, shard.Topic{Name: "telemetry", Shards: 1}); !errors.Is(err, shard.ErrTopicExists) {
		t.Fatalf("created twice: %v", err)
	}
	if _, err := b.CreateTopic(background, shard.Topic{Name: "other", Shards: 1, Captures: []string{"sensors.>"}}); !errors.Is(err, shard.ErrCaptureConflict) {
		t.Fatalf("overlap: %v", err)
	}
	if _, err := b.CreateTopic(background, shard.Topic{Name: "none", Shards: 0}); shard.KindOf(err) != shard.KindInvalid {
		t.Fatalf("no shards: %v", err)
	}
	if _, err := b.CreateTopic(background, shard.Topic{Name: "own", Shards: 1, Captures: []string{"sensors.*"}}); err != nil {
		t.Fatal(err)
	}
	up, err := b.UpdateTopic(background, "telemetry", func(tp *shard.Topic) error {
		tp.Shards, tp.Name, tp.Num = 32, "ignored", 99
		return nil
	})
	if err != nil || up.Shards != 32 || up.Num != 1 || up.Name != "telemetry" {
		t.Fatalf("updated %+v: %v", up, err)
	}
	if _, err := b.UpdateTopic(background, "own", func(tp *shard.Topic) error { tp.Captures = []string{"sensors.>"}; return nil }); !errors.Is(err, shard.ErrCaptureConflict) {
		t.Fatalf("update into a conflict: %v", err)
	}
	mine := errors.New("mine")
	if _, err := b.UpdateTopic(background, "own", func(*shard.Topic) error { return mine }); !errors.Is(err, mine) {
		t.Fatalf("update that fails: %v", err)
	}
	if err := b.DeleteTopic(background, "telemetry"); err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteTopic(background, "telemetry"); !errors.Is(err, shard.ErrTopicNotFound) {
		t.Fatalf("deleted twice: %v", err)
	}
	if _, err := b.UpdateTopic(background, "telemetry", func(*shard.Topic) error { return nil }); !errors.Is(err, shard.ErrTopicNotFound) {
		t.Fatalf("update of none: %v", err)
	}
	Eventually(t, "a sees it gone", func() bool { _, ok := a.Topics().ByNum(1); return !ok })
	again, err := a.CreateTopic(background, shard.Topic{Name: "telemetry", Shards: 1})
	if err != nil || again.Num != 3 {
		t.Fatalf("made again %+v: %v", again, err)
	}
}

// testTopicsAtOnce: many topics made at once by several gateways, some of which all
// want, are made once each, with an outcome each and a number each.
func testTopicsAtOnce(t *testing.T, cfg catalog.Config) {
	cats := []*catalog.Catalog{Open(t, cfg), Open(t, cfg)}
	const shared, each = 30, 2 * catalog.MaxTopicsAtOnce
	made := make([]int, len(cats))
	var wg sync.WaitGroup
	for g, c := range cats {
		wg.Go(func() {
			var ts []shard.Topic
			for i := range shared {
				ts = append(ts, shard.Topic{Name: fmt.Sprintf("all.%d", i), Shards: 1, Auto: true})
			}
			for i := range each {
				ts = append(ts, shard.Topic{Name: fmt.Sprintf("own.%d.%d", g, i), Shards: 1, Auto: true})
			}
			bad := []shard.Topic{{Name: "", Shards: 1}, {Name: fmt.Sprintf("own.%d.0", g), Shards: 1}, {Name: "many", Shards: 1, Captures: []string{"many.>"}}}
			out := c.CreateTopics(background, append(ts, bad...))
			for i, o := range out {
				switch {
				case i >= len(ts):
					if o.Err == nil {
						t.Errorf("topic %+v was made", o.Topic)
					}
				case o.Err == nil && o.Topic.Name == ts[i].Name:
					made[g]++
				case i >= shared || !errors.Is(o.Err, shard.ErrTopicExists):
					t.Errorf("%s: %+v %v", ts[i].Name, o.Topic, o.Err)
				}
				if _, ok := c.Topics().ByName(fmt.Sprint(ts[min(i, len(ts)-1)].Name)); !ok {
					t.Errorf("%d is not seen by who made it", i)
				}
			}
		})
	}
	wg.Wait()
	const want = shared + 2*each
	if made[0]+made[1] != want {
		t.Errorf("%v were made, want %d in all", made, want)
	}
	for _, c := range cats {
		Eventually(t, "all are seen", func() bool { return c.Topics().Len() == want })
		nums := map[shard.TopicNum]bool{}
		for tp := range c.Topics().All() {
			nums[tp.Num] = true
		}
		if len(nums) != want {
			t.Errorf("%d numbers", len(nums))
		}
	}
}

// testTopicRace: gateways that create the same subjects at once agree on one
// topic each, and no number is given twice.
func testTopicRace(t *testing.T, cfg catalog.Config) {
	cats := []*catalog.Catalog{Open(t, cfg), Open(t, cfg), Open(t, cfg)}
	var wg sync.WaitGroup
	for g, c := range cats {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 20 {
				for _, tp := range []shard.Topic{
					{Name: fmt.Sprintf("same.%d", i), Shards: 1, Auto: true},
					{Name: fmt.Sprintf("own.%d.%d", g, i), Shards: 1},
					{Name: fmt.Sprintf("wild.%d.%d", g, i), Shards: 1, Captures: []string{fmt.Sprintf("w.%d.*", i)}},
				} {
					_, err := c.CreateTopic(background, tp)
					if err != nil && !errors.Is(err, shard.ErrTopicExists) && !errors.Is(err, shard.ErrCaptureConflict) {
						t.Error(err)
					}
				}
				_, err := c.UpdateTopic(background, fmt.Sprintf("same.%d", i), func(tp *shard.Topic) error { tp.Shards++; return nil })
				if err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	const want = 20 + 60 + 20
	for _, c := range cats {
		Eventually(t, "all are seen", func() bool { return c.Topics().Len() == want })
		nums := map[shard.TopicNum]bool{}
		for tp := range c.Topics().All() {
			nums[tp.Num] = true
			if tp.Auto {
				Eventually(t, tp.Name+" has 4 shards", func() bool { n, _ := c.Topics().ByName(tp.Name); return n.Shards == 4 })
			}
		}
		if len(nums) != want || c.Topics().AutoLen() != 20 {
			t.Fatalf("%d numbers, %d auto", len(nums), c.Topics().AutoLen())
		}
	}
}

func testNumbers(t *testing.T, cfg catalog.Config) {
	cats := []*catalog.Catalog{Open(t, cfg), Open(t, cfg)}
	var mu sync.Mutex
	seen := map[int64]bool{}
	var wg sync.WaitGroup
	for _, c := range cats {
		for range 2 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range 25 {
					first, err := c.NextIDs(background, "producers", 10)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for n := first; n < first+10; n++ {
						if seen[n] || n < 1 {
							t.Errorf("number %d was given twice", n)
						}
						seen[n] = true
					}
					mu.Unlock()
				}
			}()
		}
	}
	wg.Wait()
	if len(seen) != 1000 {
		t.Fatalf("%d numbers", len(seen))
	}
	if _, err := cats[0].NextIDs(background, "producers", 0); !errors.Is(err, catalog.ErrInvalid) {
		t.Fatalf("none taken: %v", err)
	}
}

func testRare(t *testing.T, cfg catalog.Config) {
	a, b := Open(t, cfg), Open(t, cfg)
	u := shard.User{Name: "admin", SCRAM256: &shard.Credential{Salt: []byte("salt"), Iterations: 4096, StoredKey: []byte("k"), ServerKey: []byte("s")}, Superuser: true}
	rule := shard.ACL{Principal: "bob", Resource: "subject", Filter: "a.>", Operation: shard.OpPublish}
	deny := rule
	deny.Deny = true
	steps := []error{
		a.PutUser(background, u), a.PutACLs(background, rule, deny, rule), a.PutACLs(background, rule),
		a.PutQuota(background, catalog.Quota{Name: "bob", Limits: map[string]int64{"bytes": 5}}),
		a.PutFeature(background, catalog.Feature{Name: "groups", Level: 2}),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "b sees all", func() bool { return len(b.Features()) == 1 })
	got, ok := b.User("admin")
	if !ok || !got.Superuser || string(got.SCRAM256.Salt) != "salt" || len(b.Users()) != 1 {
		t.Fatalf("user %+v", got)
	}
	if rules := b.ACLs(); len(rules) != 2 {
		t.Fatalf("rules %+v", rules)
	}
	if q := b.Quotas(); len(q) != 1 || q[0].Limits["bytes"] != 5 {
		t.Fatalf("quotas %+v", q)
	}
	if f, ok := b.Feature("groups"); !ok || f.Level != 2 {
		t.Fatalf("feature %+v", f)
	}
	steps = []error{
		b.DeleteUser(background, "admin"), b.DeleteACLs(background, rule), b.DeleteQuota(background, "bob"),
		b.DeleteQuota(background, "none"), b.DeleteFeature(background, "groups"),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteUser(background, "admin"); !errors.Is(err, catalog.ErrNotFound) {
		t.Fatalf("deleted twice: %v", err)
	}
	if rules := b.ACLs(); len(rules) != 1 || !rules[0].Deny || len(b.Users())+len(b.Quotas())+len(b.Features()) != 0 {
		t.Fatalf("left %+v", rules)
	}
}

func testDump(t *testing.T, cfg catalog.Config) {
	a := Open(t, cfg)
	s := Join(t, a, "gw-1")
	if _, err := s.ClaimSlots(background, []int{3}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.CreateTopic(background, shard.Topic{Name: "orders", Shards: 2}); err != nil {
		t.Fatal(err)
	}
	seg := Segment(100, 199, shard.ID{Topic: 1})
	if err := s.CommitSegment(background, seg); err != nil {
		t.Fatal(err)
	}
	if err := a.PutUser(background, shard.User{Name: "bob", SCRAM256: &shard.Credential{StoredKey: []byte("secret")}}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := a.Dump(background, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"gateways/gw-1", "slots/003", "topics/orders", `"Base":100`, seg.Key, "users/bob", "cluster/id", "wals/wal-gw-1", "counters/topics"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("dump lacks %s:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "c2VjcmV0") || strings.Contains(out.String(), `"error"`) {
		t.Errorf("dump holds a credential or an error:\n%s", &out)
	}
}

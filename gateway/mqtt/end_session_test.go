package mqtt

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// wantState fails unless a session is there, or nothing of it is.
func (b *bed) wantState(id string, want bool) {
	b.t.Helper()
	owners, err := b.mem.Broker().State.Owners(context.Background(), sessionPrefix+id)
	if err != nil {
		b.t.Fatal(err)
	}
	_, gerr := b.mem.Broker().Groups.Get(sessionPrefix + id)
	if (len(owners) > 0) != want || (gerr == nil) != want {
		b.t.Errorf("session %q: state %v, group %v, want %v", id, owners, gerr, want)
	}
}

// TestEndSession: an administrator ends a session, with its client away or there,
// and nothing is left of it; the client begins anew.
func TestEndSession(t *testing.T) {
	eachVersion(t, func(t *testing.T, v packet.Version) {
		b := newBed(t, bedOptions{})
		ctx := context.Background()
		for _, connected := range []bool{false, true} {
			s := b.connect(kept(v, "s")).present(false)
			s.subscribe("a/#", 1)
			s.subscribe("$share/g/b/#", 1)
			if !connected {
				s.bye()
				p := b.connect(clean(v, "p"))
				p.publish("a/1", "x", 1, 1)
				p.finishPublish(1, 1)
				p.bye()
			}
			b.wantState("s", true)
			if err := b.srv.EndSession(ctx, "s"); err != nil {
				t.Fatal(err)
			}
			b.wantState("s", false)
			if _, err := b.mem.Broker().Groups.Get(groupSharePrefix + "g/b/#"); err == nil {
				t.Error("the shared subscription that nobody holds is still there")
			}
			if err := b.srv.EndSession(ctx, "s"); shard.KindOf(err) != shard.KindNotFound {
				t.Errorf("ended twice: %v", err)
			}
		}
		s := b.connect(kept(v, "s")).present(false)
		s.quiet()
		if err := b.srv.EndGroup(ctx, sessionPrefix+"s", false); shard.KindOf(err) != shard.KindInvalid {
			t.Errorf("a session in use was ended without force: %v", err)
		}
		if err := b.srv.EndGroup(ctx, sessionPrefix+"s", true); err != nil {
			t.Error(err)
		}
	})
}

// TestEndShared: the group of a shared subscription whose members are all away.
func TestEndShared(t *testing.T) {
	b := newBed(t, bedOptions{})
	ctx := context.Background()
	const v = packet.V5
	s := b.connect(kept(v, "s"))
	s.subscribe("$share/g/b/#", 1)
	name := groupSharePrefix + "g/b/#"
	if err := b.srv.EndGroup(ctx, name, false); shard.KindOf(err) != shard.KindInvalid {
		t.Errorf("with a member that is connected: %v", err)
	}
	s.bye()
	p := b.connect(clean(v, "p"))
	p.publish("b/1", "lost", 1, 1)
	p.finishPublish(1, 1)
	if err := b.srv.EndGroup(ctx, name, false); err != nil {
		t.Fatal(err)
	}
	s = b.connect(kept(v, "s")).present(true)
	s.quiet()
	p.publish("b/1", "new", 1, 2)
	p.finishPublish(1, 2)
	if k, ok := s.read().(*packet.Publish); !ok || string(k.Payload) != "new" {
		t.Error(show(k))
	}
	if err := b.srv.EndGroup(ctx, groupSharePrefix+"none/x", false); shard.KindOf(err) != shard.KindNotFound {
		t.Errorf("one that is not there: %v", err)
	}
}

// TestSessionsEndByDefault: no session lives for ever unless the configuration says
// so; a version 5 client is told [MQTT-3.2.2-21], and one from before there was a bound has it
// from the next start on.
func TestSessionsEndByDefault(t *testing.T) {
	forever := bedOptions{config: func(c *Config) { c.MaxSessionExpiry = 0 }}
	b := newBed(t, forever)
	never := kept(packet.V5, "v5")
	never.Props = nil
	never.Props = never.Props.AddNum(packet.PropSessionExpiry, noExpiry)
	p := b.connect(never)
	if n := p.ack.Props.Num(packet.PropSessionExpiry, 7); n != 7 {
		t.Errorf("told %d where nothing is changed", n)
	}
	p.bye()
	b.connect(kept(packet.V311, "v3")).bye()
	expires := func() map[string]time.Time {
		t.Helper()
		out := make(map[string]time.Time)
		all, err := b.srv.ListSessions(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			out[s.ID] = s.Expires
		}
		return out
	}
	if es := expires(); len(es) != 2 || !es["v5"].IsZero() || !es["v3"].IsZero() {
		t.Errorf("without a bound: %v", es)
	}
	b = b.restart(bedOptions{})
	bound := defaultConfig().MaxSessionExpiry
	for id, at := range expires() {
		if left := time.Until(at); left < bound-time.Hour || left > bound {
			t.Errorf("%s: %s are left of %s", id, left, bound)
		}
	}
	p = b.connect(never)
	if n := p.ack.Props.Num(packet.PropSessionExpiry, 7); n != uint32(bound/time.Second) {
		t.Errorf("told %d of %s", n, fmt.Sprint(bound))
	}
}

package admin

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// TestChangeGroups: an administrator, and nobody else, deletes and moves groups of
// all kinds and ends sessions.
func TestChangeGroups(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	top, err := r.b.Topics.Create(ctx, shard.Topic{Name: "t", Shards: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		rec := shard.Record{Timestamp: int64(1000 * (i + 1)), Value: []byte("x")}
		if _, err := shard.AppendWait(ctx, r.b.Log, top.Shard(0), shard.BatchOf(rec), shard.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	r.proto.groups = []gateway.GroupInfo{{Name: "pos", Offsets: []gateway.GroupOffset{{Shard: top.Shard(0), Offset: 2}}}}
	g, err := r.b.Groups.Create(ctx, shard.GroupConfig{Name: "fake/plain", Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	f, err := shard.ParseSubjectFilter("t")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Bindings().Add(ctx, shard.Binding{ID: "b", Filter: f}); err != nil {
		t.Fatal(err)
	}
	const positions, plain = base + "/groups/fake%2Fgroup%2Fpos", base + "/groups/fake%2Fplain"
	for _, x := range [][2]string{{http.MethodDelete, plain}, {http.MethodDelete, positions}, {http.MethodPost, plain + "/seek"}, {http.MethodDelete, base + "/sessions/fake/c1"}} {
		r.want(http.StatusUnauthorized, x[0], x[1], "", "")
		r.want(http.StatusForbidden, x[0], x[1], "ann", "")
	}
	for body, want := range map[string]string{
		`{"to":"earliest"}`: "0", `{"to":"latest"}`: "4", `{"to":"time","time":"1970-01-01T00:00:02.5Z"}`: "2",
		`{"to":"time","time":"2100-01-01T00:00:00Z"}`: "4", `{"to":"offset","topic":"t","shard":0,"offset":3}`: "3",
	} {
		r.want(http.StatusNoContent, http.MethodPost, positions+"/seek", "boss", body)
		if got := fmt.Sprint(r.proto.offsets[0].Offset); got != want || len(r.proto.offsets) != 1 {
			t.Errorf("%s: %v, want %s", body, r.proto.offsets, want)
		}
		r.want(http.StatusNoContent, http.MethodPost, plain+"/seek", "boss", body)
		if n := fmt.Sprint(4 - g.Stats().Ready); n != want {
			t.Errorf("%s: a group of the engine begins with %s, want %s", body, n, want)
		}
	}
	r.want(http.StatusNoContent, http.MethodPost, positions+"/seek", "boss", `{"to":"earliest","topic":"t"}`)
	if len(r.proto.offsets) != 2 {
		t.Errorf("a whole topic: %v", r.proto.offsets)
	}
	for body, status := range map[string]int{
		`{"to":"nowhere"}`: 400, `{"to":"time"}`: 400, `{"to":"offset","offset":1}`: 400, `{"to":"latest","shard":1}`: 400, `{"to":"latest","topic":"none"}`: 404,
		`{"to":"latest","topic":"t","shard":9}`: 404, `{"to":"offset","topic":"t","shard":0,"offset":99}`: 400,
	} {
		for _, path := range []string{positions, plain} {
			if w := r.do(http.MethodPost, path+"/seek", "boss", body); w.Code != status {
				t.Errorf("%s %s: status %d, want %d: %s", path, body, w.Code, status, w.Body)
			}
		}
	}
	r.want(http.StatusNotFound, http.MethodPost, base+"/groups/none/seek", "boss", `{"to":"latest"}`)
	r.want(http.StatusNotFound, http.MethodDelete, base+"/groups/none", "boss", "")
	r.want(http.StatusNoContent, http.MethodDelete, positions, "boss", "")
	r.want(http.StatusNoContent, http.MethodDelete, base+"/groups/fake%2Fqueue?force=true", "boss", "")
	r.want(http.StatusBadRequest, http.MethodDelete, plain+"?force=perhaps", "boss", "")
	s := decode[Session](t, r.want(http.StatusOK, http.MethodGet, base+"/sessions/fake/c1", "boss", ""))
	if s.Subscriptions != 2 || s.PinnedBytes != 7 || s.Ready != g.Stats().Ready {
		t.Errorf("session %+v", s)
	}
	if x := decode[Group](t, r.want(http.StatusOK, http.MethodGet, plain, "boss", "")); x.PinnedBytes != 7 {
		t.Errorf("group %+v", x)
	}
	r.want(http.StatusNotFound, http.MethodGet, base+"/sessions/fake/none", "boss", "")
	r.want(http.StatusNoContent, http.MethodDelete, base+"/sessions/fake/a%2Fb", "boss", "")
	r.want(http.StatusBadRequest, http.MethodDelete, base+"/sessions/none/c1", "boss", "")
	r.want(http.StatusNoContent, http.MethodDelete, plain, "boss", "")
	if _, err := r.b.Groups.Get("fake/plain"); shard.KindOf(err) != shard.KindNotFound {
		t.Errorf("the group is still there: %v", err)
	}
	if got := strings.Join(r.proto.ended, ", "); got != "positions pos, fake/queue true, session a/b" {
		t.Errorf("ended: %s", got)
	}
	m := string(r.want(http.StatusOK, http.MethodGet, "/metrics", "", ""))
	if n := strings.Count(m, "robustmq_group_pinned_bytes{"); n != topPinning || !strings.Contains(m, `robustmq_group_pinned_bytes{group="g49"} 149`) || !strings.Contains(m, "robustmq_groups_pinning 51") {
		t.Errorf("%d groups are named in metrics", n)
	}
}

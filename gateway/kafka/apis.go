package kafka

import (
	"context"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Keys that the code outside the table speaks of.
const (
	keyProduce     int16 = 0
	keyAPIVersions int16 = 18
)

// api is one row of the table: what ApiVersions shows and what is dispatched.
type api struct {
	key  int16
	name string
	// min and max are the versions that are served.
	min, max int16
	// shownMin is what ApiVersions shows as the least version, where that is
	// not min: librdkafka takes features for missing where these are not
	// shown (KAFKA-18659).
	shownMin int16
	// early requests are served to who is not logged in.
	early bool
	// maxBytes bounds the frame.
	maxBytes int
	// shapes by version: what a body must look like before it is decoded.
	shapes []*shape
	// serve handles a request on the processor's goroutine; it ends it, then
	// or later, exactly once.
	serve func(c *conn, r *request)
}

type apiTable struct {
	rows  []api
	byKey [128]*api
}

func (t *apiTable) find(key int16) *api {
	if key < 0 || int(key) >= len(t.byKey) {
		return nil
	}
	return t.byKey[key]
}

// on makes a serve function of a handler that answers when it returns. A nil
// response closes the connection.
func on[Q kmsg.Request](f func(ctx context.Context, c *conn, q Q) kmsg.Response) func(*conn, *request) {
	return func(c *conn, r *request) {
		resp := f(c.ctx, c, r.body.(Q))
		if resp == nil {
			r.hangUp()
			return
		}
		r.replyAfter(resp, pauseOf(resp))
	}
}

func row(key, from, to int16, shape string, serve func(*conn, *request)) api {
	a := api{key: key, name: kmsg.NameForKey(key), min: from, shownMin: from, max: to, maxBytes: maxPlainFrame, serve: serve}
	a.shapes = shapesOf(key, to, shape)
	return a
}

func (a api) upTo(n int) api { a.maxBytes = n; return a }

func (a api) beforeLogin() api { a.early = true; return a }

func (a api) shownFrom(v int16) api { a.shownMin = v; return a }

// newTable is THE table. Shapes are explained at type shape.
func newTable() *apiTable {
	t := &apiTable{rows: []api{
		row(0, 3, 13, "s3+ h i [s0-12 u13+ [i y]]", serveProduce).upTo(maxFrame).shownFrom(0),
		row(1, 4, 18, "i0-14 i i i3+ b4+ i7+ i7+ [s0-12 u13+ [i i9+ q i12+ q5+ i]] [s0-12 u13+ (i)]7+ s11+", serveFetch),
		row(2, 1, 11, "i b2+ [s [i i4+ q i0]] i10+", on(listOffsets)),
		row(3, 0, 13, "[u10+ s] b4+ b8-10 b8+", on(metadata)),
		row(8, 2, 10, "s i1+ s1+ s7+ q2-4 [s0-9 u10+ [i q q1 i6+ s]]", serveOffsetCommit),
		row(9, 1, 10, "s0-7 [s (i)]0-7 [s s9+ i9+ [s0-9 u10+ (i)]]8+ b7+", on(offsetFetch)),
		row(10, 0, 6, "s0-3 b1+ (s)4+", on(findCoordinator)),
		row(11, 2, 9, "s i i1+ s s5+ s [s y] s8+", on(joinGroup)),
		row(12, 0, 4, "s i s s3+", on(heartbeat)),
		row(13, 0, 5, "s s0-2 [s s s5+]3+", on(leaveGroup)),
		row(14, 0, 5, "s i s s3+ s5+ s5+ [s y]", on(syncGroup)).upTo(shard.MaxStateValue),
		row(15, 0, 6, "(s) b3+", on(describeGroups)),
		row(16, 0, 5, "(s)4+ (s)5+", on(listGroups)),
		row(17, 1, 1, "s", on(saslHandshake)).beforeLogin().shownFrom(0),
		row(18, 0, 5, "s3+ s3+ s5+ i5+", serveAPIVersions).beforeLogin(),
		row(19, 2, 7, "[s i h [i (i)] [s s]] i b", on(createTopics)),
		row(20, 1, 6, "(s)0-5 [s u]6+ i", on(deleteTopics)),
		row(21, 0, 2, "[s [i q]] i", on(deleteRecords)),
		row(22, 0, 5, "s i q3+ h3+", on(initProducerID)),
		row(23, 2, 4, "i3+ [s [i i i]]", on(offsetForLeaderEpoch)),
		row(29, 1, 3, "b s b s s b b", on(describeACLs)),
		row(30, 1, 3, "[b s b s s b b]", on(createACLs)),
		row(31, 1, 3, "[b s b s s b b]", on(deleteACLs)),
		row(32, 1, 4, "[b s (s)] b b3+", on(describeConfigs)),
		row(33, 0, 2, "[b s [s s]] b", on(alterConfigs)),
		row(35, 1, 4, "[s (i)]", on(describeLogDirs)),
		row(36, 0, 2, "y", serveSASLAuthenticate).beforeLogin(),
		row(37, 0, 3, "[s i [(i)]] i b", on(createPartitions)),
		row(42, 0, 3, "(s)", on(deleteGroups)),
		row(43, 0, 2, "b1+ [s (i)] i", on(electLeaders)),
		row(44, 0, 1, "[b s [s b s]] b", on(incrementalAlterConfigs)),
		row(46, 0, 0, "i [s (i)]", on(listPartitionReassignments)),
		row(47, 0, 0, "s [s [i]]", on(offsetDelete)),
		row(48, 0, 1, "[s b s] b", on(describeClientQuotas)),
		row(49, 0, 1, "[[s s] [s q b]] b", on(alterClientQuotas)),
		row(50, 0, 0, "[s]", on(describeSCRAM)),
		row(51, 0, 0, "[s b] [s b i y y]", on(alterSCRAM)),
		row(60, 0, 2, "b b1+ b2+", on(describeCluster)),
		row(75, 0, 0, "[s] i ?[s i]", on(describeTopicPartitions)),
	}}
	for i := range t.rows {
		t.byKey[t.rows[i].key] = &t.rows[i]
	}
	return t
}

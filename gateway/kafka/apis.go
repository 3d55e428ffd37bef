package kafka

import (
	"context"

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
	// not min (KAFKA-18659).
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
		r.reply(resp)
	}
}

func row(key, from, to int16, shape string, serve func(*conn, *request)) api {
	a := api{key: key, name: kmsg.NameForKey(key), min: from, shownMin: from, max: to, maxBytes: maxPlainFrame, serve: serve}
	a.shapes = shapesOf(key, to, shape)
	return a
}

func (a api) large() api { a.maxBytes = maxFrame; return a }

func (a api) beforeLogin() api { a.early = true; return a }

func (a api) shownFrom(v int16) api { a.shownMin = v; return a }

// newTable is THE table. Shapes are explained at type shape.
func newTable() apiTable {
	t := apiTable{rows: []api{
		row(0, 3, 13, "s3+ h i [s0-12 u13+ [i y]]", serveProduce).large().shownFrom(0),
		row(1, 4, 18, "i0-14 i i i3+ b4+ i7+ i7+ [s0-12 u13+ [i i9+ q i12+ q5+ i]] [s0-12 u13+ (i)]7+ s11+", serveFetch),
		row(2, 1, 11, "i b2+ [s [i i4+ q i0]] i10+", on(listOffsets)),
		row(3, 0, 13, "[u10+ s] b4+ b8-10 b8+", on(metadata)),
		row(8, 2, 10, "s i1+ s1+ s7+ q2-4 [s0-9 u10+ [i q q1 i6+ s]]", serveOffsetCommit),
		row(9, 1, 10, "s0-7 [s (i)]0-7 [s s9+ i9+ [s0-9 u10+ (i)]]8+ b7+", on(offsetFetch)),
		row(10, 0, 6, "s0-3 b1+ (s)4+", on(findCoordinator)),
		row(11, 2, 9, "s i i1+ s s5+ s [s y] s8+", on(joinGroup)),
		row(12, 0, 4, "s i s s3+", on(heartbeat)),
		row(13, 0, 5, "s s0-2 [s s s5+]3+", on(leaveGroup)),
		row(14, 0, 5, "s i s s3+ s5+ s5+ [s y]", on(syncGroup)).large(),
		row(18, 0, 5, "s3+ s3+ s5+ i5+", serveAPIVersions).beforeLogin(),
		row(22, 0, 5, "s i q3+ h3+", on(initProducerID)),
	}}
	for i := range t.rows {
		t.byKey[t.rows[i].key] = &t.rows[i]
	}
	return t
}

package amqp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// bindingDefault is the ID of the group binding that stands for the default
// exchange's.
const bindingDefault = "default"

// maxEffective bounds the group bindings that one queue's bindings resolve to.
const maxEffective = 10_000

// newBinding makes a binding; its id follows from what it says.
func newBinding(source, dest string, toQueue bool, key string, args frame.Table) *binding {
	b := &binding{source: source, dest: dest, toQueue: toQueue, key: key, args: args}
	kind := "e"
	if toQueue {
		kind = "q"
	}
	sum := sha256.Sum256(frame.AppendTable(nil, args))
	b.id = strings.Join([]string{source, kind + dest, key, hex.EncodeToString(sum[:8])}, "\x00")
	return b
}

// headersOf gives the condition of a headers exchange's binding: x-match all
// (the default) or any, over the arguments that do not begin with "x-"; with
// all-with-x and any-with-x over those too.
func headersOf(args frame.Table) (*shard.HeaderMatch, error) {
	m := &shard.HeaderMatch{}
	withX := false
	if v, ok := args.Get("x-match"); ok {
		switch v.Str {
		case "all":
		case "any":
			m.Any = true
		case "all-with-x":
			withX = true
		case "any-with-x":
			m.Any, withX = true, true
		default:
			return nil, refuse(codePreconditionFailed, "invalid x-match field value \"%s\"; expected all, any, all-with-x, or any-with-x", v.Str)
		}
	}
	for _, f := range args {
		if f.Name == "x-match" || strings.HasPrefix(f.Name, "x-") && !withX {
			continue
		}
		c := shard.HeaderCond{Name: f.Name}
		if s, ok := f.Value.Text(); ok {
			c.Value = []byte(s)
		}
		m.Conds = append(m.Conds, c)
	}
	return m, nil
}

// route is a way by which messages of an exchange reach a queue: the routing
// keys that take it, and conditions on headers, all of which must hold.
type route struct {
	exchange *exchange
	tokens   []shard.Token
	headers  []*shard.HeaderMatch
}

var anyKey = []shard.Token{{Kind: shard.TokenMany}}

// tokensOf gives the routing keys that a binding takes by its source's type.
func tokensOf(x *exchange, b *binding) []shard.Token {
	switch x.typ {
	case typeDirect:
		return shard.LiteralFilter(b.key).Tokens
	case typeTopic:
		f, err := shard.ParseAMQPFilter("", b.key)
		if err == nil {
			return f.Tokens
		}
		return shard.LiteralFilter(b.key).Tokens
	}
	return anyKey
}

// takes tells whether a binding of x takes a message.
func (b *binding) takes(x *exchange, key string, r *shard.Record) bool {
	switch x.typ {
	case typeDirect:
		return b.key == key
	case typeTopic:
		ts := tokensOf(x, b)
		if key == "" { // no words at all
			return b.key == "" || !slices.ContainsFunc(ts, func(t shard.Token) bool { return t.Kind != shard.TokenMany })
		}
		return shard.Filter{Tokens: ts}.Match(key)
	case typeHeaders:
		return b.headers.Match(r)
	}
	return true
}

// link puts a binding into the maps; mu is held. It tells whether both its ends
// exist.
func (vh *vhost) link(b *binding) bool {
	x := vh.mu.exchanges[b.source]
	if x == nil {
		return false
	}
	if x.typ == typeHeaders {
		b.headers, _ = headersOf(b.args)
	}
	if b.toQueue {
		q := vh.mu.queues[b.dest]
		if q == nil {
			return false
		}
		q.in[b.id] = b
	} else {
		d := vh.mu.exchanges[b.dest]
		if d == nil {
			return false
		}
		d.in[b.id] = b
	}
	x.out[b.id] = b
	x.used = true
	return true
}

// unlink takes it out again; mu is held. It tells whether the source, an
// auto-delete exchange, has lost its last binding.
func (vh *vhost) unlink(b *binding) (orphan bool) {
	if b.toQueue {
		if q := vh.mu.queues[b.dest]; q != nil {
			delete(q.in, b.id)
		}
	} else if d := vh.mu.exchanges[b.dest]; d != nil {
		delete(d.in, b.id)
	}
	x := vh.mu.exchanges[b.source]
	if x == nil {
		return false
	}
	delete(x.out, b.id)
	return x.autoDelete && len(x.out) == 0
}

// routes gives all ways to a queue, those over bound exchanges too; mu is held.
// ok is false when there are too many.
func (vh *vhost) routes(q *queue) (rs []route, ok bool) {
	w := walker{vh: vh, seen: make(map[string]bool)}
	for _, b := range q.in {
		w.step(b, anyKey, nil)
	}
	return w.out, !w.over
}

// walker goes from a queue upstream. Each exchange is left once per different
// condition: cycles end, since meeting a condition twice adds nothing.
type walker struct {
	vh   *vhost
	out  []route
	seen map[string]bool
	over bool
}

// step adds what passes b and then meets tokens and headers.
func (w *walker) step(b *binding, tokens []shard.Token, headers []*shard.HeaderMatch) {
	x := w.vh.mu.exchanges[b.source]
	if x == nil {
		return
	}
	if x.typ == typeHeaders && !slices.Contains(headers, b.headers) {
		headers = append(slices.Clip(headers), b.headers)
	}
	ps, ok := intersect(tokensOf(x, b), tokens)
	w.over = w.over || !ok
	for _, ts := range ps {
		r := route{x, ts, headers}
		key := r.key()
		if w.over || w.seen[key] {
			continue
		}
		w.seen[key] = true
		w.out = append(w.out, r)
		w.over = len(w.out) > maxEffective
		for _, up := range x.in {
			w.step(up, ts, headers)
		}
	}
}

// key tells routes apart.
func (r *route) key() string {
	ids := make([]string, len(r.headers))
	for i, m := range r.headers {
		ids[i] = headersID(m)
	}
	slices.Sort(ids)
	return strings.Join(slices.Concat(ids, []string{r.exchange.name, shard.Filter{Tokens: r.tokens}.String()}), "\x00")
}

// subjects gives the filter of a route.
func (vh *vhost) subjects(r *route) shard.Filter {
	prefix := vh.prefix + r.exchange.name
	if r.exchange.name == "amq.topic" {
		if len(r.tokens) == 1 && r.tokens[0] == (shard.Token{}) { // the empty key has the exchange's own subject
			return shard.LiteralFilter(prefix)
		}
		prefix = strings.TrimSuffix(vh.prefix, ".")
	}
	var f shard.Filter
	if prefix != "" {
		f = shard.LiteralFilter(prefix)
	}
	if len(r.tokens) == 1 && r.tokens[0] == (shard.Token{}) {
		return f
	}
	f.Tokens = append(f.Tokens, r.tokens...)
	return f
}

// effective gives the group bindings that follow from a queue's bindings.
func (vh *vhost) effective(q *queue) (map[string]shard.Binding, error) {
	out := make(map[string]shard.Binding)
	vh.mu.RLock()
	routes, ok := vh.routes(q)
	vh.mu.RUnlock()
	if !ok {
		return nil, refuse(codePreconditionFailed, "bindings of queue '%s' resolve to too many patterns", q.name)
	}
	for i := range routes {
		f := vh.subjects(&routes[i])
		for _, m := range conjunction(routes[i].headers) {
			id := bindingID(f, m)
			b := shard.Binding{ID: id, Filter: f, Headers: m}
			if old, ok := out[id]; routes[i].exchange.name != "amq.topic" && (!ok || old.Data != nil) {
				b.Data = []byte(dataExchange)
			}
			out[id] = b
		}
		if len(out) > maxEffective {
			return nil, refuse(codePreconditionFailed, "bindings of queue '%s' resolve to over %d", q.name, maxEffective)
		}
	}
	return out, nil
}

// bindGroup brings the bindings of a queue's group, and those of a stream's
// consumers, in line with the topology.
func (vh *vhost) bindGroup(ctx context.Context, q *queue) error {
	want, err := vh.effective(q)
	if err != nil {
		return err
	}
	q.bound = -1
	if err := align(ctx, q.group.Bindings(), want); err != nil {
		return err
	}
	q.bound = len(want)
	for _, b := range want {
		if b.Data == nil { // its ID may be another's too
			q.bound = -1
			break
		}
	}
	vh.mu.RLock()
	streams := slices.Collect(maps.Keys(q.streams))
	vh.mu.RUnlock()
	for _, name := range streams {
		g, err := vh.s.env.Broker.Groups.Get(name)
		if err == nil {
			err = align(ctx, g.Bindings(), want)
		}
		if err != nil && shard.KindOf(err) != shard.KindNotFound { // its consumer went
			return err
		}
	}
	return nil
}

// downstream gives the queues that messages of an exchange reach.
func (vh *vhost) downstream(x *exchange) []*queue {
	vh.mu.RLock()
	defer vh.mu.RUnlock()
	seen := map[*exchange]bool{}
	found := map[*queue]bool{}
	vh.descend(x, seen, found)
	out := make([]*queue, 0, len(found))
	for q := range found {
		out = append(out, q)
	}
	return out
}

func (vh *vhost) descend(x *exchange, seen map[*exchange]bool, found map[*queue]bool) {
	if x == nil || seen[x] {
		return
	}
	seen[x] = true
	for _, b := range x.out {
		if !b.toQueue {
			vh.descend(vh.mu.exchanges[b.dest], seen, found)
		} else if q := vh.mu.queues[b.dest]; q != nil {
			found[q] = true
		}
	}
}

// reaches tells whether a message published to x reaches any queue; mu is held.
func (vh *vhost) reaches(x *exchange, key string, r *shard.Record, seen map[*exchange]bool) bool {
	if x == nil || seen[x] {
		return false
	}
	for _, b := range x.out {
		if !b.takes(x, key, r) {
			continue
		}
		if b.toQueue {
			return true
		}
		if seen == nil {
			seen = make(map[*exchange]bool)
		}
		seen[x] = true
		if vh.reaches(vh.mu.exchanges[b.dest], key, r, seen) {
			return true
		}
	}
	return false
}

// conjunction turns conditions that must all hold into alternatives, each a
// single condition; {nil} for none.
func conjunction(ms []*shard.HeaderMatch) []*shard.HeaderMatch {
	if len(ms) == 0 {
		return []*shard.HeaderMatch{nil}
	}
	if len(ms) == 1 {
		return []*shard.HeaderMatch{ms[0]}
	}
	alts := [][]shard.HeaderCond{nil}
	for _, m := range ms {
		if !m.Any {
			for i := range alts {
				alts[i] = append(slices.Clip(alts[i]), m.Conds...)
			}
			continue
		}
		var next [][]shard.HeaderCond
		for _, a := range alts {
			for _, c := range m.Conds {
				next = append(next, append(slices.Clip(a), c))
			}
		}
		if alts = next; len(alts) > maxEffective {
			alts = alts[:maxEffective+1]
		}
	}
	out := make([]*shard.HeaderMatch, len(alts))
	for i, a := range alts {
		out[i] = &shard.HeaderMatch{Conds: a}
	}
	return out
}

// headersID tells conditions apart.
func headersID(m *shard.HeaderMatch) string {
	if m == nil {
		return ""
	}
	var b []byte
	if m.Any {
		b = append(b, "any"...)
	}
	for _, c := range m.Conds {
		b = append(append(b, 0), c.Name...)
		if c.Value != nil {
			b = append(append(b, '='), c.Value...)
		}
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12])
}

// maxPatterns bounds the patterns that an intersection may have.
const maxPatterns = 64

// intersect gives patterns that together take exactly the routing keys that both
// a and b take. AMQP patterns are closed under it but for the number of
// patterns; ok is false when that is over maxPatterns.
func intersect(a, b []shard.Token) (ps [][]shard.Token, ok bool) {
	in := intersection{a: words(a), b: words(b), memo: make(map[[2]int][][]shard.Token)}
	ps = in.at(0, 0)
	for i := range ps {
		if len(ps[i]) == 0 {
			ps[i] = shard.LiteralFilter("").Tokens
		}
	}
	return ps, !in.over
}

// words gives the words of a pattern: the empty routing key has none, and is no word
// that * would take.
func words(ts []shard.Token) []shard.Token {
	if len(ts) == 1 && ts[0] == (shard.Token{}) {
		return nil
	}
	return ts
}

type intersection struct {
	a, b []shard.Token
	memo map[[2]int][][]shard.Token
	work int // tokens looked at or copied
	over bool
}

// maxWork bounds the time that an intersection may take.
const maxWork = 1 << 20

// at intersects a from i on with b from j on.
func (in *intersection) at(i, j int) [][]shard.Token {
	if in.over {
		return nil
	}
	key := [2]int{i, j}
	if ps, ok := in.memo[key]; ok {
		return ps
	}
	ps := in.step(in.a[i:], in.b[j:], i, j)
	in.memo[key] = ps
	return ps
}

func (in *intersection) step(a, b []shard.Token, i, j int) [][]shard.Token {
	manyA := len(a) > 0 && a[0].Kind == shard.TokenMany
	manyB := len(b) > 0 && b[0].Kind == shard.TokenMany
	switch {
	case len(a) == 0 && len(b) == 0:
		return [][]shard.Token{nil}
	case manyA && len(a) == 1:
		return [][]shard.Token{b}
	case manyB && len(b) == 1:
		return [][]shard.Token{a}
	case manyA && manyB: // one of them ends first
		return in.prepend(a[0], in.union(in.at(i+1, j), in.at(i, j+1)))
	case manyA && len(b) == 0:
		return in.at(i+1, j)
	case manyB && len(a) == 0:
		return in.at(i, j+1)
	case manyA: // takes nothing, or the next word of b
		return in.union(in.at(i+1, j), in.prepend(b[0], in.at(i, j+1)))
	case manyB:
		return in.union(in.at(i, j+1), in.prepend(a[0], in.at(i+1, j)))
	case len(a) == 0 || len(b) == 0:
		return nil
	case a[0].Kind == shard.TokenOne:
		return in.prepend(b[0], in.at(i+1, j+1))
	case b[0].Kind == shard.TokenOne || a[0].Text == b[0].Text:
		return in.prepend(a[0], in.at(i+1, j+1))
	}
	return nil
}

func (in *intersection) prepend(t shard.Token, tails [][]shard.Token) [][]shard.Token {
	out := make([][]shard.Token, 0, len(tails))
	for _, tail := range tails {
		if t.Kind == shard.TokenMany && len(tail) > 0 && tail[0].Kind == shard.TokenMany {
			out = append(out, tail)
			continue
		}
		in.work += len(tail) + 1
		out = append(out, append([]shard.Token{t}, tail...))
	}
	in.over = in.over || in.work > maxWork
	return out
}

func (in *intersection) union(a, b [][]shard.Token) [][]shard.Token {
	a = slices.Clip(a)
	for _, ts := range b {
		in.work += len(a) * len(ts)
		if !slices.ContainsFunc(a, func(o []shard.Token) bool { return slices.Equal(o, ts) }) {
			a = append(a, ts)
		}
	}
	in.over = in.over || len(a) > maxPatterns || in.work > maxWork
	return a
}

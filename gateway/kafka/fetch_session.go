package kafka

import (
	"math/rand/v2"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// maxFetchSessions bounds the sessions of a connection. A client keeps one
	// for each broker.
	maxFetchSessions = 4
	// maxSessionParts bounds the partitions of a session; larger fetches are
	// served without one.
	maxSessionParts = 10_000
)

// fetchSessions are the fetch sessions (KIP-227) of one connection. They end
// with it: a client that comes back is told FETCH_SESSION_ID_NOT_FOUND and
// starts a new one. The processor alone uses them.
type fetchSessions struct {
	byID map[int32]*fetchSession
}

// fetchSession remembers what a client fetches, so that it need not repeat it,
// and what it knows, so that we need not.
type fetchSession struct {
	id    int32 // 0: no session
	epoch int32 // of the next request
	parts []*fetchPart
	index map[partKey]int
	// incremental answers leave out what did not change.
	incremental bool
	turn        partKey // that was the first to get records: it is the next one's turn
}

// open finds or makes the session of a request.
func (s *fetchSessions) open(q *kmsg.FetchRequest) (*fetchSession, int16) {
	if q.Version < 7 || q.SessionEpoch <= 0 {
		delete(s.byID, q.SessionID)
		sess := &fetchSession{index: make(map[partKey]int)}
		sess.update(q)
		if q.Version >= 7 && q.SessionEpoch == 0 && len(sess.parts) > 0 {
			s.keep(sess)
		}
		return sess, codeNone
	}
	sess := s.byID[q.SessionID]
	switch {
	case sess == nil:
		return nil, codeFetchSessionIDNotFound
	case sess.epoch != q.SessionEpoch:
		return nil, codeInvalidFetchSessionEpoch
	}
	sess.forget(q)
	sess.update(q)
	sess.incremental = true
	return sess, codeNone
}

func (s *fetchSessions) keep(sess *fetchSession) {
	if len(s.byID) >= maxFetchSessions || len(sess.parts) > maxSessionParts {
		return
	}
	if s.byID == nil {
		s.byID = make(map[int32]*fetchSession)
	}
	for sess.id == 0 || s.byID[sess.id] != nil {
		sess.id = rand.Int32()
	}
	s.byID[sess.id] = sess
}

func (s *fetchSessions) close() { s.byID = nil }

func (s *fetchSession) update(q *kmsg.FetchRequest) {
	for i := range q.Topics {
		t := &q.Topics[i]
		for j := range t.Partitions {
			from := &t.Partitions[j]
			key := partKey{t.Topic, t.TopicID, from.Partition}
			at, ok := s.index[key]
			if !ok {
				at = len(s.parts)
				if s.id != 0 && at >= maxSessionParts {
					return
				}
				s.index[key] = at
				s.parts = append(s.parts, &fetchPart{key: key, sentEnd: -1, sentStart: -1})
			}
			p := s.parts[at]
			p.offset, p.epoch, p.maxBytes = from.FetchOffset, from.CurrentLeaderEpoch, int(from.PartitionMaxBytes)
			if q.Version < 9 {
				p.epoch = -1
			}
		}
	}
}

func (s *fetchSession) forget(q *kmsg.FetchRequest) {
	gone := false
	for i := range q.ForgottenTopics {
		t := &q.ForgottenTopics[i]
		for _, n := range t.Partitions {
			key := partKey{t.Topic, t.TopicID, n}
			if at, ok := s.index[key]; ok {
				s.parts[at], gone = nil, true
				delete(s.index, key)
			}
		}
	}
	if !gone {
		return
	}
	kept := s.parts[:0]
	for _, p := range s.parts {
		if p != nil {
			s.index[p.key] = len(kept)
			kept = append(kept, p)
		}
	}
	clear(s.parts[len(kept):])
	s.parts = kept
}

// order gives the partitions. Those of a session come sorted, as they lie in
// segments, and from the one on after that which was the first to get records: the
// first gets a batch even where it is over its bounds. Without a session the client
// sees to that.
func (s *fetchSession) order() []*fetchPart {
	if s.id == 0 || len(s.parts) < 2 {
		return s.parts
	}
	out := slices.Clone(s.parts)
	slices.SortFunc(out, func(a, b *fetchPart) int { return a.key.compare(b.key) })
	first, found := slices.BinarySearchFunc(out, s.turn, func(p *fetchPart, turn partKey) int { return p.key.compare(turn) })
	if found {
		first++
	}
	return append(out[first:len(out):len(out)], out[:first]...)
}

// answer puts into the reply what the client has to know.
func (s *fetchSessions) answer(sess *fetchSession, f *fetch) {
	f.reply.readCommitted = f.q.IsolationLevel == 1
	if i := slices.IndexFunc(f.parts, func(p *fetchPart) bool { return p.bytes > 0 }); i >= 0 {
		sess.turn = f.parts[i].key
	}
	for _, p := range f.parts {
		changed := p.bytes > 0 || p.code != codeNone || p.code != p.sentCode ||
			p.bounds.End != p.sentEnd || p.bounds.Start != p.sentStart
		p.sentCode, p.sentEnd, p.sentStart = p.code, p.bounds.End, p.bounds.Start
		if !sess.incremental || changed {
			f.reply.add(p)
		}
		p.batches, p.shown = nil, nil
	}
	if sess.id == 0 {
		return
	}
	f.reply.SessionID = sess.id
	if sess.epoch++; sess.epoch <= 0 { // wraps to 1
		sess.epoch = 1
	}
}

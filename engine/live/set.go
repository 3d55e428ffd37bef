package live

import "sync/atomic"

// manyValues is from how many on a Set knows where each value is.
const manyValues = 16

// set is the values under one filter. It changes under the index's lock.
type set[V comparable] struct {
	vals []V
	at   map[V]int // places in vals, of many
	more map[V]int // how often a value was added again
	// version rises with each change of vals.
	version atomic.Uint64
	// kept follows the values once somebody asked what they are.
	kept keeper[V]
}

// keeper makes something of a set's values, change by change.
type keeper[V comparable] interface {
	add(v V)
	remove(v V)
}

func (s *set[V]) find(v V) int {
	if s.at != nil {
		if i, ok := s.at[v]; ok {
			return i
		}
		return -1
	}
	for i, o := range s.vals {
		if o == v {
			return i
		}
	}
	return -1
}

func (s *set[V]) add(v V) {
	if s.find(v) >= 0 {
		if s.more == nil {
			s.more = make(map[V]int)
		}
		s.more[v]++
		return
	}
	s.vals = append(s.vals, v)
	switch {
	case s.at != nil:
		s.at[v] = len(s.vals) - 1
	case len(s.vals) > manyValues:
		s.at = make(map[V]int, 2*len(s.vals))
		for i, o := range s.vals {
			s.at[o] = i
		}
	}
	s.version.Add(1)
	if s.kept != nil {
		s.kept.add(v)
	}
}

// remove takes a value out once, and tells whether it was there.
func (s *set[V]) remove(v V) bool {
	i := s.find(v)
	if i < 0 {
		return false
	}
	if s.more[v] > 0 {
		if s.more[v]--; s.more[v] == 0 {
			delete(s.more, v)
		}
		return true
	}
	last := len(s.vals) - 1
	moved := s.vals[last]
	var none V
	s.vals[i], s.vals[last] = moved, none
	s.vals = s.vals[:last]
	if s.at != nil {
		s.at[moved] = i
		delete(s.at, v)
	}
	if cap(s.vals) > 4*manyValues && last < cap(s.vals)/4 {
		s.vals = append(make([]V, 0, 2*last), s.vals...)
	}
	s.version.Add(1)
	if s.kept != nil {
		s.kept.remove(v)
	}
	return true
}

// version of several sets: it is another one after a change of any of them.
func versionOf[V comparable](sets []*set[V]) (n uint64) {
	for _, s := range sets {
		n += s.version.Load()
	}
	return n
}

package kafka

import (
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// shape is the outline of a request at one version. A body is held against it
// before it is decoded, because the decoder takes memory and time for what
// lengths announce: every array and every list of tags must fit into the bytes
// that are there.
//
// It is written as fields in order: b (1 byte), h (2), i (4), q (8), u (a UUID),
// s (string), y (bytes), [...] (array of structs), (x) (array of x), ?[...] (a
// struct or null, with a byte that tells which); each
// followed by the versions that have it: "3+", "0-7", "2", or nothing for all.
type shape struct {
	fields   []field
	flexible bool
	// noTag is a tag that is refused at the top level (-1: none): one that
	// the decoder would look into.
	noTag int64
}

type field struct {
	kind  byte // as written; '[' and '(' have elem
	elem  []field
	least int // bytes it takes at least
}

// maxTags bounds the tagged fields of one struct; Kafka defines at most four.
const maxTags = 64

var fixedSizes = map[byte]int{'b': 1, 'h': 2, 'i': 4, 'q': 8, 'u': 16}

// shapesOf compiles an outline for each version up to last. It panics on a
// malformed one: the table is ours.
func shapesOf(key, last int16, text string) []*shape {
	out := make([]*shape, last+1)
	for v := range last + 1 {
		q := kmsg.RequestForKey(key)
		q.SetVersion(v)
		p := shapeParser{rest: strings.ReplaceAll(text, " ", ""), version: int(v), flexible: q.IsFlexible()}
		out[v] = &shape{fields: p.fields(0), flexible: p.flexible, noTag: -1}
		if key == 1 {
			out[v].noTag = 1 // ReplicaState: followers only
		}
	}
	return out
}

type shapeParser struct {
	rest     string
	version  int
	flexible bool
}

func (p *shapeParser) fields(end byte) []field {
	var fs []field
	for p.rest != "" && p.rest[0] != end {
		f := field{kind: p.rest[0]}
		p.rest = p.rest[1:]
		switch f.kind {
		case '?':
			p.rest = p.rest[1:]
			f.elem = p.fields(']')
		case '[':
			f.elem = p.fields(']')
		case '(':
			f.elem = p.fields(')')
		}
		if p.inRange() {
			f.least = p.least(&f)
			fs = append(fs, f)
		}
	}
	if end != 0 {
		p.rest = p.rest[1:]
	}
	return fs
}

// inRange reads the versions of a field.
func (p *shapeParser) inRange() bool {
	digits := func() int {
		n := 0
		for n < len(p.rest) && p.rest[n] >= '0' && p.rest[n] <= '9' {
			n++
		}
		v, err := strconv.Atoi(p.rest[:n])
		if err != nil {
			panic("internal error: malformed shape")
		}
		p.rest = p.rest[n:]
		return v
	}
	if p.rest == "" || p.rest[0] < '0' || p.rest[0] > '9' {
		return true
	}
	from := digits()
	to := from
	switch {
	case strings.HasPrefix(p.rest, "+"):
		p.rest, to = p.rest[1:], 1<<15
	case strings.HasPrefix(p.rest, "-"):
		p.rest = p.rest[1:]
		to = digits()
	}
	return from <= p.version && p.version <= to
}

func (p *shapeParser) least(f *field) int {
	n, fixed := fixedSizes[f.kind]
	switch {
	case fixed:
		return n
	case p.flexible:
		return 1
	case f.kind == '?':
		return 1
	case f.kind == 's':
		return 2
	case f.kind == 'y', f.kind == '[', f.kind == '(':
		return 4
	}
	panic("internal error: malformed shape")
}

// fits tells whether body can be decoded at a cost of its own size.
func (s *shape) fits(body []byte) bool {
	r := kbin.Reader{Src: body}
	if !s.walk(&r, s.fields) {
		return false
	}
	return !s.flexible || skipTags(&r, s.noTag)
}

func (s *shape) walk(r *kbin.Reader, fs []field) bool {
	for i := range fs {
		f := &fs[i]
		switch f.kind {
		case 's', 'y':
			if n := s.length(r, f.kind); n > 0 {
				r.Span(n)
			}
		case '[', '(':
			if !s.array(r, f) {
				return false
			}
		case '?':
			if r.Int8() >= 0 && !(s.walk(r, f.elem) && (!s.flexible || skipTags(r, -1))) {
				return false
			}
		default:
			r.Span(f.least)
		}
		if !r.Ok() {
			return false
		}
	}
	return true
}

func (s *shape) array(r *kbin.Reader, f *field) bool {
	least := 0
	for i := range f.elem {
		least += f.elem[i].least
	}
	tagged := s.flexible && f.kind == '['
	if tagged {
		least++
	}
	n := s.length(r, f.kind)
	if n > len(r.Src)/max(least, 1) {
		return false
	}
	for range max(n, 0) {
		if !s.walk(r, f.elem) || tagged && !skipTags(r, -1) {
			return false
		}
	}
	return r.Ok()
}

// length reads a length; null and whatever is negative count as -1.
func (s *shape) length(r *kbin.Reader, kind byte) int {
	switch {
	case s.flexible:
		return int(min(int64(r.Uvarint()), 1<<31-1)) - 1
	case kind == 's':
		return int(r.Int16())
	}
	return int(r.Int32())
}

// skipTags steps over tagged fields; refuse is a tag that is not taken, or -1.
func skipTags(r *kbin.Reader, refuse int64) bool {
	n := r.Uvarint()
	if n > maxTags {
		return false
	}
	for range n {
		tag, size := r.Uvarint(), r.Uvarint()
		if int64(tag) == refuse || size > 1<<20 {
			return false
		}
		r.Span(int(size))
	}
	return r.Ok()
}

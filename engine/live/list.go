package live

import (
	"iter"
	"slices"
)

// chunkLen bounds what a change of a list copies, beside a pointer for each chunk.
const chunkLen = 256

// list is an immutable sequence; a change gives another one that shares most of it.
type list[T any] struct {
	chunks []*chunk[T] // full but for the last
	n      int
}

type chunk[T any] struct{ vals []T }

func listOf[T any](vs []T) list[T] {
	l := list[T]{n: len(vs)}
	for c := range slices.Chunk(vs, chunkLen) {
		l.chunks = append(l.chunks, &chunk[T]{c})
	}
	return l
}

func (l list[T]) get(i int) T { return l.chunks[i/chunkLen].vals[i%chunkLen] }

func (l list[T]) all() iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, c := range l.chunks {
			for _, v := range c.vals {
				if !yield(v) {
					return
				}
			}
		}
	}
}

func (l list[T]) add(v T) list[T] {
	at := l.n / chunkLen
	chunks := make([]*chunk[T], at+1)
	copy(chunks, l.chunks)
	var vals []T
	if at < len(l.chunks) {
		vals = l.chunks[at].vals
	}
	chunks[at] = &chunk[T]{append(slices.Clip(vals), v)}
	return list[T]{chunks, l.n + 1}
}

func (l list[T]) replace(i int, v T) list[T] {
	chunks := slices.Clone(l.chunks)
	vals := slices.Clone(chunks[i/chunkLen].vals)
	vals[i%chunkLen] = v
	chunks[i/chunkLen] = &chunk[T]{vals}
	return list[T]{chunks, l.n}
}

// remove puts the last value into the place of the one at i.
func (l list[T]) remove(i int) list[T] {
	last := l.n - 1
	if i != last {
		l = l.replace(i, l.get(last))
	}
	chunks := slices.Clone(l.chunks[:last/chunkLen])
	if rest := last % chunkLen; rest > 0 {
		chunks = append(chunks, &chunk[T]{slices.Clone(l.chunks[last/chunkLen].vals[:rest])})
	}
	return list[T]{chunks, last}
}

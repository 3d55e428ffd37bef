package tier

import "context"

// passCount is how many objects are known through which somebody passes.
const passCount = 64

// pass is where readers of many shards are in an object.
type pass struct {
	block int64 // that they were in last
	steps uint  // how often they went on to the next one
	ahead int64 // the last block that was read ahead
}

// Pass is Batches for readers of many shards, who read an object's extents in the
// order in which they lie there. Once they go on from one block to the next, the
// following ones are read ahead, more with each step, up to ReaderOptions.FetchBytes.
func (r *Reader) Pass(ctx context.Context, seg Segment, from int64, maxBytes int) ([]Pieces, error) {
	out, at, err := r.read(ctx, seg, from, maxBytes, false)
	if err != nil {
		return nil, err
	}
	block := (at.pos - 1) / r.cache.block
	was, known := r.passing.Get(seg.Key)
	switch {
	case known && block == was.block:
		return out, nil
	case known && block == was.block+1:
		was.steps++
	default:
		was.steps, was.ahead = 0, block
	}
	was.block = block
	// Once half of the window is used up, so that GETs are large.
	window := min(1<<min(was.steps, 16), r.cache.run)
	if last := min((seg.Size-1)/r.cache.block, block+window); was.steps > 0 && was.ahead-block <= window/2 && was.ahead < last {
		from := max(block, was.ahead) + 1
		was.ahead = from - 1 + r.cache.ahead(seg.Key, seg.Size, from, last)
	}
	r.passing.Add(seg.Key, was)
	return out, nil
}

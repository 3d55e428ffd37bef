package mqtt

import "sync"

// writeBufs are writers' buffers by size.
var writeBufs = map[int]*sync.Pool{writeChunk: bufPool(writeChunk), smallChunk: bufPool(smallChunk)}

func bufPool(size int) *sync.Pool {
	return &sync.Pool{New: func() any { b := make([]byte, 0, size); return &b }}
}

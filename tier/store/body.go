package store

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ReadBody reads the body of an HTTP answer to a Get of n bytes from off on, for
// drivers. length is the Content-Length (negative: unknown); ranged says that a
// range was asked for, and contentRange is the answer's Content-Range, empty
// when it has none: a server that ignores ranges is an error, not wrong bytes.
func ReadBody(ctx context.Context, key string, body io.Reader, length int64, ranged bool, contentRange string, off, n int64) ([]byte, error) {
	if ranged && !strings.HasPrefix(contentRange, "bytes "+strconv.FormatInt(off, 10)+"-") {
		return nil, Wrap("get", key, ErrBroken, fmt.Errorf("server answered range %q to offset %d", contentRange, off))
	}
	limit := int64(MaxObject)
	if n > 0 {
		limit = n
	}
	if length > limit {
		return nil, Wrap("get", key, ErrTooLarge, fmt.Errorf("%d bytes", length))
	}
	var data []byte
	var err error
	if length >= 0 {
		data = make([]byte, length)
		_, err = io.ReadFull(body, data)
	} else if data, err = io.ReadAll(io.LimitReader(body, limit+1)); err == nil && int64(len(data)) > limit {
		return nil, Wrap("get", key, ErrTooLarge, nil)
	}
	if err != nil {
		if cerr := ContextError(ctx, "get", key); cerr != nil {
			return nil, cerr
		}
		return nil, Wrap("get", key, ErrTemporary, fmt.Errorf("read body: %w", err))
	}
	return data, nil
}

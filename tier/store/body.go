package store

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/robustmq-go/internal/raw"
)

// Body is the HTTP answer to a Get of n bytes from off on, for drivers.
type Body struct {
	io.Reader
	Length int64  // Content-Length; negative: unknown
	Ranged bool   // a range was asked for
	Range  string // Content-Range, empty when the answer has none
}

// CRCHeader is the header of a PUT that carries CRC: S3 answers BadDigest to a body that differs.
const CRCHeader = "X-Amz-Checksum-Crc32c"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC is the CRC-32C of an object as S3 writes it, for drivers.
func CRC(data []byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, castagnoli)))
}

// CRCFrom is CRC of an object of size bytes that is read from body: ErrBodySum when
// it is not sum.
func CRCFrom(body io.ReaderAt, size int64, sum uint32) (string, error) {
	read := crc32.New(castagnoli)
	if _, err := io.Copy(read, io.NewSectionReader(body, 0, size)); err != nil {
		return "", fmt.Errorf("read what is put: %w", err)
	}
	if read.Sum32() != sum {
		return "", ErrBodySum
	}
	return base64.StdEncoding.EncodeToString(read.Sum(nil)), nil
}

// ReadBody reads the answer to a Get of n bytes from off on. A server that
// ignores ranges is an error, not wrong bytes.
func ReadBody(ctx context.Context, key string, b Body, off, n int64) ([]byte, error) {
	parts, err := ReadParts(ctx, key, b, off, n, MaxObject)
	if err != nil || len(parts) == 0 {
		return nil, err
	}
	return parts[0], nil
}

// ReadParts is ReadBody in pieces of part bytes.
func ReadParts(ctx context.Context, key string, b Body, off, n, part int64) ([][]byte, error) {
	if b.Ranged && !strings.HasPrefix(b.Range, "bytes "+strconv.FormatInt(off, 10)+"-") {
		return nil, Wrap("get", key, ErrBroken, fmt.Errorf("server answered range %q to offset %d", b.Range, off))
	}
	limit := int64(MaxObject)
	if n > 0 {
		limit = n
	}
	if b.Length > limit {
		return nil, Wrap("get", key, ErrTooLarge, fmt.Errorf("%d bytes", b.Length))
	}
	var out [][]byte
	var err error
	if b.Length >= 0 {
		for left := b.Length; err == nil && (left > 0 || out == nil); left -= part {
			data := raw.Bytes(int(min(left, part)))
			_, err = io.ReadFull(b, data)
			out = append(out, data)
		}
	} else {
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(b, limit+1)); err == nil && int64(len(data)) > limit {
			return nil, Wrap("get", key, ErrTooLarge, nil)
		}
		out = slices.Collect(slices.Chunk(data, int(part)))
	}
	if err != nil {
		if cerr := ContextError(ctx, "get", key); cerr != nil {
			return nil, cerr
		}
		return nil, Wrap("get", key, ErrTemporary, fmt.Errorf("read body: %w", err))
	}
	return out, nil
}

package shard

import (
	"bytes"
	"strings"
	"time"
)

// Header is one record header. Names repeat and keep their order; a nil value
// is null and differs from an empty one.
type Header struct {
	Name  string
	Value []byte
}

// Record is one message. A nil key or value is null and differs from an empty
// one. Records that the engine hands out are immutable and may share memory
// with their batch.
type Record struct {
	// Offset within the shard; meaningful once it has been assigned.
	Offset int64
	// Timestamp in milliseconds since the Unix epoch.
	Timestamp int64
	Key       []byte
	Value     []byte
	Headers   []Header
}

// Clone gives a copy that shares no memory with its batch.
func (r *Record) Clone() *Record {
	c := &Record{Offset: r.Offset, Timestamp: r.Timestamp, Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value)}
	if r.Headers != nil {
		c.Headers = make([]Header, len(r.Headers))
		for i, h := range r.Headers {
			c.Headers[i] = Header{Name: strings.Clone(h.Name), Value: bytes.Clone(h.Value)}
		}
	}
	return c
}

// Header gives the first header of that name.
func (r *Record) Header(name string) ([]byte, bool) {
	for i := range r.Headers {
		if r.Headers[i].Name == name {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}

// HeaderString is Header as text; "" when there is none.
func (r *Record) HeaderString(name string) string {
	v, _ := r.Header(name)
	return string(v)
}

// Expires tells when the record's own expiry (HeaderExpiration) passes, in
// milliseconds since the epoch, counted from its timestamp; ok is false when it has
// none or it is not a number. The timestamp is the writer's, so this is for records
// that were written here: for others Message.Expires counts from the arrival.
func (r *Record) Expires() (at int64, ok bool) {
	ms, ok := r.expiration()
	if !ok {
		return 0, false
	}
	return r.Timestamp + ms, true
}

// Stillborn tells whether the record's own expiry is over as it arrives.
func (r *Record) Stillborn() bool {
	ms, ok := r.expiration()
	return ok && ms == 0
}

func (r *Record) expiration() (ms int64, ok bool) {
	v, found := r.Header(HeaderExpiration)
	if !found || len(v) == 0 || len(v) > 15 {
		return 0, false
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		ms = ms*10 + int64(c-'0')
	}
	return ms, true
}

// Expired tells whether the record's own expiry has passed at now.
func (r *Record) Expired(now time.Time) bool {
	at, ok := r.Expires()
	return ok && now.UnixMilli() >= at
}

// Size is the number of bytes of key, value and headers.
func (r *Record) Size() int {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Name) + len(r.Headers[i].Value)
	}
	return n
}

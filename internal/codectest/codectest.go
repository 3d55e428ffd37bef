package codectest

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// Codec is an encoder and its decoder. Encode refuses with an error; what it makes
// is decoded and encoded again, and has to be the same.
type Codec[T any] struct {
	// Make gives a value from hostile parts. Nil: Hostile of all exported fields.
	Make   func(*Source) T
	Encode func(T) ([]byte, error)
	Decode func([]byte) (T, error)
}

// Run tries a codec with so many values. Some of them have to be taken, or nothing
// was tried.
func Run[T any](t *testing.T, rounds int, c Codec[T]) {
	t.Helper()
	taken := 0
	for seed := range rounds {
		src := &Source{rand.New(rand.NewPCG(uint64(seed), 11))}
		var v T
		if c.Make != nil {
			v = c.Make(src)
		} else {
			src.Hostile(&v)
		}
		b, err := c.Encode(v)
		if err != nil {
			continue
		}
		taken++
		got, err := c.Decode(b)
		if err != nil {
			t.Fatalf("seed %d: the encoder took what the decoder refuses (%d bytes): %v\n%.500v", seed, len(b), err, v)
		}
		again, err := c.Encode(got)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("seed %d: read and written again: %d bytes, were %d: %v", seed, len(again), len(b), err)
		}
	}
	if taken < rounds/20 {
		t.Fatalf("the encoder took %d of %d values: nothing is tested", taken, rounds)
	}
}

// Source makes parts of values, at and around the caps that codecs have.
type Source struct{ *rand.Rand }

// Int gives a number, often an extreme one.
func (s *Source) Int() int64 {
	edges := []int64{0, 1, -1, 63, 64, 127, 128, math.MaxInt16, math.MaxInt32, math.MaxInt32 + 1, math.MaxUint32, math.MaxUint32 + 1, math.MaxInt64 - 1, math.MaxInt64, math.MinInt64, math.MinInt32}
	if s.IntN(2) == 0 {
		return edges[s.IntN(len(edges))]
	}
	return int64(s.Uint64() >> s.IntN(64))
}

// Len gives a length: nearly always short, sometimes around a cap.
func (s *Source) Len() int {
	caps := []int{64, 128, 256, 1 << 10, 8 << 10, 64 << 10}
	if s.IntN(12) == 0 {
		return caps[s.IntN(len(caps))] + s.IntN(3) - 1
	}
	return s.IntN(6)
}

// Text gives a string, of any bytes.
func (s *Source) Text() string {
	n := s.Len()
	if n > 100 {
		return strings.Repeat("x", n)
	}
	b := make([]byte, n)
	for i := range b {
		if b[i] = 'a' + byte(s.IntN(26)); s.IntN(20) == 0 {
			b[i] = byte(s.Uint32())
		}
	}
	return string(b)
}

// Hostile fills all exported fields of what v points to.
func (s *Source) Hostile(v any) { s.fill(reflect.ValueOf(v).Elem()) }

func (s *Source) fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(s.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(s.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(s.Int()))
	case reflect.String:
		v.SetString(s.Text())
	case reflect.Array:
		for i := range v.Len() {
			s.fill(v.Index(i))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(s.Text()))
			return
		}
		n := s.fewer()
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			s.fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range s.fewer() {
			k, x := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			s.fill(k)
			s.fill(x)
			v.SetMapIndex(k, x)
		}
	case reflect.Pointer:
		if s.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			s.fill(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				s.fill(v.Field(i))
			}
		}
	}
}

// fewer is Len for lists, whose elements may be large.
func (s *Source) fewer() int {
	if s.IntN(20) == 0 {
		return 60 + s.IntN(10)
	}
	return s.IntN(4)
}

package store

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

func FuzzCheckKey(f *testing.F) {
	for _, k := range []string{"", "a", "a/b", "a//b", ".tmp/1", "a/..", "segments/0/9c/000000000000002a-01JCX0V5S9D8R7K2M4N6P8Q0ST", strings.Repeat("k", 201)} {
		f.Add(k)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if CheckKey(key) != nil {
			return
		}
		for _, name := range strings.Split(key, "/") {
			if name == "" || name[0] == '.' || len(name) > 200 {
				t.Fatalf("%q is accepted", key)
			}
		}
		for i := range key { // what begins a key may be asked for
			if err := CheckPrefix(key[:i]); err != nil {
				t.Fatalf("prefix %q of a key: %v", key[:i], err)
			}
		}
	})
}

func TestErrorShowsKindCauseAndKey(t *testing.T) {
	err := Wrap("put", "a/b", ErrTemporary, io.ErrUnexpectedEOF)
	if !errors.Is(err, ErrTemporary) || !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrDenied) {
		t.Fatal(err)
	}
	if got := err.Error(); got != `put object "a/b": object store temporarily unavailable: unexpected EOF` {
		t.Fatal(got)
	}
	if got := Wrap("get", "k", ErrNotFound, nil).Error(); got != `get object "k": object not found` {
		t.Fatal(got)
	}
}

func TestReadBodyIsCapped(t *testing.T) {
	ctx := context.Background()
	endless := io.LimitReader(zeros{}, 1<<40)
	if _, err := ReadBody(ctx, "k", Body{endless, -1, true, "bytes 0-9/100"}, 0, 10); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("more than was asked for: %v", err)
	}
	if _, err := ReadBody(ctx, "k", Body{endless, MaxObject + 1, false, ""}, 0, -1); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("more than an object may have: %v", err)
	}
	if b, err := ReadBody(ctx, "k", Body{strings.NewReader("abc"), -1, false, ""}, 0, -1); err != nil || string(b) != "abc" {
		t.Fatalf("%q, %v", b, err)
	}
	if _, err := ReadBody(ctx, "k", Body{strings.NewReader("abc"), 5, false, ""}, 0, -1); !errors.Is(err, ErrTemporary) {
		t.Fatalf("cut off: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

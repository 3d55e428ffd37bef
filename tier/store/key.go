package store

import (
	"context"
	"fmt"
)

// MaxKey is the length in bytes of the longest key.
const MaxKey = 512

// maxName is the longest name between two slashes: what file systems take.
const maxName = 200

// CheckKey reports whether key may name an object: 1 to MaxKey bytes, names of
// 1 to 200 letters, digits and the characters "-_.=", joined by single slashes,
// none of which begins with a dot (those are the dir store's own). Every store
// RobustMQ speaks to can hold such a key as it is.
//
// A key that is also a folder ("a" beside "a/b") is accepted here and refused
// by some stores with ErrKey or ErrExists: do not make such keys.
func CheckKey(key string) error {
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("%w: length %d", ErrKey, len(key))
	}
	start := 0
	for i := 0; i <= len(key); i++ {
		if i == len(key) || key[i] == '/' {
			if i == start || i-start > maxName || key[start] == '.' {
				return fmt.Errorf("%w: %q", ErrKey, key)
			}
			start = i + 1
			continue
		}
		if !keyByte(key[i]) {
			return fmt.Errorf("%w: %q", ErrKey, key)
		}
	}
	return nil
}

// CheckPrefix reports whether prefix may be asked of List: empty, or the
// beginning of a key.
func CheckPrefix(prefix string) error {
	if len(prefix) > MaxKey {
		return fmt.Errorf("%w: prefix length %d", ErrKey, len(prefix))
	}
	for i := range len(prefix) {
		first := i == 0 || prefix[i-1] == '/'
		if prefix[i] == '/' && !first {
			continue
		}
		if !keyByte(prefix[i]) || first && prefix[i] == '.' {
			return fmt.Errorf("%w: prefix %q", ErrKey, prefix)
		}
	}
	return nil
}

func keyByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '-' || c == '_' || c == '.' || c == '='
}

// CheckRange reports whether (off, n) may be asked of Get.
func CheckRange(off, n int64) error {
	if off < 0 || n == 0 {
		return fmt.Errorf("%w: offset %d, length %d", ErrRange, off, n)
	}
	if n > MaxObject {
		return fmt.Errorf("%w: length %d", ErrTooLarge, n)
	}
	return nil
}

// ListMax returns the number of entries that a List with this max returns at
// most.
func ListMax(max int) int {
	if max < 1 || max > MaxList {
		return MaxList
	}
	return max
}

// Check is what every operation on a key begins with: ctx has not ended and the
// key is legal.
func Check(ctx context.Context, op, key string) error {
	if err := ContextError(ctx, op, key); err != nil {
		return err
	}
	if err := CheckKey(key); err != nil {
		return Wrap(op, key, err, nil)
	}
	return nil
}

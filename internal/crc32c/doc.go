// Package crc32c copies bytes and sums them up in one pass over memory.
//
// Nouns: a sum is the CRC-32C (Castagnoli) of bytes.
package crc32c

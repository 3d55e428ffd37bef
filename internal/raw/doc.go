// Package raw gives memory that nobody cleared, for buffers which their caller fills to the last byte:
// clearing a megabyte only to read a block of an object over it was a sixth of the processor's time in
// cold reads.
//
// Nouns: raw memory is memory whose content is undefined.
package raw

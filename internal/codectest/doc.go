// Package codectest holds the one property that every codec of stored values is
// tested for: what its encoder makes its decoder takes, for ever, or the encoder
// refuses. An encoder that makes what no decoder takes ends what it stored.
package codectest

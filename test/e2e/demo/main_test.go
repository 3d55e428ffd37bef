package main

import (
	"bytes"
	"testing"
)

// TestDemo plays the demo on random ports.
func TestDemo(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), &out, nil, true)
	t.Logf("\n%s", out.String())
	if err != nil {
		t.Fatalf("demo: %v", err)
	}
}

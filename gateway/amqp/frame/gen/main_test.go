package main

import (
	"bytes"
	"os"
	"testing"
)

// The committed file is what the table gives.
func TestGeneratedIsUpToDate(t *testing.T) {
	table, err := os.ReadFile("methods.txt")
	if err != nil {
		t.Fatal(err)
	}
	want, err := generate(table)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../methods_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("methods_gen.go is not what methods.txt gives: run go generate ./gateway/amqp/frame")
	}
}

func TestBadTablesAreRefused(t *testing.T) {
	for _, s := range []string{"what", "class x y", "x open C - :", "10 open C - : a:b", "10 open C - : a"} {
		if _, err := generate([]byte(s)); err == nil {
			t.Errorf("generate(%q) gave no error", s)
		}
	}
}

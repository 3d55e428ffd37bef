package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestObjectsGone: the configuration names a store without the catalog's objects. doctor and
// serve say so, and what is there again is served.
func TestObjectsGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := startBroker(t, dir)
	b.publish("sensors.a", "one")
	b.mustCLI("flush")
	b.stop(syscall.SIGTERM)
	const says = "the object store is empty, and the catalog names objects in it"
	empty := filepath.Join(dir, "other")
	_, out, _ := run(t, nil, "doctor", "--data-dir", dir, "--set", "store.dir="+empty)
	wantOutput(t, out, "fail  store owner", empty+" does not exist, and the catalog names objects in it")
	if err := os.Mkdir(empty, 0o750); err != nil {
		t.Fatal(err)
	}
	_, out, _ = run(t, nil, "doctor", "--data-dir", dir, "--set", "store.dir="+empty)
	wantOutput(t, out, "fail  store owner", says, "check what store.* and etcd.* name")
	code, _, errs := run(t, nil, "serve", "--data-dir", dir, "--set", "store.dir="+empty)
	if wantOutput(t, errs, says, empty, "store.accept_foreign=true"); code != 1 {
		t.Errorf("serve: exit code %d", code)
	}
	b = startBroker(t, dir)
	wantOutput(t, b.mustCLI("shard", "list", "sensors.a"), "1")
	b.stop(syscall.SIGTERM)
}

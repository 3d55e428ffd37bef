package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/engine"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/wal"
)

// errNoCatalog: records without the catalog that says whose they are. To start
// over them would be to lose them: a new catalog gives their topics' numbers to
// others.
var errNoCatalog = errors.New("the catalog is missing")

const noCatalogHint = "bring etcd's directory or its snapshot back from a backup; to begin anew without these records, move what is named here away first"

// catalogGone refuses, where the configuration's etcd is embedded and not there,
// a data directory that has records.
func (c *Config) catalogGone() error {
	dir := c.catalogConfig(nil).Embedded
	if dir == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, "member")); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return c.recordsWithout(dir+" does not exist", true)
}

// recordsWithout gives an error that names the log, and the objects of a
// directory store, if there are any.
func (c *Config) recordsWithout(what string, objects bool) error {
	if entries, err := hasEntries(c.walDir()); err != nil {
		return err
	} else if entries {
		return fmt.Errorf("%w: %s, but the write-ahead log in %s has records: %s", errNoCatalog, what, c.walDir(), noCatalogHint)
	}
	sc := c.storeConfig()
	if !objects || sc.Kind != "dir" || c.Store.AcceptForeign {
		return nil
	}
	dir := filepath.Join(sc.Dir, filepath.FromSlash(tier.KeyPrefix))
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			return errFound
		}
		return err
	})
	switch {
	case errors.Is(err, errFound):
		return fmt.Errorf("%w: %s, but %s holds objects: %s", errNoCatalog, what, dir, noCatalogHint)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look for objects: %w", err)
	}
	return nil
}

const foreignHint = "check etcd.endpoints, etcd.prefix and what store.* names; bring etcd back from a backup; or, to begin anew beside these segments, start once with store.accept_foreign=true: they are then neither read nor deleted"

const goneHint = "check what store.* and etcd.* name; bring the bucket back from a backup or a replica; or, to serve on without these objects' records, start once with store.accept_foreign=true"

// foreignStore says of engine.ErrForeignStore and engine.ErrObjectsGone what there is to do about it; known
// tells that the catalog has been in use.
func (c *Config) foreignStore(err error, known bool) error {
	switch {
	case errors.Is(err, engine.ErrObjectsGone):
		return fmt.Errorf("%w; it is %s: %s", err, c.storeText(), goneHint)
	case !errors.Is(err, engine.ErrForeignStore):
		return err
	case known:
		return fmt.Errorf("the catalog in %s names none of the store's objects: %w, in %s: %s", c.etcdText(), err, c.storeText(), foreignHint)
	}
	return fmt.Errorf("%w: %s is new: %w, in %s: %s", errNoCatalog, c.etcdText(), err, c.storeText(), foreignHint)
}

// etcdText names where the catalog is.
func (c *Config) etcdText() string {
	cc := c.catalogConfig(nil)
	if cc.Embedded != "" {
		return cc.Embedded
	}
	prefix := cc.Prefix
	if prefix == "" {
		prefix = catalog.DefaultPrefix
	}
	return fmt.Sprintf("etcd %s below %s", strings.Join(cc.Endpoints, ","), prefix)
}

// storeText names where the objects are.
func (c *Config) storeText() string {
	sc := c.storeConfig()
	where := sc.Kind
	switch {
	case sc.Kind == "dir":
		where = "dir " + sc.Dir
	case sc.Bucket != "":
		where = strings.TrimSpace(fmt.Sprintf("%s bucket %s %s", sc.Kind, sc.Bucket, sc.Endpoint))
	}
	if sc.Prefix != "" {
		where += " below " + sc.Prefix
	}
	return where
}

var errFound = errors.New("found")

// hasEntries tells whether a log holds anything that is not trimmed.
func hasEntries(dir string) (bool, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	_, err := wal.Dump(wal.Source{Dir: dir}, func(wal.Pos, wal.Entry) error { return errFound })
	if errors.Is(err, errFound) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look into the write-ahead log: %w", err)
	}
	return false, nil
}

// advice says once for each kind of finding what there is to do.
func advice(f engine.Finding) string {
	switch {
	case f.Unread:
		return "store: nothing is known of what could not be read: run robustmq doctor, and this again"
	case f.Part == "catalog":
		return "catalog: bring etcd back from a backup; what cannot be read is missing from the gateway's view, all else is served"
	case f.Part == "store" && f.Where == tier.KeyPrefix:
		return "store: " + foreignHint
	case f.Part == "store" && f.Unnamed:
		return "store: etcd was restored from an older snapshot, it seems: bring the newest one back before the gateway runs; orphans --delete keeps these objects"
	case f.Part == "store" && f.Where == tier.MarkerPrefix:
		return "store: " + goneHint
	case f.Part == "store":
		return "store: bring the object back under the same key, from the bucket's versions, a replica or a backup; until then reads of these offsets fail, and all else is served"
	case f.Nothing():
		return "wal: nothing to do about entries whose records are in object storage"
	case f.Shard == nil:
		return "wal: start the gateway: it replays what is sound and tells what is lost"
	case f.Topic == "robustmq.state":
		return "wal: sessions, groups and retained messages of this slot are refused when the gateway starts, since what is left of them may be older; wal.accept_damage=true serves what is left"
	default:
		return "wal: these records have no other copy. Start the gateway: reads of these offsets fail, all else is served; publishers that still have the messages may send them again"
	}
}

// advices gives the advice for findings, each once.
func advices(found []engine.Finding) []string {
	var out []string
	seen := map[string]bool{}
	for _, f := range found {
		if a := advice(f); !seen[a] {
			seen[a] = true
			out = append(out, a)
		}
	}
	return out
}

// counted gives a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

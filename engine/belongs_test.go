package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store/dir"
)

// site is where a gateway keeps everything: log, etcd and objects below one folder.
type site string

func (s site) at(part string) string { return filepath.Join(string(s), part) }

// open opens the gateway of a site, and gives what ends it as a crash does.
func (s site) open(t *testing.T) (*Engine, func(), error) {
	t.Helper()
	cat, err := catalog.Open(context.Background(), catalog.Config{Embedded: s.at("etcd"), LeaseTTL: 5 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	st, err := dir.Open(s.at("objects"), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := Open(context.Background(), cat, st, Options{WALDir: s.at("wal"), WALFileBytes: 1 << 20, FlushInterval: time.Hour,
		Node: shard.Node{Name: "test-1"}, Logger: slog.New(slog.DiscardHandler)})
	end := func() {
		if e != nil {
			e.abandon()
		}
		_ = st.Close()
		_ = cat.Close()
	}
	return e, end, err
}

func (s site) mustOpen(t *testing.T) (*Engine, func()) {
	t.Helper()
	e, end, err := s.open(t)
	if err != nil {
		end()
		t.Fatal(err)
	}
	return e, end
}

// put appends values, each a batch.
func put(t *testing.T, e *Engine, id shard.ID, values ...string) {
	t.Helper()
	for _, v := range values {
		if _, err := shard.AppendWait(context.Background(), e, id, shard.BatchOf(shard.Record{Value: []byte(v)}), shard.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func mustFlush(t *testing.T, e *Engine) {
	t.Helper()
	if err := e.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// parts takes each part of a site from one of two.
func parts(t *testing.T, from map[string]site) site {
	t.Helper()
	to := site(t.TempDir())
	for part, s := range from {
		if err := os.CopyFS(to.at(part), os.DirFS(s.at(part))); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// histories makes a site, and the same an hour later.
func histories(t *testing.T) (older, newer site, id shard.ID) {
	t.Helper()
	s := site(t.TempDir())
	e, end := s.mustOpen(t)
	x, err := e.topics.Create(context.Background(), shard.Topic{Name: "a", Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	id = x.Shard(0)
	put(t, e, id, "one", "two")
	mustFlush(t, e)
	put(t, e, id, "three")
	end()
	all := map[string]site{"wal": s, "etcd": s, "objects": s}
	older = parts(t, all)
	e, end = s.mustOpen(t)
	put(t, e, id, "four")
	mustFlush(t, e)
	if err := e.noteRevision(context.Background()); err != nil { // as a loop of the engine does
		t.Fatal(err)
	}
	put(t, e, id, "five")
	end()
	return older, parts(t, all), id
}

// TestOneOfThreeIsOlder: of log, etcd and objects each pair, and each one alone, is
// an hour older than the rest. A log or an etcd that was set back is refused, in
// words, and the refused start changes nothing: with the right parts it goes on. A
// store that was set back is told, and what it lacks is not passed over.
func TestOneOfThreeIsOlder(t *testing.T) {
	older, newer, id := histories(t)
	for _, x := range []struct {
		wal, etcd, objects site
		want               error
	}{
		{newer, newer, newer, nil},
		{older, older, older, nil},
		{older, newer, newer, ErrLogOlder},
		{newer, older, newer, ErrCatalogOlder},
		{older, older, newer, ErrCatalogOlder},
		{older, newer, older, ErrLogOlder},
		{newer, older, older, ErrCatalogOlder},
	} {
		age := func(s site) string {
			if s == older {
				return "older"
			}
			return "newer"
		}
		t.Run(fmt.Sprintf("wal %s, etcd %s, objects %s", age(x.wal), age(x.etcd), age(x.objects)), func(t *testing.T) {
			s := parts(t, map[string]site{"wal": x.wal, "etcd": x.etcd, "objects": x.objects})
			e, end, err := s.open(t)
			defer end()
			if !errors.Is(err, x.want) {
				t.Fatalf("start: %v, want %v", err, x.want)
			}
			if err == nil {
				want(t, (&rig{t: t, Engine: e}).values(id, 0), []string{"0:one", "1:two", "2:three", "3:four", "4:five"}[:map[site]int{older: 3, newer: 5}[x.wal]]...)
				return
			}
			end()
			for part, from := range map[string]site{"wal": newer, "etcd": newer, "objects": newer} {
				if part == "etcd" && x.etcd == newer {
					continue // the one that the refused start has seen
				}
				if err := errors.Join(os.RemoveAll(s.at(part)), os.CopyFS(s.at(part), os.DirFS(from.at(part)))); err != nil {
					t.Fatal(err)
				}
			}
			e, again := s.mustOpen(t)
			defer again()
			want(t, (&rig{t: t, Engine: e}).values(id, 0), "0:one", "1:two", "2:three", "3:four", "4:five")
		})
	}
}

// TestOlderStore: what a store that was set back lacks fails loudly, and health
// says that it is the store.
func TestOlderStore(t *testing.T) {
	older, newer, id := histories(t)
	s := parts(t, map[string]site{"wal": newer, "etcd": newer, "objects": older})
	e, end := s.mustOpen(t)
	defer end()
	if _, err := e.Read(context.Background(), id, 3, shard.ReadOptions{}); shard.KindOf(err) != shard.KindCorrupt {
		t.Fatalf("read of what the store lacks: %v", err)
	}
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		down, degraded := e.Health()
		if down == nil && degraded != nil && strings.Contains(degraded.Error(), "was it set back?") {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("health: %v, %v", down, degraded)
		}
	}
	put(t, e, id, "six")
	want(t, (&rig{t: t, Engine: e}).values(id, 4), "4:five", "5:six")
}

// TestOlderCatalogWithoutLog: a gateway that stops in good order tells the store how far
// the catalog was. One that comes with an empty directory to an older etcd has nothing
// else to know it by, and would give offsets out again.
func TestOlderCatalogWithoutLog(t *testing.T) {
	s := site(t.TempDir())
	e, end := s.mustOpen(t)
	x, err := e.topics.Create(context.Background(), shard.Topic{Name: "a", Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	put(t, e, x.Shard(0), "one")
	stop := func() {
		t.Helper()
		if err := e.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		e = nil
		end()
	}
	stop()
	older := parts(t, map[string]site{"etcd": s, "objects": s})
	e, end = s.mustOpen(t)
	put(t, e, x.Shard(0), "two")
	stop()
	_, end, err = parts(t, map[string]site{"etcd": older, "objects": s}).open(t)
	if end(); !errors.Is(err, ErrCatalogOlder) {
		t.Fatalf("start: %v, want %v", err, ErrCatalogOlder)
	}
	_, end = parts(t, map[string]site{"etcd": s, "objects": s}).mustOpen(t)
	end()
}

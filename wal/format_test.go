package wal

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/robustmq/robustmq-go/internal/vfs"
)

var update = flag.Bool("update", false, "write the golden files of the current version anew")

const golden = "testdata/v1"

// goldenRun writes the log that the golden files hold: each entry a group.
func goldenRun(t *testing.T) (m *vfs.Mem, file, mark []byte, l *ledger) {
	m, l = vfs.NewMem(), newLedger()
	w, _, _ := openReplay(t, testOptions(m))
	for i := range 5 {
		must(t, l.append(w, shardOf(i), 61+i))
		l.wait()
	}
	must(t, w.Trim(l.tickets[2].pos))
	end := settled(w).Off + syncMarkLen
	must(t, w.Close())
	return m, slurp(t, m, fileName(testDir, 1))[:end], slurp(t, m, markName(testDir)), l
}

// TestGolden: version 1 is written as it always was, and can be read for ever.
func TestGolden(t *testing.T) {
	_, file, mark, l := goldenRun(t)
	names := map[string][]byte{filepath.Base(fileName("", 1)): file, filepath.Base(markName("")): mark}
	if *update {
		must(t, os.MkdirAll(golden, 0o755))
		for n, b := range names {
			must(t, os.WriteFile(filepath.Join(golden, n), b, 0o644))
		}
	}
	for n, b := range names {
		want, err := os.ReadFile(filepath.Join(golden, n))
		must(t, err)
		if !bytes.Equal(b, want) {
			t.Errorf("%s is no longer written as it was", n)
		}
	}
	for _, all := range []bool{false, true} {
		i := 2
		if all {
			i = 0
		}
		rec, err := Dump(Source{Dir: golden, All: all}, func(p Pos, e Entry) error {
			tk := l.tickets[i]
			if p != tk.pos || e.Shard != tk.e.Shard || e.Epoch != 3 || !bytes.Equal(e.Data, tk.e.Data) {
				t.Errorf("entry %d at %s: %+v", i, p, e)
			}
			i++
			return nil
		})
		if err != nil || rec.Err() != nil || i != 5 || rec.TornBytes != 0 || rec.Start != l.tickets[2].pos {
			t.Errorf("read %d entries: %+v, %v", i, rec, err)
		}
	}
}

// FuzzHeaders: what decodes encodes to the same bytes.
func FuzzHeaders(f *testing.F) {
	b := make([]byte, fileHeaderLen)
	fileHeader{File: 3, Tag: 9, PrevFile: 2, PrevEnd: 9000}.encode(b)
	f.Add(bytes.Clone(b))
	trimMark{Gen: 4, Pos: Pos{7, 8}}.encode(b)
	f.Add(bytes.Clone(b))
	groupHeader{Tag: 5, Len: 88, Count: 2}.encode(b, Pos{1, 8192})
	f.Add(bytes.Clone(b))
	entryHeader{Len: 4, Tag: 5, Shard: shardOf(1), Base: 12, Epoch: 1, CRC: 77}.encode(b)
	f.Add(bytes.Clone(b))
	encodeSyncMark(b, 5, Pos{1, 8192})
	f.Add(bytes.Clone(b))
	f.Fuzz(func(t *testing.T, b []byte) {
		out := make([]byte, fileHeaderLen)
		same := func(what string, n int) {
			if !bytes.Equal(out[:n], b[:n]) {
				t.Fatalf("%s: %x encodes to %x", what, b[:n], out[:n])
			}
		}
		if h, err := decodeFileHeader(b); err == nil {
			h.encode(out)
			same("file header", fileHeaderLen)
		}
		if m, err := decodeTrimMark(b); err == nil {
			m.encode(out)
			same("trim mark", markLen)
		}
		if g, ok := decodeGroupHeader(b, Pos{1, 8192}); ok {
			g.encode(out, Pos{1, 8192})
			same("group header", groupHeaderLen)
		}
		if e, ok := decodeEntryHeader(b, 5); ok {
			e.encode(out)
			same("entry header", entryHeaderLen)
		}
	})
}

// fuzzTag makes the seeds' tag the one the fuzzed image is read with.
const fuzzTag = 0x1122334455667788

// fuzzSeed is the groups area of a file.
func fuzzSeed(entries ...int) []byte {
	b := make([]byte, 8192)
	off := int64(0)
	for i, n := range entries {
		e := Entry{Shard: shardOf(i), Epoch: 1, Data: batch(shardOf(i), int64(i), n)}
		groupHeader{Tag: fuzzTag, Len: uint32(entrySize(n)), Count: 1}.encode(b[off:], Pos{1, dataStart + off})
		off += groupHeaderLen
		off = alignUp(off+putEntry(b[off:], &e, fuzzTag), groupAlign)
	}
	encodeSyncMark(b[off:], fuzzTag, Pos{1, dataStart + off})
	return b[:off+100]
}

// FuzzDecode reads anything as the groups of a file: no panic, and what is
// served was checked, in order, and does not overlap what is called damaged.
func FuzzDecode(f *testing.F) {
	for _, limit := range []int64{-1, 0, 100, 1000} {
		f.Add(fuzzSeed(61), limit)
		f.Add(fuzzSeed(61, 100, 8, 300), limit)
		b := fuzzSeed(61, 100, 8, 300)
		b[40]++
		b[160]++
		f.Add(b, limit)
	}
	f.Fuzz(func(t *testing.T, b []byte, limit int64) {
		im := image{no: 1, tag: fuzzTag, limit: -1, b: append(make([]byte, dataStart), b...)}
		if limit >= 0 {
			im.limit = dataStart + limit%(1<<20)
		}
		l := im.layout()
		at := int64(dataStart)
		end, err := im.decode(l, visitor{
			entry: func(off int64, e Entry) error {
				if off < at || off%entryAlign != 0 {
					t.Fatalf("entry at %d after %d", off, at)
				}
				at = off + entrySize(len(e.Data))
				out := make([]byte, entrySize(len(e.Data)))
				putEntry(out, &e, fuzzTag)
				n := entryHeaderLen + len(e.Data)
				if im.limit >= 0 && at > im.limit || !bytes.Equal(out[:n], im.b[off:][:n]) {
					t.Fatalf("entry at %d does not encode to what was read", off)
				}
				return nil
			},
			damage: func(d Damage) {
				if d.From.Off < at || !d.From.Less(d.To) {
					t.Fatalf("damage %v after %d", d, at)
				}
				at = d.To.Off
			},
		})
		if err != nil || end < dataStart || end < at-groupAlign {
			t.Fatalf("end %d after %d: %v", end, at, err)
		}
		im.tornBytes(l, end)
		adoptTag(1, im.b)
		m := vfs.NewMem()
		must(t, m.MkdirAll(testDir))
		spill(t, m, fileName(testDir, 1), im.b)
		if _, err := Dump(Source{Dir: testDir, FS: m}, nil); err != nil {
			t.Fatal(err)
		}
	})
}

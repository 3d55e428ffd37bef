package wal

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/robustmq/robustmq-go/internal/vfs"
)

// corruption is one way to harm the log of several.
type corruption struct {
	name    string
	breakIt func(testing.TB, *vfs.Mem)
	lost    func(all []*ticket) []int
	want    func(all []*ticket) []Damage
}

// endOf is where the log ends in a file.
func endOf(all []*ticket, no uint64) Pos {
	is := inFile(all, no)
	tk := all[is[len(is)-1]]
	return Pos{no, alignUp(tk.pos.Off+entrySize(len(tk.e.Data)), 8)}
}

// edit changes the bytes of a file.
func edit(no uint64, fn func(b []byte) []byte) func(testing.TB, *vfs.Mem) {
	return func(t testing.TB, m *vfs.Mem) {
		spill(t, m, fileName(testDir, no), fn(slurp(t, m, fileName(testDir, no))))
	}
}

// remove deletes files.
func remove(nos ...uint64) func(testing.TB, *vfs.Mem) {
	return func(t testing.TB, m *vfs.Mem) {
		for _, no := range nos {
			must(t, m.Remove(fileName(testDir, no)))
		}
	}
}

// corruptions returns the table; le is the format's byte order.
func corruptions(le binary.ByteOrder) []corruption {
	return []corruption{
		{"missing middle file", remove(2),
			func(all []*ticket) []int { return inFile(all, 2) },
			func(all []*ticket) []Damage {
				return []Damage{{Kind: MissingFile, From: endOf(all, 1), To: endOf(all, 2)}}
			}},
		{"missing first files", remove(1, 2),
			func(all []*ticket) []int { return append(inFile(all, 1), inFile(all, 2)...) },
			func(all []*ticket) []Damage { return []Damage{{Kind: MissingFile, To: endOf(all, 2)}} }},
		{"empty middle file", edit(2, func([]byte) []byte { return nil }),
			func(all []*ticket) []int { return inFile(all, 2) },
			func(all []*ticket) []Damage {
				return []Damage{{Kind: MissingFile, From: endOf(all, 1), To: endOf(all, 2)}}
			}},
		{"both headers of a middle file", edit(2, func(b []byte) []byte { clear(b[:dataStart]); return b }),
			func([]*ticket) []int { return nil },
			func([]*ticket) []Damage {
				return []Damage{{Kind: DamagedHeader, From: Pos{2, 0}, To: Pos{2, dataStart}}}
			}},
		{"truncated middle file", edit(2, func(b []byte) []byte { return b[:dataStart+groupHeaderLen+1000] }),
			func(all []*ticket) []int { return inFile(all, 2) },
			func(all []*ticket) []Damage {
				first := all[inFile(all, 2)[0]]
				end := first.pos.Off + entrySize(len(first.e.Data))
				return []Damage{{Kind: DamagedRange, From: first.pos, To: Pos{2, end}},
					{Kind: DamagedRange, From: Pos{2, alignUp(end, 8)}, To: endOf(all, 2)}}
			}},
		{"bad length under a good checksum", edit(2, func(b []byte) []byte {
			e := b[dataStart+groupHeaderLen:]
			le.PutUint32(e, 1<<31)
			le.PutUint32(e[4:], crcMore(crc(e[:4]), e[8:entryHeaderLen]))
			return b
		}),
			func(all []*ticket) []int { return inFile(all, 2)[:1] },
			func(all []*ticket) []Damage {
				first := all[inFile(all, 2)[0]]
				return []Damage{{Kind: DamagedRange, From: first.pos, To: Pos{2, first.pos.Off + entrySize(5000)}}}
			}},
		{"zeroed stretch over two groups", edit(3, func(b []byte) []byte {
			clear(b[dataStart+groupHeaderLen+100:][:5000]) // data of the first, headers of the second
			return b
		}),
			func(all []*ticket) []int { return inFile(all, 3)[:2] },
			func(all []*ticket) []Damage {
				is := inFile(all, 3)
				a, b, c := all[is[0]], all[is[1]], all[is[2]]
				return []Damage{
					{Kind: DamagedEntry, Named: true, Shard: a.e.Shard, Epoch: 3, BaseOffset: baseOffset(a.e.Data), From: a.pos, To: Pos{3, a.pos.Off + entrySize(5000)}},
					{Kind: DamagedRange, From: Pos{3, b.pos.Off - groupHeaderLen}, To: Pos{3, c.pos.Off - groupHeaderLen}}}
			}},
		{"one slot of the trim mark", func(t testing.TB, m *vfs.Mem) {
			b := slurp(t, m, markName(testDir))
			b[20] ^= 1
			spill(t, m, markName(testDir), b)
		}, func([]*ticket) []int { return nil }, func([]*ticket) []Damage { return nil }},
	}
}

// TestCorruptionTable: exact survivors, exact damage.
func TestCorruptionTable(t *testing.T) {
	for _, c := range corruptions(binary.LittleEndian) {
		t.Run(c.name, func(t *testing.T) {
			m, all := several(t)
			c.breakIt(t, m)
			idx, rec, err := survivors(t, m, all)
			if want := without(len(all), c.lost(all)...); err != nil || !slices.Equal(idx, want) {
				t.Fatalf("left %v\nwant %v: %v", idx, want, err)
			}
			if want := c.want(all); !slices.Equal(rec.Damaged, want) {
				t.Fatalf("reported %+v\nwant     %+v", rec.Damaged, want)
			}
			w, got, rec2 := openReplay(t, testOptions(m)) // Replay agrees, and again after it
			if len(got) != len(idx) || !slices.Equal(rec2.Damaged, rec.Damaged) {
				t.Fatalf("replay: %d entries, %+v", len(got), rec2)
			}
			must(t, w.Append(all[0].e, &ticket{l: newLedger()}))
			must(t, w.Close())
			rec3, err := Dump(Source{Dir: testDir, FS: m}, nil)
			if err != nil || rec3.Entries != int64(len(idx)+1) || !slices.Equal(rec3.Damaged, rec.Damaged) {
				t.Fatalf("after writing on: %d entries of %d, %+v, %v", rec3.Entries, len(idx)+1, rec3.Damaged, err)
			}
		})
	}
}

package wal

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/robustmq/robustmq-go/internal/vfs"
)

// slurp and spill move whole files.
func slurp(t testing.TB, fsys vfs.FS, name string) []byte {
	t.Helper()
	f, err := fsys.Open(name, vfs.ReadOnly)
	must(t, err)
	defer f.Close()
	n, err := f.Size()
	must(t, err)
	b := make([]byte, n)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return b
}

func spill(t testing.TB, fsys vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fsys.Open(name, vfs.ReadWrite|vfs.Create)
	must(t, err)
	must(t, f.Truncate(0))
	_, err = f.WriteAt(b, 0)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
	must(t, fsys.SyncDir(testDir))
}

// small writes one file of three groups of 1, 3 and 2 entries and leaves it as
// a clean stop, a kill, or a power cut before the sync mark leaves it.
func small(t testing.TB, how string) (*vfs.Mem, []*ticket) {
	t.Helper()
	mem, l := vfs.NewMem(), newLedger()
	var gate atomic.Pointer[chan struct{}]
	cur := fileName(testDir, 1)
	opt := testOptions(vfs.Inject(mem, func(op vfs.Op) error {
		if g := gate.Load(); g != nil && op.Kind == vfs.OpSync && op.Name == cur {
			<-*g
		}
		return nil
	}))
	w, _, _ := openReplay(t, opt)
	g := make(chan struct{})
	gate.Store(&g)
	next := 0
	add := func(n int) {
		for range n {
			must(t, l.append(w, shardOf(next), 61+next*7))
			next++
		}
	}
	add(1)
	for w.Stats().Queued > 0 { // the writer has taken the first
	}
	add(3)
	g <- struct{}{}
	for w.Stats().Queued > 0 {
	}
	add(2)
	g <- struct{}{}
	g <- struct{}{}
	gate.Store(nil)
	l.wait()
	if s := w.Stats(); s.Groups != 3 {
		t.Fatalf("%d groups", s.Groups)
	}
	for w.Stats().SyncMarks == 0 {
	}
	out := mem
	switch how {
	case "kill":
		out = mem.KillClone()
	case "cut":
		out = mem.KillClone()
		b := slurp(t, out, cur)
		last := l.tickets[5]
		clear(b[alignUp(last.pos.Off+entrySize(len(last.e.Data)), 8):])
		spill(t, out, cur, b)
	}
	must(t, w.Close())
	return out, l.tickets
}

// survivors dumps a log and checks that what comes out is some of the tickets,
// byte for byte and in order; it returns which.
func survivors(t testing.TB, fsys vfs.FS, all []*ticket) (idx []int, rec Recovery, err error) {
	t.Helper()
	rec, err = Dump(Source{Dir: testDir, FS: fsys}, func(p Pos, e Entry) error {
		for i, tk := range all {
			if tk.pos == p && tk.e.Shard == e.Shard && tk.e.Epoch == e.Epoch && string(tk.e.Data) == string(e.Data) {
				idx = append(idx, i)
				return nil
			}
		}
		return fmt.Errorf("served what was never written: %s at %s", e.Shard, p)
	})
	return idx, rec, err
}

func without(n int, lost ...int) (out []int) {
	for i := range n {
		if !slices.Contains(lost, i) {
			out = append(out, i)
		}
	}
	return out
}

// expectFlip says, from the format alone, what a changed byte at off must lead to.
func expectFlip(all []*ticket, off int64, witness bool) (lost []int, want *Damage) {
	group := []int{0, 1, 1, 1, 2, 2}
	end := func(i int) int64 { return all[i].pos.Off + entrySize(len(all[i].e.Data)) }
	for i, tk := range all {
		p := tk.pos.Off
		data := p + entryHeaderLen + int64(len(tk.e.Data))
		if i == 0 || group[i] != group[i-1] {
			if g := p - groupHeaderLen; off >= g && off < p {
				if group[i] == 2 && !witness { // torn, as far as one can tell
					return []int{4, 5}, nil
				}
				return nil, &Damage{Kind: DamagedHeader, From: Pos{1, g}, To: Pos{1, p}}
			}
		}
		if off < p || off >= data {
			continue
		}
		if group[i] == 2 && !witness {
			for j := i; j < len(all); j++ {
				lost = append(lost, j)
			}
			return lost, nil
		}
		if off < p+entryHeaderLen {
			return []int{i}, &Damage{Kind: DamagedRange, From: tk.pos, To: Pos{1, end(i)}}
		}
		return []int{i}, &Damage{Kind: DamagedEntry, From: tk.pos, To: Pos{1, end(i)}, Named: true,
			Shard: tk.e.Shard, Epoch: 3, BaseOffset: baseOffset(tk.e.Data)}
	}
	if off < fileHeaderLen || off >= fileHeaderCopy && off < fileHeaderCopy+fileHeaderLen {
		return nil, &Damage{Kind: DamagedHeader, From: Pos{1, 0}, To: Pos{1, dataStart}}
	}
	return nil, nil
}

// TestFlipEachByte changes each byte of a small file, after a clean stop, after
// a kill, and after a power cut that took the sync mark.
func TestFlipEachByte(t *testing.T) {
	for _, how := range []string{"clean", "kill", "cut"} {
		t.Run(how, func(t *testing.T) {
			fsys, all := small(t, how)
			name := fileName(testDir, 1)
			good := slurp(t, fsys, name)
			end := alignUp(all[5].pos.Off+entrySize(len(all[5].e.Data)), 8) + syncMarkLen
			if idx, rec, err := survivors(t, fsys, all); err != nil || len(idx) != 6 || len(rec.Damaged) > 0 || rec.TornBytes > 0 {
				t.Fatalf("untouched: %v %+v %v", idx, rec, err)
			}
			for off := range end {
				if off >= fileHeaderLen && off < fileHeaderCopy || off >= fileHeaderCopy+fileHeaderLen && off < dataStart {
					continue // zeros between the headers
				}
				bad := slices.Clone(good)
				bad[off] ^= 1 << (off % 8)
				spill(t, fsys, name, bad)
				idx, rec, err := survivors(t, fsys, all)
				lost, want := expectFlip(all, off, how != "cut")
				if err != nil || !slices.Equal(idx, without(6, lost...)) {
					t.Fatalf("byte %d: left %v, want all but %v: %v", off, idx, lost, err)
				}
				if want == nil && len(rec.Damaged) > 0 || want != nil && (len(rec.Damaged) != 1 || rec.Damaged[0] != *want) {
					t.Fatalf("byte %d: reported %+v, want %+v", off, rec.Damaged, want)
				}
				if torn := want == nil && len(lost) > 0; torn != (rec.TornBytes > 0) {
					t.Fatalf("byte %d: %d torn bytes", off, rec.TornBytes)
				}
				_, verr := Verify(Source{Dir: testDir, FS: fsys})
				if (want != nil && want.Lost()) != errors.Is(verr, ErrCorrupt) {
					t.Fatalf("byte %d: verify says %v", off, verr)
				}
			}
		})
	}
}

// TestEachPrefix cuts a file at each length: what lies wholly before the cut is
// replayed, and the log can be written on.
func TestEachPrefix(t *testing.T) {
	fsys, all := small(t, "clean")
	name := fileName(testDir, 1)
	good := slurp(t, fsys, name)
	end := int(all[5].pos.Off) + int(entrySize(len(all[5].e.Data)))
	for n := 0; n <= end; n++ {
		if n > 200 && n < dataStart-200 && n%97 != 0 {
			continue
		}
		spill(t, fsys, name, good[:n])
		want := 0
		for _, tk := range all {
			if tk.pos.Off+entrySize(len(tk.e.Data)) <= int64(n) {
				want++
			}
		}
		idx, rec, err := survivors(t, fsys, all)
		if err != nil || !slices.Equal(idx, without(6)[:want]) || len(rec.Damaged) > 0 {
			t.Fatalf("cut at %d: left %v, want %d: %+v %v", n, idx, want, rec, err)
		}
		if n%13 == 0 || n > dataStart && n%3 == 0 {
			l := newLedger()
			for _, tk := range all[:want] {
				l.tickets = append(l.tickets, &ticket{l: l, e: tk.e, pos: tk.pos, done: true})
			}
			if bad := l.checkDisk(fsys.KillClone()); len(bad) > 0 {
				t.Fatalf("cut at %d: %v", n, bad)
			}
		}
	}
}

// several writes a log of at least four files.
func several(t testing.TB) (*vfs.Mem, []*ticket) {
	mem, l := vfs.NewMem(), newLedger()
	w, _, _ := openReplay(t, testOptions(mem))
	for i := range 40 {
		must(t, l.append(w, shardOf(i), 5000))
		l.wait()
	}
	must(t, w.Close())
	return mem, l.tickets
}

// inFile lists the tickets of one file.
func inFile(all []*ticket, no uint64) (idx []int) {
	for i, tk := range all {
		if tk.pos.File == no {
			idx = append(idx, i)
		}
	}
	return idx
}

func TestVersion(t *testing.T) {
	for name, offs := range map[string][]int{fileName(testDir, 2): {0, fileHeaderCopy}, markName(testDir): {0, markSlot}} {
		m, _ := several(t)
		b := slurp(t, m, name)
		for _, o := range offs {
			b[o+8] = 2
		}
		spill(t, m, name, b)
		if _, err := Dump(Source{Dir: testDir, FS: m}, nil); !errors.Is(err, ErrVersion) || errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: dump: %v", name, err)
		}
		w, err := Open(testOptions(m))
		if err == nil {
			_, err = w.Replay(func(Pos, Entry) error { return nil })
			must(t, w.Close())
		}
		if !errors.Is(err, ErrVersion) {
			t.Errorf("%s: open: %v", name, err)
		}
		if string(slurp(t, m, name)) != string(b) {
			t.Errorf("%s: changed", name)
		}
	}
}

// TestMarkLost: without a trim mark everything there is comes back.
func TestMarkLost(t *testing.T) {
	m, all := several(t)
	w, _, _ := openReplay(t, testOptions(m))
	id := w.ID()
	must(t, w.Trim(all[30].pos))
	must(t, w.Close())
	spill(t, m, markName(testDir), make([]byte, 100))
	w, got, rec := openReplay(t, testOptions(m))
	defer w.Close()
	if !rec.MarkLost || len(rec.Damaged) > 0 || w.ID() != id || len(got) < 10 {
		t.Fatalf("%d entries, id %x: %+v", len(got), w.ID(), rec)
	}
}

// TestReadAtCorrupt: a flipped bit under a running log is refused with coordinates.
func TestReadAtCorrupt(t *testing.T) {
	m, all := several(t)
	w, _, _ := openReplay(t, testOptions(m))
	defer w.Close()
	tk := all[3]
	f, err := m.Open(fileName(testDir, tk.pos.File), vfs.ReadWrite)
	must(t, err)
	defer f.Close()
	for _, c := range []struct {
		at    int64
		named bool
	}{{entryHeaderLen + 3000, true}, {17, false}} {
		var b [1]byte
		_, err = f.ReadAt(b[:], tk.pos.Off+c.at)
		must(t, err)
		b[0] ^= 4
		_, err = f.WriteAt(b[:], tk.pos.Off+c.at)
		must(t, err)
		_, err = w.ReadAt(tk.pos)
		var d Damage
		if !errors.Is(err, ErrCorrupt) || !errors.As(err, &d) || d.From != tk.pos || d.Named != c.named {
			t.Fatalf("byte %d: %v", c.at, err)
		}
		if c.named && (d.Shard != tk.e.Shard || d.BaseOffset != baseOffset(tk.e.Data)) {
			t.Fatalf("byte %d: %v", c.at, err)
		}
		if e, err := w.ReadAt(all[4].pos); err != nil || string(e.Data) != string(all[4].e.Data) {
			t.Fatalf("neighbour: %v", err)
		}
	}
	if _, err := w.ReadAt(Pos{tk.pos.File, tk.pos.Off + 4}); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("read between entries: %v", err)
	}
}

// TestUnreadableSector: EIO in the middle costs the entry there, EIO in what may
// be the end of the log is reported too.
func TestUnreadableSector(t *testing.T) {
	m, all := several(t)
	eio := errors.New("input/output error")
	last := all[len(all)-1]
	for _, c := range []struct {
		at   Pos
		lost []int // the page holds the end of entry 1, then a group header and the head of entry 2
		kind []DamageKind
	}{{all[2].pos, []int{1, 2}, []DamageKind{DamagedEntry, DamagedRange}},
		{Pos{last.pos.File, minFileBytes - 10}, nil, []DamageKind{Unreadable}}} {
		fsys := vfs.Inject(m, func(op vfs.Op) error {
			if op.Kind == vfs.OpRead && op.Name == fileName(testDir, c.at.File) && op.Off <= c.at.Off && c.at.Off < op.Off+int64(op.Len) {
				return eio
			}
			return nil
		})
		idx, rec, err := survivors(t, fsys, all)
		var kinds []DamageKind
		for _, d := range rec.Damaged {
			kinds = append(kinds, d.Kind)
		}
		if err != nil || !slices.Equal(idx, without(len(all), c.lost...)) || !slices.Equal(kinds, c.kind) {
			t.Fatalf("%s: left %v: %+v %v", c.at, idx, rec.Damaged, err)
		}
	}
}

// TestCloseSync: Close leaves a synced witness, so that damage to the very last
// group is told from a torn write even after a power cut.
func TestCloseSync(t *testing.T) {
	told := func(drop string) (n int) {
		for seed := range uint64(20) {
			m, l := vfs.NewMem(), newLedger()
			opt := testOptions(m)
			opt.dropSync = func(name string) bool { return name == drop }
			w, _, _ := openReplay(t, opt)
			must(t, l.append(w, shardOf(0), 300))
			l.wait()
			must(t, w.Close())
			disk := m.CrashClone(newRand(seed))
			b := slurp(t, disk, fileName(testDir, 1))
			b[l.tickets[0].pos.Off+100] ^= 1
			spill(t, disk, fileName(testDir, 1), b)
			if _, err := Verify(Source{Dir: testDir, FS: disk}); errors.Is(err, ErrCorrupt) {
				n++
			}
		}
		return n
	}
	if n := told(""); n != 20 {
		t.Errorf("damage told in %d of 20", n)
	}
	if n := told("close"); n == 20 {
		t.Error("the test would not notice a missing sync")
	}
}

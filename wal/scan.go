package wal

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/robustmq/robustmq-go/internal/vfs"
)

// headerState says what the head of a file is.
type headerState uint8

const (
	headerBad   headerState = iota // neither copy can be read
	headerGood                     // this file's
	headerStale                    // of the use before: nothing was written since
)

// readHeaders looks at both copies. hurt is the offset of the one that is not
// this file's when the other is, else -1.
func readHeaders(area []byte, no uint64) (h fileHeader, st headerState, hurt int64, err error) {
	var good [2]bool
	for i, at := range []int{0, fileHeaderCopy} {
		c, cerr := decodeFileHeader(area[min(at, len(area)):])
		switch {
		case errors.Is(cerr, ErrVersion):
			err = cerr
		case cerr != nil:
		case c.File == no:
			h, st = c, headerGood
			good[i] = true
		case st == headerBad:
			h, st = c, headerStale
		}
	}
	if st != headerBad {
		err = nil
	}
	hurt = -1
	switch good {
	case [2]bool{false, true}:
		hurt = 0
	case [2]bool{true, false}:
		hurt = fileHeaderCopy
	}
	return h, st, hurt, err
}

func headerOf(fsys vfs.FS, dir string, no uint64) (fileHeader, headerState, error) {
	f, err := fsys.Open(fileName(dir, no), vfs.ReadOnly)
	if err != nil {
		return fileHeader{}, headerBad, err
	}
	area := make([]byte, dataStart)
	n, err := f.ReadAt(area, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	h, st, _, herr := readHeaders(area[:n], no)
	return h, st, errors.Join(err, herr, f.Close())
}

// listFiles returns the numbers of the log's files in order.
func listFiles(fsys vfs.FS, dir string) ([]uint64, error) {
	ls, err := fsys.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list wal: %w", err)
	}
	var nos []uint64
	for _, e := range ls {
		if no := parseName(e.Name); no != 0 && !e.Dir {
			nos = append(nos, no)
		}
	}
	slices.Sort(nos)
	return nos, nil
}

// scanned is one file as the scan found it.
type scanned struct {
	file    *logFile
	state   headerState
	hdr     fileHeader
	hurt    int64 // offset of the copy of the header that is damaged, -1 if none
	adopted bool  // both are, and the tag was found in a group
	blank   bool  // nothing of this log was ever written to it
}

// scan reads a log. It writes nothing.
type scan struct {
	fs    vfs.FS
	dir   string
	mode  int  // for opening files
	mark  Pos  // entries before are passed over
	known bool // mark is the trim mark; else the log starts where it starts
	fn    func(Pos, Entry) error

	rec   Recovery
	files []*scanned // at or past the mark, in order
	old   []uint64   // numbers of files before the mark
	end   Pos        // of the last file with content
	buf   []byte
}

func (s *scan) close() {
	for _, f := range s.files {
		_ = f.file.f.Close()
	}
}

// run lists, opens and reads.
func (s *scan) run() error {
	nos, err := listFiles(s.fs, s.dir)
	if err != nil {
		return err
	}
	for _, no := range nos {
		if no < s.mark.File {
			s.old = append(s.old, no)
			continue
		}
		f, err := s.open(no)
		if f != nil {
			s.files = append(s.files, f)
		}
		if err != nil {
			return fmt.Errorf("open wal file %d: %w", no, err)
		}
	}
	s.disown()
	s.end = s.mark
	first := true
	for i, f := range s.files {
		if f.blank {
			continue
		}
		s.chain(f, first)
		first = false
		if err := s.read(f, s.successor(i)); err != nil {
			return err
		}
	}
	if first && s.known { // no file with content at all
		s.end = s.mark
	}
	return nil
}

// open reads the header of a file, or failing that looks for its tag.
func (s *scan) open(no uint64) (*scanned, error) {
	name := fileName(s.dir, no)
	f, err := s.fs.Open(name, s.mode)
	if err != nil {
		return nil, err
	}
	sc := &scanned{file: &logFile{f: f, no: no, name: name, end: dataStart}, hurt: -1}
	size, err := f.Size()
	if err != nil {
		return sc, err
	}
	if size > maxFileBytes {
		return sc, fmt.Errorf("%w: file of %d bytes, at most %d", ErrCorrupt, size, maxFileBytes)
	}
	sc.file.size = size
	area, _, err := s.load(f, min(size, dataStart))
	if err != nil {
		return sc, err
	}
	if sc.hdr, sc.state, sc.hurt, err = readHeaders(area, no); err != nil {
		return sc, err
	}
	switch sc.state {
	case headerGood:
		sc.file.tag = sc.hdr.Tag
	case headerStale:
		sc.blank = true
	case headerBad:
		b, _, err := s.load(f, size)
		if err != nil {
			return sc, err
		}
		tag, ok := adoptTag(no, b)
		sc.file.tag, sc.adopted, sc.blank = tag, ok, !ok
	}
	return sc, nil
}

// disown takes for blank what a replay before took for blank: a file without
// headers that the next one does not know.
func (s *scan) disown() {
	for i := len(s.files) - 1; i >= 0; i-- {
		f, next := s.files[i], s.successor(i)
		if f.adopted && next != nil && !next.adopted && next.hdr.PrevFile < f.file.no {
			f.blank = true
		}
	}
}

// successor returns the next file with content.
func (s *scan) successor(i int) *scanned {
	for _, f := range s.files[i+1:] {
		if !f.blank {
			return f
		}
	}
	return nil
}

// chain reports files that are missing between the ones read so far and f.
func (s *scan) chain(f *scanned, first bool) {
	prev := Pos{f.hdr.PrevFile, f.hdr.PrevEnd}
	if f.adopted || prev.File == 0 || first && !s.known || !s.end.Less(prev) {
		return
	}
	if first || prev.File != s.end.File {
		s.damage(Damage{Kind: MissingFile, From: s.end, To: prev})
	}
}

func (s *scan) damage(d Damage) {
	if d.To.Compare(s.mark) <= 0 && s.known {
		return // in what was trimmed
	}
	s.rec.Damaged = append(s.rec.Damaged, d)
}

// read decodes one file.
func (s *scan) read(f, next *scanned) error {
	im := image{no: f.file.no, tag: f.file.tag, limit: -1}
	size := f.file.size
	if next != nil && !next.adopted && next.hdr.PrevFile == f.file.no {
		im.limit = next.hdr.PrevEnd
		size = min(size, im.limit)
	}
	var holes []extent
	var err error
	if im.b, holes, err = s.load(f.file.f, size); err != nil {
		return fmt.Errorf("read wal file %d: %w", f.file.no, err)
	}
	l := im.layout()
	if next != nil {
		l.synced = l.end // a later file bears witness
	} else if f.adopted && l.synced == dataStart {
		// The header goes out with the first group: without it, and without a
		// witness, that group was never acknowledged.
		f.blank = true
		s.rec.Torn, s.rec.TornBytes = Pos{im.no, dataStart}, im.tornBytes(l, dataStart)
		return nil
	}
	if (f.hurt >= 0 || f.adopted) && (next != nil || l.synced > dataStart) {
		s.damage(Damage{Kind: DamagedHeader, From: Pos{im.no, 0}, To: Pos{im.no, dataStart}})
	}
	end, err := im.decode(l, visitor{entry: func(off int64, e Entry) error { return s.entry(Pos{im.no, off}, e) }, damage: s.damage})
	if err != nil {
		return err
	}
	f.file.end = end
	s.end = Pos{im.no, end}
	s.rec.Files++
	if im.limit < 0 && next == nil {
		s.tail(&im, l, end, holes)
	}
	return nil
}

// tail says what lies after the end of the log in its last file.
func (s *scan) tail(im *image, l layout, end int64, holes []extent) {
	for _, h := range holes {
		if h.end > end {
			s.damage(Damage{Kind: Unreadable, From: Pos{im.no, max(end, h.off)}, To: Pos{im.no, h.end}})
		}
	}
	if torn := im.tornBytes(l, end); torn > 0 {
		s.rec.Torn, s.rec.TornBytes = Pos{im.no, end}, torn
	}
}

func (s *scan) entry(p Pos, e Entry) error {
	if p.Less(s.mark) {
		s.rec.Skipped++
		return nil
	}
	s.rec.Entries++
	s.rec.Bytes += int64(len(e.Data))
	if s.fn == nil {
		return nil
	}
	return s.fn(p, e)
}

// load reads the first size bytes of f into the shared buffer. Sectors that the
// disk cannot read are left zero and returned as holes: the checksums find
// whatever they held.
func (s *scan) load(f vfs.File, size int64) (b []byte, holes []extent, err error) {
	if int64(cap(s.buf)) < size {
		s.buf = make([]byte, size)
	}
	b = s.buf[:size]
	n, err := f.ReadAt(b, 0)
	if err == nil || errors.Is(err, io.EOF) {
		return b[:n], nil, nil
	}
	readable := false
	for off := int64(0); off < size; off += pageLen {
		page := b[off:min(off+pageLen, size)]
		n, perr := f.ReadAt(page, off)
		if perr != nil && !errors.Is(perr, io.EOF) {
			clear(page)
			holes = append(holes, extent{off: off, end: off + int64(len(page))})
			continue
		}
		clear(page[n:])
		readable = true
	}
	if !readable {
		return nil, nil, err
	}
	return b, holes, nil
}

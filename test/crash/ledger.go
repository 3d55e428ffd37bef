package crash

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
)

// Ledger is the record of one writer's messages, numbered from 0. Safe for concurrent use.
type Ledger struct {
	Protocol string
	Subject  string
	// Once: the protocol promises that nothing is written twice, even where the writer repeats.
	Once bool
	// Acks: the protocol has acknowledgements.
	Acks bool

	mu struct {
		sync.Mutex
		sent, acked int
		state       []bool // acknowledged, by number
		read        []bool // read back, by number
		next        int64  // offset to read from
		last        int    // number of the record read last
		records     int
		duplicates  int
		faults      []string
	}
}

// NewLedger makes an empty one.
func NewLedger(protocol, subject string) *Ledger {
	l := &Ledger{Protocol: protocol, Subject: subject}
	l.mu.last = -1
	return l
}

// Next gives the next message's number and value.
func (l *Ledger) Next() (int, []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.mu.sent
	l.mu.sent++
	l.mu.state = append(l.mu.state, false)
	l.mu.read = append(l.mu.read, false)
	return n, l.value(n)
}

// value follows from the number alone, so that every byte can be checked: protocol, number,
// filling of 20 to 1,500 bytes.
func (l *Ledger) value(n int) []byte {
	b := make([]byte, 0, 1600)
	b = append(b, l.Protocol...)
	b = append(b, ' ')
	b = binary.BigEndian.AppendUint64(b, uint64(n))
	x := uint32(n)*2654435761 + 1
	for range 20 + x%1480 {
		x = x*1664525 + 1013904223
		b = append(b, byte(x>>24))
	}
	return b
}

// number reads a value back.
func (l *Ledger) number(v []byte) (int, error) {
	rest, ok := bytes.CutPrefix(v, append([]byte(l.Protocol), ' '))
	if !ok || len(rest) < 8 {
		return 0, fmt.Errorf("a message of %d bytes that nobody sent", len(v))
	}
	n := int(binary.BigEndian.Uint64(rest))
	if !bytes.Equal(v, l.value(n)) {
		return 0, fmt.Errorf("message %d: its bytes are not those sent", n)
	}
	return n, nil
}

// Acknowledged notes that the broker said so.
func (l *Ledger) Acknowledged(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.mu.state[n] {
		l.mu.state[n] = true
		l.mu.acked++
	}
}

// At is the offset to read on from.
func (l *Ledger) At() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.next
}

// Read notes a record read from the log.
func (l *Ledger) Read(offset int64, v []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset != l.mu.next {
		l.fault("offset %d follows %d", offset, l.mu.next-1)
	}
	l.mu.next = offset + 1
	l.mu.records++
	n, err := l.number(v)
	switch {
	case err != nil:
		l.fault("offset %d: %v", offset, err)
		return
	case n >= l.mu.sent:
		l.fault("offset %d: message %d was never sent", offset, n)
		return
	case l.mu.read[n]:
		l.mu.duplicates++
		if l.Once {
			l.fault("offset %d: message %d again", offset, n)
		}
	case n < l.mu.last:
		l.fault("offset %d: message %d comes after %d", offset, n, l.mu.last)
	}
	l.mu.read[n] = true
	l.mu.last = max(l.mu.last, n)
}

func (l *Ledger) fault(format string, args ...any) {
	if len(l.mu.faults) < 20 {
		l.mu.faults = append(l.mu.faults, l.Protocol+": "+fmt.Sprintf(format, args...))
	}
}

// Expected is a copy of what is acknowledged now, for Missing.
func (l *Ledger) Expected() []bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.mu.state)
}

// Missing gives the numbers that were acknowledged, and are not in the log.
func (l *Ledger) Missing(expected []bool) (lost []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n, acked := range expected {
		if acked && !l.mu.read[n] {
			lost = append(lost, n)
		}
	}
	return lost
}

// Kept is a copy of what was read from the log, by number.
func (l *Ledger) Kept() []bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.mu.read)
}

// Counts of a ledger.
type Counts struct {
	Sent, Acked, Records, Duplicates int
	Faults                           []string
}

// Counts gives the figures.
func (l *Ledger) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Counts{l.mu.sent, l.mu.acked, l.mu.records, l.mu.duplicates, slices.Clone(l.mu.faults)}
}

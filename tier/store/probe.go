package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// ProbeReport is what Probe found out. A field is true when the operation did
// what Store promises.
type ProbeReport struct {
	Put, Get, Range, Head, List, Delete bool

	// ConditionalPut: a second Put of a key was refused with ErrExists and left
	// the object alone.
	ConditionalPut bool
	// ConditionalRace: of concurrent Puts of one key exactly one succeeded.
	ConditionalRace bool

	PutLatency, GetLatency time.Duration // of one small object
	ClockSkew              time.Duration // the store's clock minus ours; whole seconds on S3

	Problems []error // one for each false above, with its cause
}

// Err joins the problems, or is nil. A store whose only problem is conditional
// writes is usable: keys of RobustMQ are unique.
func (r *ProbeReport) Err() error { return errors.Join(r.Problems...) }

// probeRacers is how many Puts of one key are sent at once.
const probeRacers = 6

// Probe tries each operation on scratch objects below the key prefix scratch,
// which should be unique ("probe/<ulid>"), and removes them again. It is meant
// for start-up and for the doctor verb, takes some ten requests, and may be
// called concurrently with other scratch names.
func Probe(ctx context.Context, s Store, scratch string) ProbeReport {
	p := &prober{ctx: ctx, s: s, key: scratch + "/one", race: scratch + "/race"}
	p.write()
	if p.rep.Put {
		p.read(scratch)
		p.conditions()
	}
	p.clean(scratch)
	return p.rep
}

type prober struct {
	ctx       context.Context
	s         Store
	key, race string
	rep       ProbeReport
}

func (p *prober) check(ok *bool, what string, err error, good bool) {
	*ok = err == nil && good
	if *ok {
		return
	}
	if err == nil {
		err = fmt.Errorf("%w: wrong answer", ErrBroken)
	}
	p.rep.Problems = append(p.rep.Problems, fmt.Errorf("probe %s: %w", what, err))
}

var probeData = []byte("robustmq probe: this object may be deleted")

func (p *prober) write() {
	start := time.Now()
	err := p.s.Put(p.ctx, p.key, probeData)
	p.rep.PutLatency = time.Since(start)
	p.check(&p.rep.Put, "put", err, true)
}

func (p *prober) read(scratch string) {
	start := time.Now()
	got, err := p.s.Get(p.ctx, p.key, 0, -1)
	p.rep.GetLatency = time.Since(start)
	p.check(&p.rep.Get, "get", err, bytes.Equal(got, probeData))
	got, err = p.s.Get(p.ctx, p.key, 9, 5)
	p.check(&p.rep.Range, "get of a range", err, string(got) == "probe")
	info, err := p.s.Head(p.ctx, p.key)
	p.check(&p.rep.Head, "head", err, info.Size == int64(len(probeData)))
	if err == nil {
		p.rep.ClockSkew = time.Until(info.Modified)
	}
	list, err := p.s.List(p.ctx, scratch+"/", "", 10)
	p.check(&p.rep.List, "list", err, len(list) == 1 && list[0].Key == p.key)
}

func (p *prober) conditions() {
	err := p.s.Put(p.ctx, p.key, []byte("second"))
	exists := errors.Is(err, ErrExists)
	if exists {
		err = nil
	}
	got, gerr := p.s.Get(p.ctx, p.key, 0, -1)
	p.check(&p.rep.ConditionalPut, "conditional put", errors.Join(err, gerr), exists && bytes.Equal(got, probeData))

	var wg sync.WaitGroup
	errs := make([]error, probeRacers)
	for i := range errs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = p.s.Put(p.ctx, p.race, []byte("racer "+strconv.Itoa(i)))
		}()
	}
	wg.Wait()
	won := 0
	var other error
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, ErrExists):
			other = err
		}
	}
	p.check(&p.rep.ConditionalRace, "race of conditional puts", other, won == 1)
}

func (p *prober) clean(scratch string) {
	err := p.s.Delete(p.ctx, p.key, p.race)
	list, lerr := p.s.List(p.ctx, scratch+"/", "", 10)
	if !p.rep.Put {
		lerr, list = nil, nil // nothing was written, and listing failed or not is said by put
	}
	p.check(&p.rep.Delete, "delete", errors.Join(err, lerr), len(list) == 0)
}

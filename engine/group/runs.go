package group

import "sort"

// run is an inclusive range of offsets.
type run struct{ lo, hi int64 }

// runs are disjoint and in order, and do not touch.
type runs []run

// maxRuns bounds the runs of a cursor; past it the highest are given up, and
// come again after a restart.
const maxRuns = 4096

// maxCounts bounds the delivery counts kept of messages that left memory.
const maxCounts = 65536

// maxSavedCounts bounds those that are written with a cursor; past it the
// highest offsets are given up, and begin again with 1 after a restart.
const maxSavedCounts = 4096

// add gives the runs with [lo, hi] in them. It may change rs.
func (rs runs) add(lo, hi int64) runs {
	i := sort.Search(len(rs), func(i int) bool { return rs[i].hi+1 >= lo })
	j := i
	for j < len(rs) && rs[j].lo <= hi+1 {
		lo, hi = min(lo, rs[j].lo), max(hi, rs[j].hi)
		j++
	}
	if i == j {
		rs = append(rs, run{})
		copy(rs[i+1:], rs[i:])
	} else {
		rs = append(rs[:i+1], rs[j:]...)
	}
	rs[i] = run{lo, hi}
	return rs
}

func (rs runs) has(offset int64) bool {
	i := sort.Search(len(rs), func(i int) bool { return rs[i].hi >= offset })
	return i < len(rs) && rs[i].lo <= offset
}

// from drops what lies below an offset.
func (rs runs) from(offset int64) runs {
	i := sort.Search(len(rs), func(i int) bool { return rs[i].hi >= offset })
	rs = rs[i:]
	if len(rs) > 0 && rs[0].lo < offset {
		rs[0].lo = offset
	}
	if len(rs) == 0 {
		return nil
	}
	return rs
}

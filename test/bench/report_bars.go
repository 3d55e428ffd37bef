package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// howToRead is what the report says of its columns.
const howToRead = "Ratio: ours / peer. CPU: the server's user and system time per 1,000 messages. " +
	"Peak memory: the highest resident set during the run, reset before each; RobustMQ, nats-server, mosquitto and mochi are started anew for every row, " +
	"Kafka and RabbitMQ, slow to start, serve all rows of their group. " +
	"Written: what the kernel charged to the server as written (write_bytes of /proc/pid/io) during the run and 0.3 s after it, per message; " +
	"this is an upper bound: where the file system uses large folios a small write followed by a sync is charged as the whole folio, see docs/PERFORMANCE.md, " +
	"and the log's files, allotted ahead, count where they are made. The bar is the ratio aimed at; ✗ marks a miss.\n"

func miss(missed bool) string {
	if missed {
		return " ✗"
	}
	return ""
}

// bars lists everything that is aimed at, with what was reached.
func (r *report) bars(b *strings.Builder) {
	b.WriteString("\n## Bars\n\n| workload | against | what | reached | bar | |\n| --- | --- | --- | --: | --: | --- |\n")
	for _, g := range r.Groups {
		for i := range g.Rows {
			g.Rows[i].bars(b, g.Name)
		}
	}
}

func (row *rowResult) bars(b *strings.Builder, group string) {
	ours := &row.Sides[0]
	line := func(against, what, reached, bar string, missed bool) {
		fmt.Fprintf(b, "| %s: %s | %s | %s | %s | %s |%s |\n", group, row.Name, against, what, reached, bar, miss(missed))
	}
	ratio := func(s *sideResult, what string, of func(runResult) float64, bar float64, less bool) {
		peer, us := s.median(of), ours.median(of)
		if bar == 0 || peer == 0 || len(ours.good()) == 0 {
			return
		}
		q, sign := us/peer, "≥"
		if less {
			sign = "≤"
		}
		line(s.Server, what, fmt.Sprintf("%.2f ×", q), fmt.Sprintf("%s %v ×", sign, bar), q < bar != less)
	}
	for i := range row.Sides[1:] {
		s := &row.Sides[i+1]
		ratio(s, row.Unit, value, s.Bar, row.LessIsBetter)
		ratio(s, "CPU per message", cpuPer1k, s.CPUBar, true)
		ratio(s, "peak memory", peakMiB, s.MemBar, true)
	}
	for _, what := range slices.Sorted(maps.Keys(row.Limits)) {
		if len(ours.good()) == 0 {
			continue
		}
		got := ours.median(func(r runResult) float64 {
			if what == row.Unit {
				return r.Value
			}
			return r.Extra[what]
		})
		line("itself", what, short(got), "≤ "+short(row.Limits[what]), got > row.Limits[what])
	}
}

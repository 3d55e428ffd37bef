package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// report is the JSON file; the Markdown file is made from it.
type report struct {
	Began     time.Time         `json:"began"`
	Ended     time.Time         `json:"ended"`
	Rounds    int               `json:"rounds"`
	Scale     int               `json:"messages_divided_by"`
	Times     int               `json:"messages_multiplied_by"`
	CPUs      int               `json:"cpus"`
	CPU       string            `json:"cpu"`
	Kernel    string            `json:"kernel"`
	LoadBegan string            `json:"load_average_began"`
	LoadEnded string            `json:"load_average_ended"`
	Clients   map[string]string `json:"client_libraries"`
	Groups    []groupResult     `json:"groups"`
}

type groupResult struct {
	Name string      `json:"name"`
	Rows []rowResult `json:"rows"`
}

type rowResult struct {
	Name         string `json:"name"`
	Note         string `json:"note,omitempty"`
	Unit         string `json:"unit"`
	LessIsBetter bool   `json:"less_is_better,omitempty"`
	// Limits are bounds on our own figures.
	Limits map[string]float64 `json:"limits,omitempty"`
	Sides  []sideResult       `json:"sides"`
}

type sideResult struct {
	Server     string      `json:"server"`
	Version    string      `json:"version"`
	Settings   string      `json:"settings"`
	Durability string      `json:"durability"`
	Bar        float64     `json:"bar,omitempty"`
	CPUBar     float64     `json:"cpu_bar,omitempty"`
	MemBar     float64     `json:"memory_bar,omitempty"`
	Runs       []runResult `json:"runs"`
}

type runResult struct {
	Value    float64            `json:"value"`
	Messages int                `json:"messages,omitempty"`
	Seconds  float64            `json:"seconds,omitempty"`
	CPU      float64            `json:"server_cpu_seconds,omitempty"`
	PeakRSS  int64              `json:"server_peak_rss_bytes,omitempty"`
	Written  int64              `json:"server_written_bytes,omitempty"`
	Extra    map[string]float64 `json:"extra,omitempty"`
	Error    string             `json:"error,omitempty"`
}

func newRun(f figure, u usage, err error) runResult {
	r := runResult{Value: f.value, Messages: f.messages, Extra: f.extra, Seconds: u.wall.Seconds(),
		CPU: u.cpu.Seconds(), PeakRSS: u.peakRSS, Written: u.written}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func newReport(p plan) *report {
	r := &report{Began: time.Now().UTC(), Rounds: p.rounds, Scale: p.scale, Times: p.times, CPUs: runtime.NumCPU(),
		LoadBegan: loadAverage(), Kernel: firstLine("/proc/sys/kernel/osrelease"), Clients: map[string]string{}}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if v, ok := strings.CutPrefix(line, "model name"); ok {
				r.CPU = strings.Trim(v, " \t:\n")
				break
			}
		}
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			for _, used := range []string{"paho.mqtt.golang", "amqp091-go", "nats.go", "franz-go", "minio-go/v7"} {
				if strings.HasSuffix(m.Path, "/"+used) {
					r.Clients[m.Path] = m.Version
				}
			}
		}
	}
	return r
}

func firstLine(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

func loadAverage() string { return firstLine("/proc/loadavg") }

func (r *report) add(group string, row rowResult) {
	if n := len(r.Groups); n == 0 || r.Groups[n-1].Name != group {
		r.Groups = append(r.Groups, groupResult{Name: group})
	}
	g := &r.Groups[len(r.Groups)-1]
	g.Rows = append(g.Rows, row)
}

func (r *report) finish() { r.Ended, r.LoadEnded = time.Now().UTC(), loadAverage() }

func (r *report) failures() int {
	n := 0
	for _, g := range r.Groups {
		for _, row := range g.Rows {
			for _, s := range row.Sides {
				n += len(s.Runs) - len(s.good()) - s.skips()
			}
		}
	}
	return n
}

// write writes both files and returns the Markdown one's path.
func (r *report) write(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("write report: %w", err)
	}
	base := filepath.Join(dir, r.Began.Format("2006-01-02"))
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write report: %w", err)
	}
	if err := os.WriteFile(base+".json", append(b, '\n'), 0o644); err != nil {
		return "", fmt.Errorf("write report: %w", err)
	}
	if err := os.WriteFile(base+".md", []byte(r.markdown()), 0o644); err != nil {
		return "", fmt.Errorf("write report: %w", err)
	}
	return base + ".md", nil
}

// good are the runs without an error.
func (s *sideResult) good() []runResult {
	var out []runResult
	for _, r := range s.Runs {
		if r.Error == "" {
			out = append(out, r)
		}
	}
	return out
}

// skips counts the runs that this machine does not allow.
func (s *sideResult) skips() int {
	n := 0
	for _, r := range s.Runs {
		if strings.HasPrefix(r.Error, skippedPrefix) {
			n++
		}
	}
	return n
}

// median of a figure over the good runs; 0 when there is none.
func (s *sideResult) median(of func(runResult) float64) float64 {
	var v []float64
	for _, r := range s.good() {
		v = append(v, of(r))
	}
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

func value(r runResult) float64      { return r.Value }
func cpuPer1k(r runResult) float64   { return r.CPU * 1e6 / float64(max(r.Messages, 1)) }
func peakMiB(r runResult) float64    { return float64(r.PeakRSS) / (1 << 20) }
func writtenPer(r runResult) float64 { return float64(r.Written) / float64(max(r.Messages, 1)) }

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# RobustMQ and its peers, %s\n\n", r.Began.Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(&b, "`make bench-peers`: %d rounds of each row, every server in turn in each (A B A B), medians. ", r.Rounds)
	if r.Times != 1 {
		fmt.Fprintf(&b, "Message counts multiplied by %d. ", r.Times)
	}
	if r.Scale != 1 {
		fmt.Fprintf(&b, "**Message counts divided by %d.** ", r.Scale)
	}
	fmt.Fprintf(&b, "%d × %s, Linux %s, %s to %s UTC. Load average (1, 5, 15 min) at the start %s, at the end %s: client and server share the machine.\n\n",
		r.CPUs, r.CPU, r.Kernel, r.Began.Format("15:04"), r.Ended.Format("15:04"), r.LoadBegan, r.LoadEnded)
	b.WriteString(howToRead)
	r.bars(&b)
	for _, g := range r.Groups {
		fmt.Fprintf(&b, "\n## %s\n\n", g.Name)
		b.WriteString("| workload | server | durability | median | least–most | ratio | bar | CPU ms/1k | peak MiB | B written/msg | also |\n")
		b.WriteString("| --- | --- | --- | --: | --: | --: | --: | --: | --: | --: | --- |\n")
		for i := range g.Rows {
			g.Rows[i].lines(&b)
		}
		b.WriteByte('\n')
		g.notes(&b)
	}
	r.servers(&b)
	return b.String()
}

// notes writes each note once, with the rows it is of.
func (g *groupResult) notes(b *strings.Builder) {
	rows := map[string][]string{}
	for _, row := range g.Rows {
		rows[row.Note] = append(rows[row.Note], row.Name)
	}
	for _, row := range g.Rows {
		if names := rows[row.Note]; row.Note != "" && names[0] == row.Name {
			fmt.Fprintf(b, "- %s: %s\n", strings.Join(names, "; "), row.Note)
		}
	}
}

func (row *rowResult) lines(b *strings.Builder) {
	ours := row.Sides[0].median(value)
	for i := range row.Sides {
		s := &row.Sides[i]
		name := ""
		if i == 0 {
			name = row.Name
		}
		good := s.good()
		if len(good) == 0 {
			why := "not run"
			if len(s.Runs) > 0 {
				why, _, _ = strings.Cut(s.Runs[0].Error, "\n")
				if s.skips() == 0 {
					why = "failed: " + why
				}
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | | | | | | | |\n", name, s.Server, s.Durability, cell(why))
			continue
		}
		lo := slices.MinFunc(good, func(a, b runResult) int { return int(a.Value*1000 - b.Value*1000) }).Value
		hi := slices.MaxFunc(good, func(a, b runResult) int { return int(a.Value*1000 - b.Value*1000) }).Value
		ratio, bar := "", ""
		if i > 0 && ours > 0 && s.median(value) > 0 {
			q := ours / s.median(value)
			ratio = fmt.Sprintf("**%.2f**", q)
			if s.Bar > 0 {
				bar = fmt.Sprintf("%.1f", s.Bar) + miss(q < s.Bar != row.LessIsBetter)
			}
		}
		also := s.also()
		if len(good) < len(s.Runs) {
			also += fmt.Sprintf(" %d of %d runs failed", len(s.Runs)-len(good), len(s.Runs))
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s %s | %s–%s | %s | %s | %s | %s | %s | %s |\n", name, s.Server, s.Durability,
			short(s.median(value)), row.Unit, short(lo), short(hi), ratio, bar,
			some(s.median(cpuPer1k), "%.2f"), some(s.median(peakMiB), "%.0f"), some(s.median(writtenPer), "%.0f"), also)
	}
}

// also are the medians of the further figures.
func (s *sideResult) also() string {
	names := map[string]bool{}
	for _, r := range s.good() {
		for k := range r.Extra {
			names[k] = true
		}
	}
	var out []string
	for _, k := range slices.Sorted(maps.Keys(names)) {
		out = append(out, fmt.Sprintf("%s %s", short(s.median(func(r runResult) float64 { return r.Extra[k] })), k))
	}
	return strings.Join(out, ", ")
}

// servers lists versions and settings, each once.
func (r *report) servers(b *strings.Builder) {
	b.WriteString("\n## Servers, versions, settings\n\n")
	seen := map[string]bool{}
	for _, g := range r.Groups {
		for _, row := range g.Rows {
			for _, s := range row.Sides {
				line := fmt.Sprintf("- %s: %s. %s\n", s.Server, s.Version, s.Settings)
				if !seen[line] {
					seen[line] = true
					b.WriteString(line)
				}
			}
		}
	}
	b.WriteString("\nClient libraries:")
	for _, k := range slices.Sorted(maps.Keys(r.Clients)) {
		fmt.Fprintf(b, " %s %s;", k, r.Clients[k])
	}
	b.WriteString(" the other loads are `nats bench` and Kafka's perf tools of the versions in test/tools/versions.env.\n")
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

func some(v float64, format string) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf(format, v)
}

// short writes a figure with three digits that matter and thousands apart.
func short(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

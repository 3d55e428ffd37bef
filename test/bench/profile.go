package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/robustmq/robustmq-go/test/harness"
)

// profileHz is how often a profiled server is looked at per second; odd, so as not to beat with timers.
const profileHz = "499"

// maxSymbol is where a line of a profile is cut: generic types have very long names.
const maxSymbol = 160

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// profiled runs a load while `perf record` watches the server, and writes the hottest functions,
// alone and with what they call, as text to dir.
func profiled(ctx context.Context, dir, name string, r *running, load func(context.Context, *running) (figure, error)) (figure, error) {
	perf, err := harness.Tool("perf")
	if err != nil {
		return figure{}, err
	}
	data, err := os.CreateTemp("", "robustmq-perf-")
	if err != nil {
		return figure{}, fmt.Errorf("profile: %w", err)
	}
	defer os.Remove(data.Name())
	defer data.Close()
	p, err := harness.StartProc(harness.Command{Name: "perf record", Path: perf,
		Args: []string{"record", "-q", "-g", "-F", profileHz, "-o", data.Name(), "-p", strconv.Itoa(r.proc.Pid())}})
	if err != nil {
		return figure{}, err
	}
	fig, err := load(ctx, r)
	if err != nil {
		p.Kill()
		return fig, err
	}
	if err := p.End(syscall.SIGINT, 10*time.Second); err != nil {
		return fig, err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %.0f; CPU time of the server by perf at %s Hz, %s\n", name, fig.value, profileHz, revision())
	for _, view := range []struct{ title, kind string }{{"alone", "--no-children"}, {"with what it calls", "--children"}} {
		out, err := harness.Run(ctx, harness.Command{Name: "perf report", Path: perf,
			Args: []string{"report", "-i", data.Name(), view.kind, "-g", "none", "--percent-limit", "1", "--sort", "symbol"}})
		if err != nil {
			return fig, err
		}
		fmt.Fprintf(&text, "\n%s\n", view.title)
		for line := range strings.Lines(out) {
			// The two columns after the symbol are of no use here.
			if t := strings.TrimRight(line, " -\n"); t != "" && !strings.HasPrefix(t, "#") {
				text.WriteString(t[:min(len(t), maxSymbol)] + "\n")
			}
		}
	}
	allocs, err := allocated(ctx, r)
	if err != nil {
		return fig, err
	}
	fmt.Fprintf(&text, "\nmemory allocated since the server's start, alone and with what it calls\n%s", allocs)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fig, fmt.Errorf("profile: %w", err)
	}
	file := strings.Trim(notInName.ReplaceAllString(strings.ToLower(name), "-"), "-") + ".txt"
	if err := os.WriteFile(filepath.Join(dir, file), []byte(text.String()), 0o644); err != nil {
		return fig, fmt.Errorf("profile: %w", err)
	}
	return fig, nil
}

// allocated is what the server's functions allocated, by bytes, as `go tool pprof` shows it.
func allocated(ctx context.Context, r *running) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+harness.Addr(r.ours.Admin)+"/debug/pprof/allocs", http.NoBody)
	if err != nil {
		return "", fmt.Errorf("profile: %w", err)
	}
	req.SetBasicAuth(harness.User, harness.Password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("profile: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("profile: status %d: %w", resp.StatusCode, err)
	}
	file, err := os.CreateTemp("", "robustmq-allocs-")
	if err != nil {
		return "", fmt.Errorf("profile: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(data)
	if err := errors.Join(err, file.Close()); err != nil {
		return "", fmt.Errorf("profile: %w", err)
	}
	out, err := harness.Run(ctx, harness.Command{Name: "go tool pprof", Path: "go", Args: []string{"tool", "pprof", "-top", "-sample_index=alloc_space", "-nodecount=25", file.Name()}})
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for line := range strings.Lines(out) {
		line = strings.TrimPrefix(line, "go tool pprof | ")
		text.WriteString(line[:min(len(line), maxSymbol)])
	}
	return text.String(), nil
}

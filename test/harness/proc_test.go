package harness

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"
)

func sh(t *testing.T, script string, keepStdin bool) *Proc {
	t.Helper()
	p, err := StartProc(Command{Name: "sh", Path: "/bin/sh", Args: []string{"-c", script}, KeepStdin: keepStdin})
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(p.Kill)
	return p
}

func TestProcKeepsLinesInOrder(t *testing.T) {
	p := sh(t, "echo one; echo two; printf three; echo err >&2", false)
	if err := p.Wait(t.Context()); err != nil {
		t.Fatalf("wait: %v", err)
	}
	if got := p.Output(Stdout); got != "one\ntwo\nthree\n" {
		t.Errorf("stdout %q", got)
	}
	if got := p.Output(Stderr); got != "err\n" {
		t.Errorf("stderr %q", got)
	}
	lines := p.Lines()
	for i := 1; i < len(lines); i++ {
		if lines[i].At.Before(lines[i-1].At) {
			t.Errorf("line %d is older than the one before", i)
		}
	}
}

func TestProcCutsLongLines(t *testing.T) {
	p := sh(t, "head -c 9000000 /dev/zero | tr '\\0' x", false)
	if err := p.Wait(t.Context()); err != nil {
		t.Fatalf("wait: %v", err)
	}
	total := 0
	for _, l := range p.Lines() {
		if len(l.Text) > maxLine+64<<10 {
			t.Errorf("a line of %d bytes was kept whole", len(l.Text))
		}
		total += len(l.Text)
	}
	if total != 9000000 {
		t.Errorf("kept %d bytes, want 9000000", total)
	}
}

func TestWaitLine(t *testing.T) {
	p := sh(t, "read x; echo got $x; sleep 60", true)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.WaitLine(short, "got"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("wait before the line was written: %v, want a time-out", err)
	}
	if _, err := p.Write([]byte("it\n")); err != nil {
		t.Fatalf("write: %v", err)
	}
	if err := p.WaitLine(t.Context(), "got it"); err != nil {
		t.Fatalf("wait: %v", err)
	}
}

func TestWaitLineFailsWhenTheProcessEnds(t *testing.T) {
	p := sh(t, "echo alas; exit 3", false)
	err := p.WaitLine(t.Context(), "never")
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "alas") {
		t.Fatalf("got %v, want the exit status and the output", err)
	}
}

func TestEndKillsWhatWillNotGo(t *testing.T) {
	p := sh(t, "trap '' TERM; echo up; while :; do sleep 0.05; done", false)
	if err := p.WaitLine(t.Context(), "up"); err != nil {
		t.Fatalf("wait: %v", err)
	}
	if err := p.End(syscall.SIGTERM, 200*time.Millisecond); err == nil {
		t.Fatal("End reports success for a process that had to be killed")
	}
	select {
	case <-p.Done():
	default:
		t.Fatal("the process still runs")
	}
}

func TestFreePortsDiffer(t *testing.T) {
	seen := map[int]bool{}
	for range 20 {
		p, err := RandomPorts()
		if err != nil {
			t.Fatalf("random ports: %v", err)
		}
		for _, port := range p.each() {
			if seen[*port] {
				t.Fatalf("port %d was given out twice", *port)
			}
			seen[*port] = true
			if f, err := claim(*port); f != nil || err != nil {
				t.Fatalf("port %d can be claimed by another: %v", *port, err)
			}
		}
	}
}

package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Output caps: a line longer than maxLine is cut into several, and past maxKept bytes of output
// of one process further lines are counted but not kept.
const (
	maxLine = 4 << 20
	maxKept = 256 << 20
)

// Stream tells which output a Line was read from.
type Stream uint8

// The streams of a process.
const (
	Stdout Stream = iota
	Stderr
)

// Line is one line of a process's output, without its line end.
type Line struct {
	At   time.Time // when it was read here
	From Stream
	Text string
}

// Proc is a running or ended child process.
type Proc struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser

	done chan struct{} // closed when the process has ended and its output was read

	mu struct {
		sync.Mutex
		lines   []Line
		kept    int
		dropped int
		moved   chan struct{} // closed and replaced when a line arrives
		err     error         // of Wait, valid once done is closed
	}
}

// Command says what to run.
type Command struct {
	Name  string    // for messages; the base name of Path when empty
	Path  string    // the executable
	Args  []string  // without the executable
	Env   []string  // added to the environment of this process, less its ROBUSTMQ_ variables
	Dir   string    // working directory
	Stdin io.Reader // fed to the process, then its input is closed; nil with KeepStdin gives Proc.Write
	// KeepStdin leaves the input open for Proc.Write and Proc.CloseStdin.
	KeepStdin bool
	Tee       io.Writer // gets a copy of each line, prefixed with the name; may be nil
}

// StartProc starts a process. It returns once the process runs, not when it is ready for anything.
func StartProc(c Command) (*Proc, error) {
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env = append(environ(), c.Env...)
	cmd.Dir = c.Dir
	cmd.Stdin = c.Stdin
	isolate(cmd)
	name := c.Name
	if name == "" {
		name = c.Path[strings.LastIndexByte(c.Path, '/')+1:]
	}
	p := &Proc{name: name, cmd: cmd, done: make(chan struct{})}
	p.mu.moved = make(chan struct{})
	if c.KeepStdin {
		in, err := cmd.StdinPipe()
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", name, err)
		}
		p.in = in
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	var readers sync.WaitGroup
	readers.Go(func() { p.read(stdout, Stdout, c.Tee) })
	readers.Go(func() { p.read(stderr, Stderr, c.Tee) })
	go func() {
		readers.Wait()
		err := cmd.Wait()
		p.mu.Lock()
		p.mu.err = err
		p.mu.Unlock()
		close(p.done)
	}()
	return p, nil
}

// environ is this process's environment without ROBUSTMQ_ variables: these configure brokers and
// test suites, and a child gets the ones meant for it.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "ROBUSTMQ_") })
}

func (p *Proc) read(r io.Reader, from Stream, tee io.Writer) {
	br := bufio.NewReaderSize(r, 64<<10)
	var long []byte
	for {
		part, err := br.ReadSlice('\n')
		long = append(long, part...)
		whole := err == nil || len(long) >= maxLine || (errors.Is(err, io.EOF) && len(long) > 0)
		if whole {
			p.add(Line{At: time.Now(), From: from, Text: strings.TrimSuffix(string(long), "\n")}, tee)
			long = long[:0]
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func (p *Proc) add(l Line, tee io.Writer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.kept+len(l.Text) > maxKept {
		p.mu.dropped++
	} else {
		p.mu.lines = append(p.mu.lines, l)
		p.mu.kept += len(l.Text)
	}
	close(p.mu.moved)
	p.mu.moved = make(chan struct{})
	if tee != nil {
		fmt.Fprintf(tee, "%s | %s\n", p.name, l.Text)
	}
}

// Name is what messages call this process.
func (p *Proc) Name() string { return p.name }

// Pid is the process id.
func (p *Proc) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended and all its output was read.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Lines returns a copy of what was read so far.
func (p *Proc) Lines() []Line {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Line(nil), p.mu.lines...)
}

// Output is the text of all lines of one stream, for logs and error messages.
func (p *Proc) Output(from Stream) string {
	var b strings.Builder
	for _, l := range p.Lines() {
		if l.From == from {
			b.WriteString(l.Text)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// Tail is the last n lines of both streams, for error messages.
func (p *Proc) Tail(n int) string {
	lines := p.Lines()
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "    %s | %s\n", p.name, l.Text)
	}
	return b.String()
}

// WaitFor waits until want says yes of the lines read so far. It fails when the context ends, or
// when the process ends first; the error then holds the last lines of output.
func (p *Proc) WaitFor(ctx context.Context, what string, want func([]Line) bool) error {
	for {
		p.mu.Lock()
		moved := p.mu.moved
		lines := p.mu.lines[:len(p.mu.lines):len(p.mu.lines)]
		p.mu.Unlock()
		if want(lines) {
			return nil
		}
		select {
		case <-moved:
		case <-p.done:
			if want(p.Lines()) {
				return nil
			}
			return fmt.Errorf("wait for %s of %s: process ended: %w\n%s", what, p.name, p.exitError(), p.Tail(20))
		case <-ctx.Done():
			return fmt.Errorf("wait for %s of %s: %w\n%s", what, p.name, ctx.Err(), p.Tail(20))
		}
	}
}

// WaitLine waits for a line that contains text, on either stream.
func (p *Proc) WaitLine(ctx context.Context, text string) error {
	return p.WaitFor(ctx, fmt.Sprintf("%q", text), func(lines []Line) bool {
		for _, l := range lines {
			if strings.Contains(l.Text, text) {
				return true
			}
		}
		return false
	})
}

// Write sends bytes to the input of a process started with KeepStdin.
func (p *Proc) Write(b []byte) (int, error) { return p.in.Write(b) }

// CloseStdin ends the input of a process started with KeepStdin.
func (p *Proc) CloseStdin() error { return p.in.Close() }

var errExitZero = errors.New("exit status 0")

func (p *Proc) exitError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.err == nil {
		return errExitZero
	}
	return p.mu.err
}

// Wait waits for the process to end. A status other than 0 is an error with the last lines of
// output.
func (p *Proc) Wait(ctx context.Context) error {
	select {
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w\n%s", p.name, ctx.Err(), p.Tail(20))
	}
	if err := p.exitError(); !errors.Is(err, errExitZero) {
		return fmt.Errorf("%s: %w\n%s", p.name, err, p.Tail(20))
	}
	return nil
}

// Signal sends a signal; to a process that has ended it does nothing.
func (p *Proc) Signal(s syscall.Signal) {
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Signal(s) // a process that has just ended needs no signal
	}
}

// Kill ends the process, and what it may have started, with SIGKILL and waits until it is gone.
func (p *Proc) Kill() {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.Pid(), syscall.SIGKILL) // a group that has just ended needs no signal
	}
	<-p.done
}

// End asks the process to end with the signal given and waits; one that has not ended after grace
// is killed, and that is an error. The exit status does not matter.
func (p *Proc) End(s syscall.Signal, grace time.Duration) error {
	p.Signal(s)
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-p.done:
		return nil
	case <-t.C:
		p.Kill()
		return fmt.Errorf("end %s: still running %v after %v, killed\n%s", p.name, grace, s, p.Tail(20))
	}
}

// Run starts a command, waits for its end and returns what it printed on stdout.
func Run(ctx context.Context, c Command) (string, error) {
	p, err := StartProc(c)
	if err != nil {
		return "", err
	}
	if err := p.Wait(ctx); err != nil {
		p.Kill()
		return p.Output(Stdout), err
	}
	return p.Output(Stdout), nil
}

package harness

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Root is the top folder of the repository: the nearest parent of the working directory that
// holds both cmd/ or shard/ and a go.mod of its own beside test/.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find repository: %w", err)
	}
	for {
		if isFile(filepath.Join(dir, "go.mod")) && isFile(filepath.Join(dir, "test", "go.mod")) {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("find repository: no parent of the working directory holds go.mod and test/go.mod")
		}
		dir = up
	}
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

// ToolsDir is where test/tools/install.sh puts things: $ROBUSTMQ_TOOLS or <repository>/.tools.
func ToolsDir() (string, error) {
	if dir := os.Getenv("ROBUSTMQ_TOOLS"); dir != "" {
		return filepath.Abs(dir)
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, ".tools"), nil
}

// Tool returns the path of an installed tool. The error for one that is missing says how to get it.
func Tool(name string) (string, error) {
	dir, err := ToolsDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "bin", name)
	if name == "python3" {
		path = filepath.Join(dir, "venv", "bin", name)
	}
	if isFile(path) {
		return path, nil
	}
	if name != "python3" { // the system's has no client libraries
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("find tool %s: neither in %s nor on the PATH; run `make tools`", name, dir)
}

// Ports are taken from below those that the system gives to clients (32768 and up on Linux): while
// a broker is down and its clients try to come back, none of them may get its port, or, connecting
// from a port to itself, itself.
const (
	lowestPort  = 12000
	highestPort = 32000
)

// FreePort returns a TCP port of 127.0.0.1 that nothing listens on and that this process has not
// returned before, nor another one that still runs: test packages run side by side, and a broker that
// is down for a moment wants its port again.
func FreePort() (int, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.rnd == nil {
		ports.rnd = rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(os.Getpid())))
		ports.ours = map[int]*os.File{}
	}
	for range 1000 {
		port := lowestPort + ports.rnd.IntN(highestPort-lowestPort)
		if ports.ours[port] != nil || !PortFree(port) {
			continue
		}
		f, err := claim(port)
		if err != nil {
			return 0, fmt.Errorf("find free port: %w", err)
		}
		if f != nil {
			ports.ours[port] = f
			return port, nil
		}
	}
	return 0, errors.New("find free port: none of 1000 ports tried was free")
}

// claim keeps other test processes off a port until the file is closed or this process ends;
// nil: another one has it.
func claim(port int) (*os.File, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("robustmq-test-ports-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, f.Close()
	}
	return nil, errors.Join(fmt.Errorf("claim port %d: %w", port, err), f.Close())
}

var ports struct {
	sync.Mutex
	rnd  *rand.Rand
	ours map[int]*os.File // see claim
}

// PortFree tells whether 127.0.0.1:port can be listened on now.
func PortFree(port int) bool {
	l, err := net.Listen("tcp", Addr(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// Addr is "127.0.0.1:port".
func Addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// pollEvery is the pause between two looks at something outside that cannot announce itself, such
// as a port that is about to be opened.
const pollEvery = 10 * time.Millisecond

// poll calls ok until it returns nil, the context ends or gone is closed; the last error is told.
func poll(ctx context.Context, gone <-chan struct{}, ok func(context.Context) error) error {
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		err := ok(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-t.C:
		case <-gone:
			return fmt.Errorf("process ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// dialable is nil when something accepts connections at addr.
func dialable(ctx context.Context, addr string) error {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return c.Close()
}

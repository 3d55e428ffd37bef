package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is USER_HZ, which Linux fixes at 100 for what it shows in /proc.
const ticksPerSecond = 100

// usage is what some processes took between two looks, all together.
type usage struct {
	wall    time.Duration
	cpu     time.Duration // user and system
	peakRSS int64         // bytes, the highest since the first look; of several processes the sum of each one's highest
	written int64         // bytes handed to the block layer
}

// startWatch resets the peak of the processes' resident memory and reads their counters.
func startWatch(pids []int) (usage, error) {
	for _, pid := range pids {
		// 5 resets VmHWM, proc(5).
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
			return usage{}, fmt.Errorf("reset peak memory: %w", err)
		}
	}
	return readUsages(pids)
}

// since reads the counters again and subtracts.
func (u usage) since(pids []int) (usage, error) {
	now, err := readUsages(pids)
	if err != nil {
		return usage{}, err
	}
	now.cpu -= u.cpu
	now.written -= u.written
	return now, nil
}

func readUsages(pids []int) (usage, error) {
	var all usage
	for _, pid := range pids {
		u, err := readUsage(pid)
		if err != nil {
			return usage{}, err
		}
		all.cpu += u.cpu
		all.peakRSS += u.peakRSS
		all.written += u.written
	}
	return all, nil
}

func readUsage(pid int) (usage, error) {
	var u usage
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, fmt.Errorf("read cpu time: %w", err)
	}
	// The name, in parentheses, may hold anything: fields are counted after it.
	_, rest, ok := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(" "))
	fields := strings.Fields(string(rest))
	if !ok || len(fields) < 13 {
		return u, fmt.Errorf("read cpu time: %q", stat)
	}
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return u, fmt.Errorf("read cpu time: %w", err)
		}
		u.cpu += time.Duration(n) * time.Second / ticksPerSecond
	}
	hwm, err := procField(pid, "status", "VmHWM:")
	if err != nil {
		return u, err
	}
	u.peakRSS = hwm << 10
	u.written, err = procField(pid, "io", "write_bytes:")
	return u, err
}

// rss is the resident memory in bytes now.
func rss(pid int) (int64, error) {
	kib, err := procField(pid, "status", "VmRSS:")
	return kib << 10, err
}

func procField(pid int, file, key string) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", key, err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, key); ok {
			if f := strings.Fields(v); len(f) > 0 {
				return strconv.ParseInt(f[0], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("read %s: not in /proc/%d/%s", key, pid, file)
}

package engine

import (
	"time"

	"golang.org/x/sys/unix"
)

// suspended gives how long the machine was suspended since it booted: time.Since
// leaves that out.
func suspended() time.Duration {
	var boot, mono unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return 0
	}
	return time.Duration(boot.Nano() - mono.Nano())
}

package gateway

import (
	"net"
	"time"
)

// writeStep is how much of a write has a deadline of its own, in bytes.
const writeStep = 256 << 10

// WriteWithin writes parts one after the other. The client has to take each quarter
// of a MiB within patience: one that is slow is waited for, one that takes nothing
// is not. Without patience there is no deadline. After an error the connection is
// of no use.
func (c *Conn) WriteWithin(patience time.Duration, parts ...[]byte) error {
	for len(parts) > 0 {
		if patience > 0 {
			if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
				return err
			}
		}
		if len(parts[0]) >= writeStep || len(parts) == 1 {
			n := min(len(parts[0]), writeStep)
			if _, err := c.Write(parts[0][:n]); err != nil {
				return err
			}
			if parts[0] = parts[0][n:]; len(parts[0]) == 0 {
				parts = parts[1:]
			}
			continue
		}
		n, size := 0, 0
		for n < len(parts) && size+len(parts[n]) <= writeStep {
			size += len(parts[n])
			n++
		}
		group := net.Buffers(parts[:n:n])
		parts = parts[n:]
		if _, err := group.WriteTo(c.Conn); err != nil {
			return err
		}
	}
	return nil
}

package nats

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// handshakeFirst is when TLS comes before INFO.
type handshakeFirst struct {
	on bool
	// fallback, when over 0, is how long the client may take to begin with the
	// handshake before it is sent INFO in the clear.
	fallback time.Duration
}

const autoFallback = 50 * time.Millisecond

// parseHandshakeFirst reads "false", "true", "auto" or a duration, as
// nats-server's handshake_first.
func parseHandshakeFirst(s string) (handshakeFirst, error) {
	switch s {
	case "", "false":
		return handshakeFirst{}, nil
	case "true":
		return handshakeFirst{on: true}, nil
	case "auto":
		return handshakeFirst{on: true, fallback: autoFallback}, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return handshakeFirst{}, fmt.Errorf("nats: handshake_first %q is none of false, true, auto, or a duration", s)
	}
	return handshakeFirst{on: true, fallback: d}, nil
}

// tlsRecord is the first byte of a TLS handshake; no command begins with it.
const tlsRecord = 0x16

// greet sends INFO and does the TLS handshake where the listener offers one:
// before INFO or after it. The writer does not run yet.
func (c *conn) greet(ctx context.Context) error {
	if !c.nc.TLSOffered() {
		return c.sendInfo()
	}
	hf := c.s.first
	if hf.on {
		began, err := c.peek(hf.fallback)
		if err != nil {
			return err
		}
		if began {
			c.tlsFirst = true
			if err := c.upgrade(ctx); err != nil {
				return err
			}
			return c.sendInfo()
		}
		if hf.fallback == 0 {
			return errTLSRequired
		}
	}
	if err := c.sendInfo(); err != nil {
		return err
	}
	began, err := c.peek(0)
	switch {
	case err != nil:
		return err
	case began:
		return c.upgrade(ctx)
	case !c.s.cfg.AllowNonTLS:
		return errTLSRequired
	}
	return nil
}

// sendInfo writes INFO at once.
func (c *conn) sendInfo() error {
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.s.cfg.WriteDeadline)); err != nil {
		return err
	}
	_, err := c.nc.Write(encodeInfo(c.s.info(c)))
	return err
}

// peek reads the client's first bytes and tells whether they begin a TLS
// handshake. With a wait over 0 none may come in that time.
func (c *conn) peek(wait time.Duration) (began bool, err error) {
	if c.parse.buffered() == 0 {
		if wait > 0 {
			_ = c.raw.SetReadDeadline(time.Now().Add(wait))
			defer func() { _ = c.raw.SetReadDeadline(time.Now().Add(c.s.cfg.AuthTimeout)) }()
		}
		err := c.parse.fill(c.nc, 1)
		if wait > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return c.parse.buf[c.parse.r] == tlsRecord, nil
}

// upgrade does the handshake over what was read already.
func (c *conn) upgrade(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.s.cfg.AuthTimeout)
	defer cancel()
	p := &c.parse
	err := c.nc.StartTLS(ctx, p.buf[p.r:p.w])
	p.r, p.w = 0, 0
	if err != nil {
		c.s.env.Stats.ProtocolErrors.Add(1)
		c.s.env.Log.Debug("TLS handshake failed", "remote", c.nc.RemoteAddr().String(), "error", err)
	}
	return err
}

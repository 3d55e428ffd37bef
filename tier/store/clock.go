package store

import (
	"net/http"
	"sync"
	"time"
)

// Clock keeps what time a store's server said it was, in the Date of its answers.
// The zero value is ready for use.
type Clock struct {
	mu   sync.Mutex
	said time.Time
	at   time.Time
}

// Said gives the time that the last answer bore and when it came, by the clock
// here; zero while there was none.
func (c *Clock) Said() (said, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said, c.at
}

// saw notes an answer.
func (c *Clock) saw(r *http.Response) {
	t, err := http.ParseTime(r.Header.Get("Date"))
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said, c.at = t, time.Now()
}

// Doer is a client of HTTP, as the AWS SDK calls it.
type Doer interface {
	Do(r *http.Request) (*http.Response, error)
}

type doer struct {
	to Doer
	c  *Clock
}

// Do implements Doer.
func (d doer) Do(r *http.Request) (*http.Response, error) {
	resp, err := d.to.Do(r)
	if err == nil {
		d.c.saw(resp)
	}
	return resp, err
}

// WatchDoer gives a Doer whose answers the clock sees; nil sees none.
func (c *Clock) WatchDoer(to Doer) Doer {
	if c == nil {
		return to
	}
	return doer{to, c}
}

type transport struct {
	to http.RoundTripper
	c  *Clock
}

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.to.RoundTrip(r)
	if err == nil {
		t.c.saw(resp)
	}
	return resp, err
}

// WatchTransport is WatchDoer of a transport.
func (c *Clock) WatchTransport(to http.RoundTripper) http.RoundTripper {
	if c == nil {
		return to
	}
	return transport{to, c}
}

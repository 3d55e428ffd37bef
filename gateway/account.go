package gateway

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"golang.org/x/time/rate"
)

// TooManyConnections is the error of Auth.Join for a user who has as many
// connections to this gateway as the account may have.
type TooManyConnections struct {
	User  string
	Limit int
}

func (e *TooManyConnections) Error() string {
	return "user " + e.User + " has as many connections as it may"
}

// Unwrap gives it the kind of what may be tried again later.
func (e *TooManyConnections) Unwrap() error {
	return shard.Errorf(shard.KindUnavailable, "too many connections")
}

// account is what the connections of one user share on this gateway.
type account struct {
	name  string
	users shard.Users
	conns atomic.Int64       // changed under Auth.accounts
	open  map[*Conn]struct{} // under Auth.accounts, too

	checked atomic.Int64 // Unix nanoseconds: when the rate was looked up
	bucket  atomic.Pointer[rate.Limiter]
}

const (
	// rateCheck is how soon a changed limit of bytes holds for open connections.
	rateCheck = time.Second
	// minBurst is the least that may come at once, minChunk the least that one
	// read takes, in bytes.
	minBurst = 4 << 10
	minChunk = 512
	// rateNap bounds how long a waiting read does not look whether its
	// connection was closed.
	rateNap = 100 * time.Millisecond
)

// Join counts c among the connections of p until c is closed, and holds it to
// the account's bytes per second from then on. A protocol calls it once it knows
// who logs in, before it says so. Over shard.User.MaxConnections it gives a
// *TooManyConnections. A second call for another principal moves c. Anonymous
// clients have no account, and no limit.
//
// From then on c ends within a second once the account is deleted, is no superuser
// any more, or has other credentials than p logged in with.
func (a *Auth) Join(c *Conn, p Principal) error {
	if p.Anonymous {
		c.Leave()
		return nil
	}
	a.accounts.Lock()
	defer a.accounts.Unlock()
	if p.user != nil && !a.current(p.user) {
		return ErrBadCredentials // changed since it logged in
	}
	c.user.Store(p.user)
	if now := c.account.Load(); now != nil && now.name == p.Name {
		return nil
	}
	u := a.accounts.of[p.Name]
	if u == nil {
		u = &account{name: p.Name, users: a.users, open: make(map[*Conn]struct{})}
		a.accounts.of[p.Name] = u
	}
	if s, ok := a.users.User(p.Name); ok && s.MaxConnections > 0 && u.conns.Load() >= int64(s.MaxConnections) {
		return &TooManyConnections{p.Name, s.MaxConnections}
	}
	if old := c.account.Swap(u); old != nil {
		old.conns.Add(-1)
		delete(old.open, c)
		a.accounts.joined--
	}
	u.conns.Add(1)
	u.open[c] = struct{}{}
	c.auth.Store(a)
	if a.accounts.joined++; a.accounts.joined == 1 {
		a.accounts.empty = make(chan struct{})
		go a.watchUsers(a.accounts.empty)
	}
	return nil
}

// Leave ends what Join began. Close does it too; who knows earlier that the
// connection is over, because another takes its place, calls it before.
func (c *Conn) Leave() {
	a := c.auth.Load()
	if a == nil {
		return
	}
	a.accounts.Lock()
	defer a.accounts.Unlock()
	u := c.account.Swap(nil)
	if u == nil {
		return
	}
	delete(u.open, c)
	if a.accounts.joined--; a.accounts.joined == 0 {
		close(a.accounts.empty) // watchUsers ends
	}
	if u.conns.Add(-1) > 0 {
		return
	}
	if _, exists := a.users.User(u.name); !exists || u.bucket.Load() == nil { // a bucket stays: to connect anew does not fill it
		delete(a.accounts.of, u.name)
	}
}

// Close ends the connection.
func (c *Conn) Close() error {
	c.closed.Store(true)
	c.endMemory()
	c.Leave()
	return c.Conn.Close()
}

// Read reads at most as much as the user's rate allows, after waiting for it:
// what is not read fills the peer's window, so that it waits too (TCP
// backpressure) in every protocol alike.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.readAtRate(b)
	c.mem.read.Add(int64(n))
	return n, err
}

func (c *Conn) readAtRate(b []byte) (int, error) {
	u := c.account.Load()
	if u == nil {
		return c.Conn.Read(b)
	}
	for {
		l := u.limiter(time.Now())
		if l == nil {
			return c.Conn.Read(b)
		}
		owed := -l.Tokens()
		if owed <= c.grace.Seconds()*float64(l.Limit()) {
			chunk := max(l.Burst()/8/max(1, int(u.conns.Load())), minChunk)
			n, err := c.Conn.Read(b[:min(len(b), chunk)])
			l.ReserveN(time.Now(), n) // into debt, which the next reads wait for
			return n, err
		}
		if c.closed.Load() {
			return 0, net.ErrClosed
		}
		wait := time.Duration(owed/float64(l.Limit())*float64(time.Second)) - c.grace
		time.Sleep(min(max(wait, time.Millisecond), rateNap))
	}
}

// SetGrace lets Read go on while the user owes no more than d, where a protocol
// takes a request whole and then tells the client how long to wait; 0 ends it.
// Only who reads may call it.
func (c *Conn) SetGrace(d time.Duration) { c.grace = d }

// Owed gives how long it takes until the user's rate allows another read; 0 when
// it does now.
func (c *Conn) Owed() time.Duration {
	u := c.account.Load()
	if u == nil {
		return 0
	}
	l := u.limiter(time.Now())
	if l == nil {
		return 0
	}
	return time.Duration(max(-l.Tokens(), 0) / float64(l.Limit()) * float64(time.Second))
}

// limiter gives the bucket of the user's bytes, nil without a limit.
func (u *account) limiter(now time.Time) *rate.Limiter {
	last := u.checked.Load()
	if now.UnixNano()-last < int64(rateCheck) || !u.checked.CompareAndSwap(last, now.UnixNano()) {
		return u.bucket.Load()
	}
	var want int64
	if s, ok := u.users.User(u.name); ok {
		want = s.BytesPerSecond
	}
	l := u.bucket.Load()
	switch {
	case want <= 0:
		l = nil
	case l == nil || int64(l.Limit()) != want:
		l = rate.NewLimiter(rate.Limit(want), int(min(max(want, minBurst), 1<<30)))
	}
	u.bucket.Store(l)
	return l
}

// accounts are the users with connections to this gateway.
type accounts struct {
	sync.Mutex
	of     map[string]*account
	joined int           // connections of all of them
	empty  chan struct{} // closed when joined is 0
}

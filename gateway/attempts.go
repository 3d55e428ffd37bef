package gateway

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// Failed log-ins are counted by address, by account and by both together. Each
// failure is a debt that time pays off; who owes too much is refused without being
// looked at. An address that logged in as an account lately is refused for nobody's
// failures but its own as that account: who shares it with somebody who guesses, or
// whose account is guessed at from elsewhere, goes on.
const (
	// addressFailures and accountFailures may come at once; then addressRate and
	// accountRate a second. One address alone cannot lock an account.
	addressFailures, addressRate = 20, 1
	accountFailures, accountRate = 100, 2
	// goodFor is how long an address is known for an account.
	goodFor = time.Hour
	// maxAttempts bounds each of the tables.
	maxAttempts = 10_000
	// warnEvery bounds the lines of the log: one for each address in that time,
	// and maxWarnings of all.
	warnEvery   = 10 * time.Second
	maxWarnings = 20
)

// ErrTooManyFailures refuses who failed to log in too often.
var ErrTooManyFailures = shard.Errorf(shard.KindDenied, "too many failed log-ins from this address or for this account: try again later")

// debt is what failures left, as of a time.
type debt struct {
	owed float64
	at   time.Time
}

func (d debt) now(t time.Time, rate float64) float64 {
	return max(0, d.owed-t.Sub(d.at).Seconds()*rate)
}

// pair is an account and an address.
type pair struct{ account, address string }

type attempts struct {
	now func() time.Time

	sync.Mutex
	address map[string]debt
	account map[string]debt
	pair    map[pair]debt
	good    map[pair]time.Time // until when

	warned struct {
		since     time.Time
		addresses map[string]struct{} // that had their line
		lines     int
		unsaid    int // failures without a line, of all
	}
}

func (a *attempts) init() {
	a.now = time.Now
	a.address, a.account = make(map[string]debt), make(map[string]debt)
	a.pair, a.good = make(map[pair]debt), make(map[pair]time.Time)
	a.warned.addresses = make(map[string]struct{})
}

// addressKey gives what counts as one address: of IPv6 the network of a host.
func addressKey(a net.Addr) string {
	if a == nil {
		return ""
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}

// allow refuses who owes too much.
func (a *attempts) allow(remote net.Addr, account string) error {
	addr := addressKey(remote)
	key, t := pair{account, addr}, a.now()
	a.Lock()
	defer a.Unlock()
	switch {
	case a.pair[key].now(t, addressRate) >= addressFailures:
		return ErrTooManyFailures
	case a.good[key].After(t):
		return nil
	case a.address[addr].now(t, addressRate) >= addressFailures,
		account != "" && a.account[account].now(t, accountRate) >= accountFailures:
		return ErrTooManyFailures
	}
	return nil
}

func (a *attempts) failed(remote net.Addr, account string) {
	addr, t := addressKey(remote), a.now()
	a.Lock()
	defer a.Unlock()
	owe(a.address, addr, t, addressRate)
	owe(a.pair, pair{account, addr}, t, addressRate)
	if account != "" {
		owe(a.account, account, t, accountRate)
	}
}

func (a *attempts) succeeded(remote net.Addr, account string) {
	a.Lock()
	defer a.Unlock()
	if len(a.good) >= maxAttempts {
		for k := range a.good { // any one
			delete(a.good, k)
			break
		}
	}
	a.good[pair{account, addressKey(remote)}] = a.now().Add(goodFor)
}

// owe adds a failure. A full table loses, of a few, who owes the least.
func owe[K comparable](m map[K]debt, k K, t time.Time, rate float64) {
	d, ok := m[k]
	if !ok && len(m) >= maxAttempts {
		var least K
		lowest, seen := 0.0, 0
		for k, d := range m {
			if owed := d.now(t, rate); seen == 0 || owed < lowest {
				least, lowest = k, owed
			}
			if seen++; seen == 16 {
				break
			}
		}
		delete(m, least)
	}
	m[k] = debt{d.now(t, rate) + 1, t}
}

// warn tells whether a failure is worth a line, and how many others were not since.
func (a *attempts) warn(remote net.Addr) (ok bool, others int) {
	addr, t := addressKey(remote), a.now()
	a.Lock()
	defer a.Unlock()
	w := &a.warned
	if t.Sub(w.since) >= warnEvery || t.Before(w.since) {
		w.since, w.lines = t, 0
		clear(w.addresses)
	}
	if _, had := w.addresses[addr]; had || w.lines >= maxWarnings {
		w.unsaid++
		return false, 0
	}
	w.addresses[addr] = struct{}{}
	w.lines++
	others, w.unsaid = w.unsaid, 0
	return true, others
}

// Guess lets try prove that it is an account, unless too many failed to. account is
// "" where the proof names it. Every log-in by a secret goes through here.
func (a *Auth) Guess(remote net.Addr, account string, try func() (Principal, error)) (Principal, error) {
	if len(account) > maxUserName { // no account has such a name; the tables and the log are not filled with it
		account = TokenHash(account)
	}
	err := a.attempts.allow(remote, account)
	var p Principal
	if err == nil {
		p, err = try()
	}
	switch {
	case err == nil:
		a.attempts.succeeded(remote, account)
		return p, nil
	case errors.Is(err, errUnproved) || shard.KindOf(err) != shard.KindDenied: // nothing was said yet, or the store was not asked
		return Principal{}, err
	case !errors.Is(err, ErrTooManyFailures):
		a.attempts.failed(remote, account)
	}
	if ok, others := a.attempts.warn(remote); ok {
		from := ""
		if remote != nil {
			from = remote.String()
		}
		a.log.Warn("log-in failed", "remote", from, "user", account, "error", err, "others_since", others)
	}
	return Principal{}, err
}

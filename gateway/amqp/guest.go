package amqp

import "github.com/robustmq/robustmq-go/gateway"

// guest is RabbitMQ's first account, with the password of that name, which most
// tutorials and clients take where nothing is said.
const guest = "guest"

// password logs in by name and password.
func (c *conn) password(user, password string) (gateway.Principal, error) {
	if user == guest && password == guest && c.guestIsGood() {
		p, err := c.s.env.Auth.Anonymous(c.nc.RemoteAddr())
		p.Name = guest
		return p, err
	}
	return c.s.env.Auth.Password(c.ctx, c.nc.RemoteAddr(), user, password)
}

// guestIsGood tells whether guest may log in: from loopback, where nobody made an
// account of that name, and while the account that ships with the broker has its first
// password still. It is no account: it has the rights of anonymous clients, and needs
// that they are let in, so that it opens no door that is not open.
func (c *conn) guestIsGood() bool {
	auth := c.s.env.Auth
	if _, taken := auth.User(guest); taken || !gateway.Loopback(c.nc.RemoteAddr()) {
		return false
	}
	if _, err := auth.Anonymous(c.nc.RemoteAddr()); err != nil {
		return false
	}
	for _, u := range auth.Users() {
		if u.DefaultPassword {
			return true
		}
	}
	return false
}

package admin

import (
	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// User is an account without its credentials.
type User struct {
	Name            string `json:"name"`
	Superuser       bool   `json:"superuser"`
	HasPassword     bool   `json:"has_password"`
	HasToken        bool   `json:"has_token,omitempty"`
	NKey            string `json:"nkey,omitempty" doc:"public NATS key"`
	DefaultPassword bool   `json:"default_password,omitempty" doc:"still the one it ships with: good from loopback only"`
	MaxConnections  int    `json:"max_connections,omitempty"`
	BytesPerSecond  int64  `json:"bytes_per_second,omitempty"`
}

// UserCreate is the body that creates an account.
type UserCreate struct {
	Name           string `json:"name"`
	Password       string `json:"password,omitempty"`
	Superuser      bool   `json:"superuser,omitempty"`
	NKey           string `json:"nkey,omitempty" doc:"public NATS key"`
	MaxConnections int    `json:"max_connections,omitempty"`
	BytesPerSecond int64  `json:"bytes_per_second,omitempty"`
}

// UserUpdate is the body that changes an account; what is left out stays.
type UserUpdate struct {
	Superuser      *bool  `json:"superuser,omitempty"`
	MaxConnections *int   `json:"max_connections,omitempty" doc:"to each gateway, over all protocols; 0: no bound"`
	BytesPerSecond *int64 `json:"bytes_per_second,omitempty" doc:"sent to each gateway by all its connections; 0: no bound"`
	// Token logs NATS clients in that give one and no name.
	Token *string `json:"token,omitempty" doc:"that NATS clients log in by, without a name; empty: none any more"`
}

// Password is the body that sets a password.
type Password struct {
	Password string `json:"password"`
}

const minPasswordBytes = 8

func viewUser(u *shard.User) User {
	return User{Name: u.Name, Superuser: u.Superuser, HasPassword: u.SCRAM256 != nil || u.SCRAM512 != nil,
		HasToken: u.TokenHash != "", NKey: u.NKey, DefaultPassword: u.DefaultPassword,
		MaxConnections: u.MaxConnections, BytesPerSecond: u.BytesPerSecond}
}

func (s *Server) listUsers(r *request) (any, error) {
	if err := r.maySeeAccounts(); err != nil {
		return nil, err
	}
	return paginate(r, s.env.Broker.Users.List(), func(u *shard.User) string { return u.Name }, viewUser)
}

func (r *request) user() (*shard.User, error) {
	u, ok := r.s.env.Broker.Users.User(r.PathValue("name"))
	if !ok {
		return nil, shard.Errorf(shard.KindNotFound, "no user %q", r.PathValue("name"))
	}
	return u, nil
}

func (s *Server) getUser(r *request) (any, error) {
	if err := r.maySeeAccounts(); err != nil {
		return nil, err
	}
	u, err := r.user()
	if err != nil {
		return nil, err
	}
	return viewUser(u), nil
}

func checkPassword(p string) error {
	if len(p) < minPasswordBytes {
		return shard.Errorf(shard.KindInvalid, "password is under %d bytes", minPasswordBytes)
	}
	return nil
}

func (s *Server) createUser(r *request) (any, error) {
	in, err := body[UserCreate](r)
	if err != nil {
		return nil, err
	}
	if err := gateway.CheckUserName(in.Name); err != nil {
		return nil, err
	}
	if in.MaxConnections < 0 || in.BytesPerSecond < 0 {
		return nil, shard.Errorf(shard.KindInvalid, "a limit is under 0")
	}
	u := shard.User{Name: in.Name}
	switch {
	case in.Password != "":
		if err := checkPassword(in.Password); err != nil {
			return nil, err
		}
		if u, err = gateway.NewUser(in.Name, in.Password); err != nil {
			return nil, err
		}
	case in.NKey == "":
		return nil, shard.Errorf(shard.KindInvalid, "a user needs a password or an nkey")
	}
	u.Superuser, u.NKey, u.MaxConnections, u.BytesPerSecond = in.Superuser, in.NKey, in.MaxConnections, in.BytesPerSecond
	s.changing.Lock()
	defer s.changing.Unlock()
	if _, ok := s.env.Broker.Users.User(in.Name); ok {
		return nil, shard.Errorf(shard.KindExists, "user %q exists", in.Name)
	}
	if err := s.env.Broker.Users.Put(r.Context(), u); err != nil {
		return nil, err
	}
	return viewUser(&u), nil
}

func (s *Server) setPassword(r *request) (any, error) {
	in, err := body[Password](r)
	if err != nil {
		return nil, err
	}
	if err := checkPassword(in.Password); err != nil {
		return nil, err
	}
	if !s.env.Auth.MaySetPassword(r.principal, gateway.RequestAddr(r.Request), r.PathValue("name")) {
		return nil, shard.Errorf(shard.KindDenied, "user %q may set no other's password", r.principal.Name)
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	old, err := r.user()
	if err != nil {
		return nil, err
	}
	fresh, err := gateway.NewUser(old.Name, in.Password)
	if err != nil {
		return nil, err
	}
	u := *old
	u.SCRAM256, u.SCRAM512, u.DefaultPassword = fresh.SCRAM256, fresh.SCRAM512, false
	return nil, s.env.Broker.Users.Put(r.Context(), u)
}

func (s *Server) updateUser(r *request) (any, error) {
	in, err := body[UserUpdate](r)
	if err != nil {
		return nil, err
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	old, err := r.user()
	if err != nil {
		return nil, err
	}
	u := *old
	if in.Superuser != nil {
		u.Superuser = *in.Superuser
	}
	if in.MaxConnections != nil {
		u.MaxConnections = *in.MaxConnections
	}
	if in.BytesPerSecond != nil {
		u.BytesPerSecond = *in.BytesPerSecond
	}
	if u.MaxConnections < 0 || u.BytesPerSecond < 0 {
		return nil, shard.Errorf(shard.KindInvalid, "a limit is under 0")
	}
	if in.Token != nil {
		if u.TokenHash, err = s.tokenHash(u.Name, *in.Token); err != nil {
			return nil, err
		}
	}
	if old.Superuser && !u.Superuser {
		if err := s.env.Auth.KeepSuperuser(u.Name); err != nil {
			return nil, err
		}
	}
	if err := s.env.Broker.Users.Put(r.Context(), u); err != nil {
		return nil, err
	}
	return viewUser(&u), nil
}

// minTokenBytes is more than a password's, for a token is a name as well.
const minTokenBytes = 16

// tokenHash gives what is kept of a token, "" for none. It has to name one account.
func (s *Server) tokenHash(name, token string) (string, error) {
	if token == "" {
		return "", nil
	}
	if len(token) < minTokenBytes || len(token) > 1024 {
		return "", shard.Errorf(shard.KindInvalid, "token is not of %d to 1024 bytes", minTokenBytes)
	}
	h := gateway.TokenHash(token)
	for _, u := range s.env.Broker.Users.List() {
		if u.TokenHash == h && u.Name != name {
			return "", shard.Errorf(shard.KindExists, "another user has that token")
		}
	}
	return h, nil
}

func (s *Server) deleteUser(r *request) (any, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	u, err := r.user()
	if err != nil {
		return nil, err
	}
	if err := s.env.Auth.KeepSuperuser(u.Name); err != nil {
		return nil, err
	}
	return nil, s.env.Broker.Users.Delete(r.Context(), u.Name)
}

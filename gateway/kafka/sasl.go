package kafka

// saslState is how far a client's login is.
type saslState struct {
	mechanism string
	broken    bool
}

func (s *saslState) idle() bool { return s.mechanism == "" }

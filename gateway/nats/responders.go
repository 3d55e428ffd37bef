package nats

// groupInterest tells whether who may answer a request beside live subscribers is
// there: a consumer of a group, an AMQP server on its queue for one.
func (s *Server) groupInterest(subject string) bool {
	groups := s.env.Broker.Groups
	return groups != nil && groups.Interest(subject)
}

// responds tells whether anybody may answer the client's request on a subject;
// with "echo" false that is not the client itself.
func (c *conn) responds(subject string) bool {
	b := &c.s.env.Broker
	interest := b.Live.Interest(subject)
	if interest && !c.opts.Echo {
		interest = b.Live.InterestIn(subject, c.nc.Origin)
	}
	return interest || c.s.groupInterest(subject)
}

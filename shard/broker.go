package shard

import "time"

// Broker is what a gateway is given: every interface of the engine it may use.
type Broker struct {
	Topics  Topics
	Log     Log
	Live    Live
	State   State
	Groups  Groups
	Cluster Cluster
	Users   Users
	ACLs    ACLs
	// Now is the time by which what is stored has expired: a clock that does not
	// jump. nil: the wall clock. Use Time.
	Now func() time.Time
}

// Time is the time by which what is stored has expired.
func (b *Broker) Time() time.Time {
	if b.Now == nil {
		return time.Now()
	}
	return b.Now()
}

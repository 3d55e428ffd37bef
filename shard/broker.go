package shard

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
}

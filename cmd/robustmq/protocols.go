package main

import (
	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/nats"
)

// protocols is THE table: a protocol is a folder and a line here.
func protocols() []gateway.Protocol {
	return []gateway.Protocol{
		nats.Protocol(),
	}
}

package main

import (
	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp"
	"github.com/robustmq/robustmq-go/gateway/kafka"
	"github.com/robustmq/robustmq-go/gateway/mqtt"
	"github.com/robustmq/robustmq-go/gateway/nats"
)

// protocols is THE table: a protocol is a folder and a line here.
func protocols() []gateway.Protocol {
	return []gateway.Protocol{
		mqtt.Protocol(),
		kafka.Protocol(),
		nats.Protocol(),
		amqp.Protocol(),
	}
}

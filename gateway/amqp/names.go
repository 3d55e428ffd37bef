package amqp

import (
	"strings"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
)

var lineEnds = strings.NewReplacer("\r", "", "\n", "")

// oneLine takes line ends out of the names of exchanges and queues, where RabbitMQ
// does. Basic.publish and consume name what is there.
func oneLine(m frame.Method) {
	var names []*string
	switch m := m.(type) {
	case *frame.ExchangeDeclare:
		names = []*string{&m.Exchange}
	case *frame.ExchangeDelete:
		names = []*string{&m.Exchange}
	case *frame.ExchangeBind:
		names = []*string{&m.Source, &m.Destination}
	case *frame.ExchangeUnbind:
		names = []*string{&m.Source, &m.Destination}
	case *frame.QueueDeclare:
		names = []*string{&m.Queue}
	case *frame.QueueBind:
		names = []*string{&m.Queue, &m.Exchange}
	case *frame.QueueUnbind:
		names = []*string{&m.Queue, &m.Exchange}
	case *frame.QueueDelete:
		names = []*string{&m.Queue}
	}
	for _, name := range names {
		if strings.ContainsAny(*name, "\r\n") {
			*name = lineEnds.Replace(*name)
		}
	}
}

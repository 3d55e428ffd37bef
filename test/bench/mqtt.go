package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/robustmq/robustmq-go/test/harness"
)

func mqttPort(p harness.Ports) int { return p.MQTT }

// mqttWindow is how many QoS 1 messages one publisher has outstanding.
const mqttWindow = 20

func mqttRows(b *bench) []row {
	ours, peer := robustmq(mqttPort), mosquitto()
	both := func(name, unit, note, oursDoes, peerDoes string, bar float64, load func(context.Context, *running) (figure, error)) row {
		return row{name: name, unit: unit, note: note, sides: []side{
			{server: ours, durability: oursDoes, load: load}, {server: peer, durability: peerDoes, bar: bar, load: load},
		}}
	}
	idle := both("idle connection, memory", "KiB", "a fresh server; 5,000 clients of MQTT 3.1.1 connected by 32 dialers, without subscriptions; growth of the resident set 1 s after the last, divided by their number.", "none is asked for", "none is asked for", 0, nil)
	idle.less = true
	for i := range idle.sides {
		idle.sides[i].fresh, idle.sides[i].load = true, b.mqttIdle(idle.sides[i].server, 5_000)
	}
	return []row{
		both("QoS 1 publish 128 B, 50 clients", "msg/s", "paho.mqtt.golang, 20 outstanding each, a topic each, nobody subscribed: mosquitto acknowledges and forgets such a message, RobustMQ stores it.", synced, "acknowledged, not stored (no subscriber)", 2, b.mqttPublish(50, 2_000)),
		both("QoS 1 publish 128 B, 50 clients, 1 offline session", "msg/s", "as above with one persistent session, offline, subscribed to all: mosquitto now keeps every message in memory and writes them when it ends or every 30 minutes.", synced, "in memory", 2, b.mqttPublishKept(50, 2_000)),
		both("QoS 0 fan-out 1:100, 64 B, deliveries", "msg/s", "one publisher, 100 subscribers, all in the driver (paho.mqtt.golang), which takes most of the machine: compare CPU, too.", "stored, not awaited", nothing, 1.5, b.mqttFanOut(100, 2_000)),
		idle,
	}
}

// mqttClient connects one client.
func mqttClient(ctx context.Context, r *running, id string, clean bool) (mqtt.Client, error) {
	o := mqtt.NewClientOptions().AddBroker("tcp://" + harness.Addr(r.port)).SetClientID(id).SetCleanSession(clean).
		SetAutoReconnect(false).SetKeepAlive(5 * time.Minute).SetProtocolVersion(4).SetOrderMatters(true)
	if r.user != "" {
		o.SetUsername(r.user).SetPassword(r.pass)
	}
	c := mqtt.NewClient(o)
	if err := await(ctx, c.Connect()); err != nil {
		return nil, fmt.Errorf("connect by mqtt: %w", err)
	}
	return c, nil
}

func await(ctx context.Context, t mqtt.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mqttClients connects n clients.
func mqttClients(ctx context.Context, r *running, prefix string, n int) ([]mqtt.Client, func(), error) {
	cs := make([]mqtt.Client, n)
	errs := make([]error, n)
	slots := make(chan struct{}, 32)
	var all sync.WaitGroup
	for i := range cs {
		slots <- struct{}{}
		all.Go(func() {
			cs[i], errs[i] = mqttClient(ctx, r, prefix+"-"+strconv.Itoa(i), true)
			<-slots
		})
	}
	all.Wait()
	return cs, func() {
		for _, c := range cs {
			if c != nil {
				c.Disconnect(0)
			}
		}
	}, errors.Join(errs...)
}

func (b *bench) mqttPublish(clients, each int) func(context.Context, *running) (figure, error) {
	each = b.n(each)
	return func(ctx context.Context, r *running) (figure, error) {
		return publishMQTT(ctx, r, b.name("pub"), clients, each)
	}
}

func publishMQTT(ctx context.Context, r *running, prefix string, clients, each int) (figure, error) {
	cs, end, err := mqttClients(ctx, r, prefix, clients)
	defer end()
	if err != nil {
		return figure{}, err
	}
	payload := make([]byte, 128)
	errs := make([]error, clients)
	var all sync.WaitGroup
	began := time.Now()
	for i, c := range cs {
		all.Go(func() {
			topic := prefix + "/" + strconv.Itoa(i)
			waiting := make([]mqtt.Token, 0, each)
			for k := range each {
				if k >= mqttWindow {
					if errs[i] = await(ctx, waiting[k-mqttWindow]); errs[i] != nil {
						return
					}
				}
				waiting = append(waiting, c.Publish(topic, 1, false, payload))
			}
			for _, t := range waiting[max(0, each-mqttWindow):] {
				if errs[i] = await(ctx, t); errs[i] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	n := clients * each
	return figure{value: float64(n) / took.Seconds(), messages: n}, errors.Join(errs...)
}

// mqttPublishKept is mqttPublish with an offline session that gets it all.
func (b *bench) mqttPublishKept(clients, each int) func(context.Context, *running) (figure, error) {
	each = b.n(each)
	return func(ctx context.Context, r *running) (figure, error) {
		prefix := b.name("kept")
		c, err := mqttClient(ctx, r, prefix+"-session", false)
		if err != nil {
			return figure{}, err
		}
		err = await(ctx, c.Subscribe(prefix+"/#", 1, nil))
		c.Disconnect(100)
		if err != nil {
			return figure{}, err
		}
		f, err := publishMQTT(ctx, r, prefix, clients, each)
		if err != nil {
			return f, err
		}
		// A clean session of the same name ends the other.
		if c, err = mqttClient(ctx, r, prefix+"-session", true); err != nil {
			return f, err
		}
		c.Disconnect(100)
		return f, nil
	}
}

// mqttFanOut counts deliveries until all came, or none for 3 s: QoS 0 promises nothing.
func (b *bench) mqttFanOut(subs, n int) func(context.Context, *running) (figure, error) {
	n = b.n(n)
	return func(ctx context.Context, r *running) (figure, error) {
		prefix := b.name("fan")
		cs, end, err := mqttClients(ctx, r, prefix, subs)
		defer end()
		if err != nil {
			return figure{}, err
		}
		var got, last atomic.Int64
		whole := make(chan struct{})
		want := int64(n * subs)
		for _, c := range cs {
			t := c.Subscribe(prefix, 0, func(mqtt.Client, mqtt.Message) {
				k := got.Add(1)
				last.Store(time.Now().UnixNano())
				if k == want {
					close(whole)
				}
			})
			if err := await(ctx, t); err != nil {
				return figure{}, err
			}
		}
		pub, err := mqttClient(ctx, r, prefix+"-pub", true)
		if err != nil {
			return figure{}, err
		}
		defer pub.Disconnect(0)
		payload := make([]byte, 64)
		began := time.Now()
		last.Store(began.UnixNano())
		for range n {
			if err := await(ctx, pub.Publish(prefix, 0, false, payload)); err != nil {
				return figure{}, err
			}
		}
		if err := quiet(ctx, whole, &last); err != nil {
			return figure{}, err
		}
		took := time.Unix(0, last.Load()).Sub(began)
		if got.Load() == 0 {
			return figure{}, errors.New("nothing was delivered")
		}
		return figure{value: float64(got.Load()) / took.Seconds(), messages: int(got.Load()),
			extra: map[string]float64{"% delivered": 100 * float64(got.Load()) / float64(want)}}, nil
	}
}

// quiet waits for the end of deliveries.
func quiet(ctx context.Context, whole <-chan struct{}, last *atomic.Int64) error {
	const enough = 3 * time.Second
	for {
		since := time.Since(time.Unix(0, last.Load()))
		if since >= enough {
			return nil
		}
		select {
		case <-whole:
			return nil
		case <-time.After(enough - since):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *bench) mqttIdle(s server, n int) func(context.Context, *running) (figure, error) {
	n = b.n(n)
	return func(ctx context.Context, _ *running) (figure, error) {
		r, err := b.startServer(ctx, s)
		if err != nil {
			return figure{}, err
		}
		defer r.stop()
		before, err := rss(r.proc.Pid())
		if err != nil {
			return figure{}, err
		}
		began := time.Now()
		_, end, err := mqttClients(ctx, r, b.name("idle"), n)
		defer end()
		if err != nil {
			return figure{}, err
		}
		took := time.Since(began)
		time.Sleep(time.Second)
		after, err := rss(r.proc.Pid())
		return figure{value: float64(after-before) / 1024 / float64(n), messages: n,
			extra: map[string]float64{"connects/s": float64(n) / took.Seconds()}}, err
	}
}

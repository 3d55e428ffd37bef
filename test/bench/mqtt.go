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

// Notes that several rows share.
const (
	pahoNote   = "paho.mqtt.golang, 20 outstanding each, a topic each to which one message was published before"
	frugalMQTT = "our own frugal driver, the same for every server: packets encoded once and written as many at a time as may be outstanding, acknowledgements counted in large reads"
	noReader   = "nobody subscribed: mosquitto and mochi acknowledge and forget such a message, RobustMQ stores it"
	kept       = "one persistent session, offline, subscribed to all: mosquitto now keeps every message in memory and writes them when it ends or every 30 minutes; mochi keeps 8,192 for a session and has no line here"
)

// mqttRow is a row of our server and its peers; the last are those that store a message where they can.
func mqttRow(name, unit, note, oursDoes string, peersDo string, bar float64, load func(context.Context, *running) (figure, error), peers ...server) row {
	r := row{name: name, unit: unit, note: note, sides: []side{{server: robustmq(mqttPort), durability: oursDoes, load: load}}}
	for _, p := range peers {
		r.sides = append(r.sides, side{server: p, durability: peersDo, bar: bar, load: load})
	}
	return r
}

func mqttRows(b *bench) []row {
	mosq, mochi := mosquitto(), mochi()
	const forgets, inMemory = "acknowledged, not stored (no subscriber)", "in memory"
	at := func(name string, qos byte, clients, each, window int) row {
		does, peersDo, bar := synced, forgets, 2.0
		if qos == 0 {
			does, peersDo, bar = "stored, not awaited", nothing, 0
		}
		note := fmt.Sprintf("%s; %d outstanding each, a topic each to which one message was published before, %s", frugalMQTT, window, noReader)
		if qos == 0 {
			note += "; the time is until a PINGREQ behind the last message of each client is answered"
		}
		return mqttRow(name, "msg/s", note+".", does, peersDo, bar, b.wirePublish(qos, clients, each, window), mosq, mochi)
	}
	return []row{
		mqttRow("connect rate", "connects/s", "our own frugal driver: connect, CONNACK, DISCONNECT, close, 64 at a time, clean sessions.", "none is asked for", "none is asked for", 0, b.wireConnects(10_000), mosq, mochi),
		mqttRow("QoS 1 publish 128 B, 50 clients, paho", "msg/s", pahoNote+", "+noReader+".", synced, forgets, 2, b.mqttPublish(50, 2_000), mosq, mochi),
		mqttRow("QoS 1 publish 128 B, 1,000 clients, paho", "msg/s", pahoNote+", "+noReader+".", synced, forgets, 2, b.mqttPublish(1_000, 100), mosq, mochi),
		mqttRow("QoS 1 publish 128 B, 50 clients, 1 offline session, paho", "msg/s", pahoNote+", "+kept+".", synced, inMemory, 2, b.mqttPublishKept(50, 2_000), mosq),
		at("QoS 1 publish 128 B, 50 clients, frugal driver", 1, 50, 8_000, mqttWindow),
		at("QoS 1 publish 128 B, 1,000 clients, frugal driver", 1, 1_000, 400, mqttWindow),
		at("QoS 0 publish 128 B, 1,000 clients, frugal driver", 0, 1_000, 800, 100),
		mqttRow("QoS 1 publish 128 B, 50 clients, 1 offline session, frugal driver", "msg/s", frugalMQTT+"; "+kept+".", synced, inMemory, 2, b.wirePublishKept(50, 4_000), mosq),
		mqttRow("QoS 0 fan-out 1:100, 64 B, deliveries, paho", "msg/s", "one publisher, 100 subscribers, all in the driver (paho.mqtt.golang), which takes most of the machine: compare CPU, too.", "stored, not awaited", nothing, 1.5, b.mqttFanOut(100, 2_000), mosq, mochi),
		mqttRow("QoS 0 fan-out 1:1,000, 64 B, deliveries, frugal driver", "msg/s", "one publisher, 1,000 subscribers in our own frugal driver; the publisher is at most 100 messages ahead of what was delivered.", "stored, not awaited", nothing, 1.5, b.wireFanOut(1_000, 2_000), mosq, mochi),
		idleRow(b),
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
	err = atOnce(clients, 64, func(i int) error { // the topics exist
		return await(ctx, cs[i].Publish(prefix+"/"+strconv.Itoa(i), 1, false, payload))
	})
	if err != nil {
		return figure{}, err
	}
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
		end, err := offlineSession(ctx, r, prefix)
		if err != nil {
			return figure{}, err
		}
		f, err := publishMQTT(ctx, r, prefix, clients, each)
		return f, errors.Join(err, end())
	}
}

// offlineSession leaves a session that takes all below prefix, and returns what ends it.
func offlineSession(ctx context.Context, r *running, prefix string) (end func() error, err error) {
	c, err := mqttClient(ctx, r, prefix+"-session", false)
	if err != nil {
		return nil, err
	}
	err = await(ctx, c.Subscribe(prefix+"/#", 1, nil))
	c.Disconnect(100)
	return func() error {
		// A clean session of the same name ends the other.
		c, err := mqttClient(ctx, r, prefix+"-session", true)
		if err == nil {
			c.Disconnect(100)
		}
		return err
	}, err
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

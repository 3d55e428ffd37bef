package mqtt

import (
	"strconv"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// sysTopics is what the server tells of itself below $SYS/broker/.
var sysTopics = []struct {
	name  string
	value func(s *Server) string
}{
	{"version", func(*Server) string { return "RobustMQ" }},
	{"uptime", func(s *Server) string { return strconv.Itoa(int(time.Since(s.started)/time.Second)) + " seconds" }},
	{"clients/connected", func(s *Server) string { return strconv.Itoa(s.connected()) }},
	{"clients/disconnected", func(s *Server) string { return strconv.Itoa(s.disconnected()) }},
	{"clients/total", func(s *Server) string { return strconv.Itoa(s.connected() + s.disconnected()) }},
	{"messages/received", func(s *Server) string { return count(s.env.Stats.MessagesIn.Load()) }},
	{"messages/sent", func(s *Server) string { return count(s.env.Stats.MessagesOut.Load()) }},
	{"bytes/received", func(s *Server) string { return count(s.env.Stats.BytesIn.Load()) }},
	{"bytes/sent", func(s *Server) string { return count(s.env.Stats.BytesOut.Load()) }},
	{"publish/messages/dropped", func(s *Server) string { return count(s.env.Stats.Dropped.Load()) }},
	{"subscriptions/count", func(s *Server) string { return count(s.env.Stats.Subscriptions.Load()) }},
	{"retained messages/count", func(s *Server) string { return strconv.Itoa(s.retained.count()) }},
}

const sysPrefix = "$SYS/broker/"

func count(n int64) string { return strconv.FormatInt(n, 10) }

func (s *Server) connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.clients)
}

func (s *Server) disconnected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.offline)
}

func sysRecord(value string) *shard.Record {
	return &shard.Record{Timestamp: time.Now().UnixMilli(), Value: []byte(value),
		Headers: []shard.Header{{Name: shard.HeaderMQTT, Value: marks[0][1]}}}
}

// sysMatching gives the current values that a filter matches.
func (s *Server) sysMatching(f shard.Filter, fn func(topic string, r *shard.Record)) {
	for _, t := range sysTopics {
		if topic := sysPrefix + t.name; f.Match(topic) {
			fn(topic, sysRecord(t.value(s)))
		}
	}
}

// startSys relays the values to their subscribers again and again, until Drain.
func (s *Server) startSys() {
	if s.cfg.SysInterval <= 0 {
		return
	}
	time.AfterFunc(s.cfg.SysInterval, func() {
		if s.ctx.Err() != nil {
			return
		}
		s.relaySys()
		s.startSys()
	})
}

func (s *Server) relaySys() {
	var ms []shard.Message
	for _, t := range sysTopics {
		subject, _ := shard.SubjectOfMQTT(sysPrefix + t.name)
		if s.broker.Live.Interest(subject) {
			ms = append(ms, shard.Message{Subject: subject, Record: sysRecord(t.value(s))})
		}
	}
	if len(ms) > 0 {
		s.broker.Live.Relay(ms)
	}
}

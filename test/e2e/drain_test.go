package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/test/harness"
)

// TestDrainWithTools stops a broker under native tools that are connected, and starts it again: the
// tools that reconnect by themselves go on, and get what is published then. MQTT.js's tool is not one
// of them: it ends when it is refused once.
func TestDrainWithTools(t *testing.T) {
	b := harness.NewBroker(t, harness.Options{})
	p := b.Ports
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	tools := []struct {
		name string
		open func() (*harness.Client, error)
	}{
		{"mqtt", func() (*harness.Client, error) { return harness.MosquittoSub(p.MQTT, demo, 1, "-V", "311") }},
		{"mqtt session", func() (*harness.Client, error) {
			return harness.MosquittoSub(p.MQTT, demo, 1, "-V", "311", "-c", "-i", "drained")
		}},
		{"kafka", func() (*harness.Client, error) { return harness.KafkaConsole(p.Kafka, demo, "--from-beginning") }},
		{"nats", func() (*harness.Client, error) { return harness.NATSSub(p.NATS, demo) }},
	}
	// Kafka's reader wants the topic to be there.
	must(t, harness.KcatProduce(ctx, p.Kafka, demo, []string{"first"}))
	clients := map[string]*harness.Client{}
	for _, tool := range tools {
		c, err := tool.open()
		must(t, err)
		defer c.Kill()
		must(t, c.Ready(ctx))
		clients[tool.name] = c
	}
	must(t, harness.MQTTPub(ctx, p.MQTT, demo, 1, "before"))
	want := func(text string, names ...string) {
		t.Helper()
		for _, name := range names {
			eventually(t, name+" gets "+text, time.Minute, func() bool { return slices.Contains(texts(clients[name]), text) })
		}
	}
	want("before", "mqtt", "mqtt session", "kafka", "nats")
	began := time.Now()
	must(t, b.Stop())
	stopped := time.Since(began)
	time.Sleep(2 * time.Second) // down for longer than the tools rest before they try again
	must(t, b.Start(ctx))
	// Live readers get what is published once they are back: publish until they are.
	began = time.Now()
	n := 0
	for missing := []string{"mqtt", "nats"}; len(missing) > 0 && time.Since(began) < time.Minute; time.Sleep(100 * time.Millisecond) {
		must(t, harness.KcatProduce(ctx, p.Kafka, demo, []string{fmt.Sprintf("after %d", n)}))
		n++
		missing = slices.DeleteFunc(missing, func(name string) bool {
			all := texts(clients[name])
			return len(all) > 0 && all[len(all)-1] != "before"
		})
	}
	last := fmt.Sprintf("after %d", n)
	must(t, harness.KcatProduce(ctx, p.Kafka, demo, []string{last}))
	want(last, "mqtt", "mqtt session", "kafka", "nats")
	t.Logf("stopped within %v of SIGTERM, ready again %v after its start, every tool there again %v later",
		stopped.Round(time.Millisecond), b.StartupTime().Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	// What outlives a connection lost and repeated nothing.
	all := []string{"before"}
	for i := range n + 1 {
		all = append(all, fmt.Sprintf("after %d", i))
	}
	if got := texts(clients["mqtt session"]); !slices.Equal(got, all) {
		t.Errorf("mqtt session: got %q, want %q", got, all)
	}
	if got := texts(clients["kafka"]); !slices.Equal(got, append([]string{"first"}, all...)) {
		t.Errorf("kafka: got %q, want first and %q", got, all)
	}
}

func texts(c *harness.Client) (out []string) {
	for _, m := range c.Messages() {
		out = append(out, m.Text)
	}
	return out
}

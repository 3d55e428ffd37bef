package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/robustmq-go/gateway/admin"
)

// TestGroupVerbs: a Kafka group is reset, moved and deleted from the command line.
func TestGroupVerbs(t *testing.T) {
	kafka := freePort(t)
	b := startBroker(t, t.TempDir(), "--kafka.listen", kafka)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(kafka), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("t"), kgo.ConsumeTopics("t"), kgo.ConsumerGroup("g"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := cl.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for n := 0; n < 5 && ctx.Err() == nil; {
		n += cl.PollFetches(ctx).NumRecords()
	}
	if err := cl.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	const name = "kafka/group/g"
	if code, _, errs := b.cli("group", "reset", name, "--to", "earliest"); code != 1 || !strings.Contains(errs, "members") {
		t.Errorf("with a member: %d, %s", code, errs)
	}
	cl.Close()
	at := func(want string, args ...string) {
		t.Helper()
		b.mustCLI(append([]string{"group"}, args...)...)
		out := b.mustCLI("group", "get", name)
		for _, line := range strings.Split(out, "\n") {
			if f := strings.Fields(line); len(f) == 5 && f[0] == "t" {
				if f[2] != want {
					t.Errorf("%v: committed %s, want %s", args, f[2], want)
				}
				return
			}
		}
		t.Errorf("%v: no offset in %s", args, out)
	}
	at("0", "reset", name, "--to", "earliest")
	at("3", "seek", name, "--topic", "t", "--offset", "3")
	at("5", "reset", name, "--to", "latest")
	at("0", "reset", name, "--to", "7d", "--topic", "t")
	for _, args := range [][]string{{"reset", name, "--to", "604800000"}, {"reset", name, "--to", "sometime"}, {"reset", name}, {"seek", name, "--topic", "t", "--offset", "6"},
		{"seek", name, "--topic", "none", "--offset", "0"}, {"delete", "kafka/group/none"}, {"delete", "none"}} {
		if code, _, errs := b.cli(append([]string{"group"}, args...)...); code != 1 || errs == "" {
			t.Errorf("%v: exit code %d, %s", args, code, errs)
		}
	}
	b.mustCLI("group", "delete", name)
	if out := b.mustCLI("group", "list"); strings.Contains(out, name) {
		t.Errorf("still there: %s", out)
	}
	for _, args := range [][]string{{"session", "show", "none"}, {"session", "delete", "none"}} {
		if code, _, errs := b.cli(args...); code != 1 || !strings.Contains(errs, "no session") && !strings.Contains(errs, "sessions") {
			t.Errorf("%v: exit code %d, %s", args, code, errs)
		}
	}
	b.mustCLI("cluster", "trust-clock")
}

func TestParsePlace(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]admin.GroupMove{
		"earliest": {To: "earliest"}, "latest": {To: "latest"}, "2h": {To: "time", Time: now.Add(-2 * time.Hour)},
		"7d": {To: "time", Time: now.Add(-7 * 24 * time.Hour)}, "2026-11-01T00:00:00Z": {To: "time", Time: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)},
	} {
		var m admin.GroupMove
		if err := parsePlace(&m, in, now); err != nil || m != want {
			t.Errorf("%s: %+v, %v", in, m, err)
		}
	}
	for _, in := range []string{"", "0", "-2h", "120", "yesterday"} {
		if err := parsePlace(new(admin.GroupMove), in, now); err == nil {
			t.Errorf("%q was taken", in)
		}
	}
}

package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// kafkaWireFetch is Fetch before topics had ids: it takes a name.
	kafkaWireFetch = 11
	// kafkaWirePart bounds what one answer holds of the partition.
	kafkaWirePart = 8 << 20
	// kafkaWireMax bounds an answer: a batch that is larger than kafkaWirePart comes whole.
	kafkaWireMax = kafkaWirePart + 4<<20
)

// Places in a record batch of Kafka, version 2.
const (
	kafkaBatchLen   = 8
	kafkaBatchHead  = 12 // of offset and length, which the length does not count
	kafkaBatchLast  = 23
	kafkaBatchCount = 57
	kafkaBatchMin   = 61
)

// kafkaWire is one connection of the frugal reader: it asks for one answer after the other, receives it into
// memory that it keeps, and takes offsets and counts from the heads of the batches; records are not
// decoded. It costs little, so that a row shows the server and not the client. Not safe for concurrent use.
type kafkaWire struct {
	net.Conn
	in    *bufio.Reader
	buf   []byte
	calls int32
}

func dialKafkaWire(ctx context.Context, r *running) (*kafkaWire, error) {
	w, err := dialWire(ctx, r, nil, 0)
	if err != nil {
		return nil, err
	}
	return &kafkaWire{Conn: w.Conn, in: bufio.NewReaderSize(w.Conn, 4<<10)}, nil
}

// fetch returns what the first partition of a topic has from offset on, as batches one after the other; it is
// good until the next call.
func (k *kafkaWire) fetch(topic string, offset int64) ([]byte, error) {
	req := kmsg.NewFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = kafkaWireFetch, 1000, 1, kafkaWireMax
	part := kmsg.NewFetchRequestTopicPartition()
	part.FetchOffset, part.PartitionMaxBytes = offset, kafkaWirePart
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.Partitions = topic, []kmsg.FetchRequestTopicPartition{part}
	req.Topics = []kmsg.FetchRequestTopic{t}
	k.calls++
	if _, err := k.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, &req, k.calls)); err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	var head [8]byte // length and the number of the call
	if _, err := io.ReadFull(k.in, head[:]); err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	size := int(binary.BigEndian.Uint32(head[:])) - 4
	if size < 0 || size > kafkaWireMax+4<<10 || int32(binary.BigEndian.Uint32(head[4:])) != k.calls {
		return nil, fmt.Errorf("fetch: answer of %d bytes to call %d", size, binary.BigEndian.Uint32(head[4:]))
	}
	if cap(k.buf) < size {
		k.buf = make([]byte, size)
	}
	if _, err := io.ReadFull(k.in, k.buf[:size]); err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = kafkaWireFetch
	if err := resp.ReadFrom(k.buf[:size]); err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	if resp.ErrorCode != 0 || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, fmt.Errorf("fetch: code %d, %d topics", resp.ErrorCode, len(resp.Topics))
	}
	p := &resp.Topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		return nil, fmt.Errorf("fetch: code %d", p.ErrorCode)
	}
	return p.RecordBatches, nil
}

// kafkaWireReceive reads n messages of size bytes from the start of a topic's one partition, and returns the
// bytes of their values.
func kafkaWireReceive(ctx context.Context, r *running, topic string, size, n int) (int64, error) {
	k, err := dialKafkaWire(ctx, r)
	if err != nil {
		return 0, err
	}
	defer k.Close()
	got, next := 0, int64(0)
	for got < n {
		batches, err := k.fetch(topic, next)
		if err != nil {
			return 0, fmt.Errorf("after %d of %d messages: %w", got, n, err)
		}
		for len(batches) >= kafkaBatchMin {
			whole := kafkaBatchHead + int(binary.BigEndian.Uint32(batches[kafkaBatchLen:]))
			if whole > len(batches) {
				break // cut off at the limit, as Kafka does
			}
			base := int64(binary.BigEndian.Uint64(batches))
			if base > next {
				return 0, fmt.Errorf("after %d of %d messages: offset %d where %d was due", got, n, base, next)
			}
			got += int(binary.BigEndian.Uint32(batches[kafkaBatchCount:]))
			next = base + int64(binary.BigEndian.Uint32(batches[kafkaBatchLast:])) + 1
			batches = batches[whole:]
		}
	}
	return int64(got) * int64(size), nil
}

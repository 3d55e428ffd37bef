package kafka

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// reservedBytes is what the name of a header of RobustMQ's own begins with.
var reservedBytes = []byte(shard.ReservedPrefix)

// refusal says why a batch is not taken: a code and a text for the client, and
// which records are to blame where it is not the batch (KIP-467).
type refusal struct {
	code    int16
	text    string
	records []int32 // deltas of those records, no more than maxRefused
	why     string  // of each of them
}

// maxRefused bounds the records that one refusal names.
const maxRefused = 1000

const keylessRecord = "a compacted topic takes no record without a key"

// keyless refuses a batch for the records of it that have no key.
func keyless(records []int32, n int) *refusal {
	text := fmt.Sprintf("%s: %d of the batch have none, the first of them at index %d", keylessRecord, n, records[0])
	return &refusal{codeInvalidRecord, text, records, keylessRecord}
}

// tell puts the refusal into the answer for a partition.
func (r *refusal) tell(slot *kmsg.ProduceResponseTopicPartition) {
	slot.ErrorCode, slot.ErrorMessage = r.code, &r.text
	for _, delta := range r.records {
		slot.ErrorRecords = append(slot.ErrorRecords, kmsg.ProduceResponseTopicPartitionErrorRecord{RelativeOffset: delta, ErrorMessage: &r.why})
	}
}

// refused are the records of a batch that are to blame.
type refused struct {
	deltas []int32
	n      int
}

func (f *refused) add(delta int) {
	if f.n++; f.n <= maxRefused {
		f.deltas = append(f.deltas, int32(delta))
	}
}

func invalidRecord(text string) *refusal { return refuse(codeInvalidRecord, text) }

func refuse(code int16, text string) *refusal { return &refusal{code: code, text: text} }

// inflating bounds how many batches are decompressed at a time, and so the
// memory that decompression bombs can take.
var inflating = make(chan struct{}, max(2, runtime.GOMAXPROCS(0)))

// checkBatch takes a partition's records from a produce request. What it
// returns shares raw.
func (c *conn) checkBatch(raw []byte, t *shard.Topic, version int16) (*shard.Batch, *refusal) {
	if limit := c.srv.maxMessageBytes(t); len(raw) > limit {
		return nil, refuse(codeMessageTooLarge, "the batch is larger than the topic's max.message.bytes")
	}
	if len(raw) < shard.BatchHeaderBytes {
		return nil, invalidRecord("produce requests carry exactly one record batch per partition")
	}
	n, err := shard.BatchLen(raw)
	switch {
	case raw[16] != 2:
		return nil, invalidRecord("produce requests carry record batches of format 2")
	case err == nil && n < len(raw):
		return nil, invalidRecord("produce requests carry exactly one record batch per partition")
	}
	b, err := shard.ParseBatch(raw)
	switch {
	case shard.KindOf(err) == shard.KindCorrupt:
		return nil, refuse(codeCorruptMessage, "the record batch is corrupt")
	case err != nil:
		return nil, refuse(errorCode(err), err.Error())
	}
	if r := checkAttributes(b, version); r != nil {
		return nil, r
	}
	if b.Count() > c.srv.sizes(t).held/recordBytes {
		return nil, refuse(codeMessageTooLarge, "the batch has too many records")
	}
	return c.checkRecordsOf(b, t)
}

func checkAttributes(b *shard.Batch, version int16) *refusal {
	codec := b.Codec()
	switch {
	case b.Control():
		return invalidRecord("clients do not write control batches")
	case b.Transactional():
		return refuse(codeInvalidTxnState, "transactions are not supported")
	case b.AppendTime():
		return refuse(codeInvalidTimestamp, "clients do not stamp with log append time")
	case codec > shard.CodecZstd, codec == shard.CodecZstd && version < 7:
		return refuse(codeUnsupportedCompressionType, "the compression type is not supported")
	case malformedSequence(b):
		return invalidRecord("a batch with a producer id has an epoch and a sequence of at least 0")
	case b.Count() <= 0 || b.LastOffsetDelta() != b.Count()-1:
		return invalidRecord("the record count does not match the offsets")
	}
	return nil
}

// malformedSequence tells whether a producer's id comes without what belongs to it.
func malformedSequence(b *shard.Batch) bool {
	id, epoch, seq := b.Producer()
	return id >= 0 && (epoch < 0 || seq < 0)
}

// checkRecordsOf gives the batch to append: b, or what recode makes of it.
func (c *conn) checkRecordsOf(b *shard.Batch, t *shard.Topic) (*shard.Batch, *refusal) {
	body := b.Raw()[shard.BatchHeaderBytes:]
	codec := storedCodec(t, b.Codec())
	if b.Codec() != shard.CodecNone || codec != shard.CodecNone {
		inflating <- struct{}{}
		defer func() { <-inflating }()
	}
	if b.Codec() != shard.CodecNone {
		if codec == b.Codec() && c.srv.broker.Live.Interest(t.Name) {
			return b, c.checkDecoded(b, t, c.srv.sizes(t)) // subscribers share what is decoded here
		}
		var err error
		if body, err = shard.Decompress(b.Codec(), body, c.srv.sizes(t).inflated); err != nil {
			return nil, inflateRefusal(err)
		}
	}
	r := checkRecords(body, b.Count(), t.Config.Compact, c.srv.sizes(t), c.addresses(t))
	if r != nil || codec == b.Codec() {
		return b, r
	}
	return c.recode(b, t, codec, body)
}

// recode compresses a batch as the topic's compression.type wants it. As in
// Kafka, max.message.bytes holds for the outcome, too.
func (c *conn) recode(b *shard.Batch, t *shard.Topic, codec shard.Codec, records []byte) (*shard.Batch, *refusal) {
	out, err := b.Recode(codec, records)
	switch {
	case shard.KindOf(err) == shard.KindTooLarge, err == nil && out.Size() > c.srv.maxMessageBytes(t):
		return nil, refuse(codeMessageTooLarge, "the batch is larger than the topic's max.message.bytes with the topic's compression.type")
	case err != nil:
		return nil, refuse(errorCode(err), err.Error())
	}
	return out, nil
}

func inflateRefusal(err error) *refusal {
	if shard.KindOf(err) == shard.KindTooLarge {
		return refuse(codeMessageTooLarge, "the batch decompresses to more than is allowed")
	}
	return refuse(codeCorruptMessage, "the record batch is corrupt")
}

func (c *conn) checkDecoded(b *shard.Batch, t *shard.Topic, most sizes) *refusal {
	recs, err := b.RecordsWithin(most.inflated)
	if err != nil {
		return inflateRefusal(err)
	}
	var without refused
	mayAddress := c.addresses(t)
	held := 0
	for i := range recs {
		r := &recs[i]
		size := r.Size()
		if held += size + recordBytes + headerBytes*len(r.Headers); size > most.record || held > most.held {
			return tooLarge(size > most.record)
		}
		if t.Config.Compact && r.Key == nil {
			without.add(i)
		}
		for j := range r.Headers {
			h := &r.Headers[j]
			switch {
			case h.Name == shard.HeaderSubject:
				if no := mayAddress(h.Value); no != nil {
					return no
				}
			case shard.Reserved(h.Name):
				return invalidRecord(reservedHeader)
			}
		}
	}
	if without.n > 0 {
		return keyless(without.deltas, without.n)
	}
	return nil
}

// checkRecords walks uncompressed records without decoding them. mayAddress is asked
// for each subject that a record names.
func checkRecords(body []byte, count int, needKey bool, most sizes, mayAddress func([]byte) *refusal) *refusal {
	w := walker{b: body}
	var without refused
	for i := range count {
		before := len(w.b)
		if !w.record(i) {
			return w.why()
		}
		if w.addressed {
			if no := mayAddress(w.subject); no != nil {
				return no
			}
		}
		if before-len(w.b) > most.record || len(body)+i*recordBytes+w.headers*headerBytes > most.held {
			return tooLarge(before-len(w.b) > most.record)
		}
		if needKey && w.noKey {
			without.add(i)
		}
	}
	switch {
	case len(w.b) != 0:
		return invalidRecord("bytes follow the last record")
	case without.n > 0:
		return keyless(without.deltas, without.n)
	}
	return nil
}

// walker steps over records.
type walker struct {
	b        []byte
	noKey    bool
	reserved bool
	headers  int // of all records so far

	addressed bool // the record names a subject
	subject   []byte
}

func (w *walker) why() *refusal {
	if w.reserved {
		return invalidRecord(reservedHeader)
	}
	return invalidRecord("a record is malformed")
}

func (w *walker) varint() (int64, bool) {
	if len(w.b) > 0 && w.b[0] < 0x80 {
		v := w.b[0]
		w.b = w.b[1:]
		return int64(v>>1) ^ -int64(v&1), true
	}
	v, n := binary.Varint(w.b)
	if n <= 0 {
		return 0, false
	}
	w.b = w.b[n:]
	return v, true
}

// bytes steps over a length and that many bytes; null is allowed where nullable.
func (w *walker) bytes(nullable bool) (v []byte, null, ok bool) {
	n, ok := w.varint()
	if !ok || n > int64(len(w.b)) || n < 0 && (n != -1 || !nullable) {
		return nil, false, false
	}
	if n < 0 {
		return nil, true, true
	}
	v, w.b = w.b[:n], w.b[n:]
	return v, false, true
}

// record steps over the record with the offset delta i.
func (w *walker) record(i int) bool {
	w.noKey, w.addressed, w.subject = false, false, nil
	n, ok := w.varint()
	if !ok || n < 1 || n > int64(len(w.b)) {
		return false
	}
	in := walker{b: w.b[1:n]} // past the attributes
	w.b = w.b[n:]
	if _, ok = in.varint(); !ok { // timestamp
		return false
	}
	if d, ok := in.varint(); !ok || d != int64(i) {
		return false
	}
	_, null, ok := in.bytes(true)
	if !ok {
		return false
	}
	w.noKey = null
	if _, _, ok = in.bytes(true); !ok {
		return false
	}
	h, ok := in.varint()
	if !ok || h < 0 || h > int64(len(in.b)/2) {
		return false
	}
	for range h {
		name, _, ok := in.bytes(false)
		if !ok {
			return false
		}
		value, _, ok := in.bytes(true)
		if !ok {
			return false
		}
		if bytes.HasPrefix(name, reservedBytes) {
			if string(name) != shard.HeaderSubject {
				w.reserved = true
				return false
			}
			w.addressed, w.subject = true, value
		}
	}
	w.headers += int(h)
	return len(in.b) == 0
}

// sizes bound what is in a batch, whose own bound counts what was sent, as Kafka's
// does: compressed. What is in it reaches consumers of every protocol, and is
// decompressed here for them.
type sizes struct {
	record   int // one record: the topic's bound, which it has without compression
	inflated int // all records, decompressed
	held     int // all records, as they lie in memory
}

const (
	// maxInflated is what a batch may decompress to, where the topic's own bound
	// is not larger.
	maxInflated = 32 << 20
	// recordBytes and headerBytes is about what a decoded record and header take
	// besides their content.
	recordBytes = 96
	headerBytes = 40
)

func (s *Server) sizes(t *shard.Topic) sizes {
	limit := s.maxMessageBytes(t)
	inflated := max(maxInflated, limit)
	return sizes{record: limit, inflated: inflated, held: 2 * inflated}
}

func tooLarge(record bool) *refusal {
	if record {
		return refuse(codeMessageTooLarge, "a record is larger, decompressed, than the topic's max.message.bytes")
	}
	return refuse(codeMessageTooLarge, "the batch has too many records or headers")
}

// maxMessageBytes is the bound of a topic's batches.
func (s *Server) maxMessageBytes(t *shard.Topic) int {
	if n := t.Config.MaxMessageBytes; n > 0 {
		return int(n)
	}
	return s.env.Limits.MaxMessageBytes
}

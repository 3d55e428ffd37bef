"""confluent-kafka (librdkafka): an idempotent producer, a group, four compressions, refusals, a killed broker.
Usage: confluent.py PORT. The broker does not create topics by itself."""
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

SERVER = {"bootstrap.servers": f"127.0.0.1:{sys.argv[1]}"}
IDEMPOTENT = SERVER | {"enable.idempotence": True, "linger.ms": 5, "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 500}
ADMIN = AdminClient(SERVER)


def sasl(password):
    return SERVER | {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "admin", "sasl.password": password}


def create(*topics):
    for future in ADMIN.create_topics(list(topics)).values():
        future.result(10)


def deliver(producer, topic, messages):
    """Produces and waits; the errors of the deliveries that failed."""
    errors, delivered = [], []

    def done(err, msg):
        (errors if err else delivered).append(err or msg)

    for key, value, headers in messages:
        producer.produce(topic, key=key, value=value, headers=headers, on_delivery=done)
    left = producer.flush(15)
    assert left == 0, f"{left} not delivered"
    assert len(errors) + len(delivered) == len(messages)
    return errors


def consume(group, topics, want, extra=None, within=10):
    """What a group gets until want distinct values came or the time is over; commits."""
    consumer = Consumer(SERVER | {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False} | (extra or {}))
    consumer.subscribe(topics)
    got, end = [], time.monotonic() + within
    while len({m.value() for m in got}) < want and time.monotonic() < end:
        for m in consumer.consume(500, 0.1):
            assert m.error() is None, m.error()
            got.append(m)
    if got:
        consumer.commit(asynchronous=False)
    consumer.close()
    return got


def compressions():
    topics = {"py." + codec: codec for codec in ("none", "gzip", "snappy", "lz4", "zstd")}
    create(*(NewTopic(topic, 1, 1) for topic in topics))
    sent = {topic: [(b"k%d" % i, b"%s %d " % (codec.encode(), i) + b"abc" * 300, [("h", b"1"), ("h", b"2"), ("null", None)]) for i in range(50)]
            for topic, codec in topics.items()}
    for topic, codec in topics.items():
        assert deliver(Producer(IDEMPOTENT | {"compression.type": codec}), topic, sent[topic]) == []
    got = consume("py-compressions", list(topics), sum(map(len, sent.values())))
    for topic in topics:
        mine = [m for m in got if m.topic() == topic]
        assert [(m.key(), m.value(), m.headers()) for m in mine] == sent[topic], (topic, len(mine))
        assert [m.offset() for m in mine] == list(range(len(mine))), topic


def commit(member, message):
    """Commits; once more where the group was rebalanced between the fetch and the commit, as an application has to."""
    end = time.monotonic() + 15
    while True:
        try:
            return member.commit(message, asynchronous=False)
        except KafkaException as e:
            if e.args[0].code() not in (KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS) or time.monotonic() > end:
                raise
            time.sleep(0.1)


def group():
    """Two members of one group share four partitions, each message comes once; a new member starts behind what is committed."""
    create(NewTopic("py.group", 4, 1))
    assert deliver(Producer(IDEMPOTENT), "py.group", [(b"%d" % i, b"%d" % i, None) for i in range(200)]) == []
    members = [Consumer(SERVER | {"group.id": "py-shared", "auto.offset.reset": "earliest", "enable.auto.commit": False,
                                  "partition.assignment.strategy": "cooperative-sticky", "heartbeat.interval.ms": 200}) for _ in range(2)]
    for member in members:
        member.subscribe(["py.group"])
    got, end = [], time.monotonic() + 40
    while time.monotonic() < end and not (len(got) >= 200 and all(len(m.assignment()) == 2 for m in members)):
        for member in members:
            for m in member.consume(100, 0.05):
                assert m.error() is None, m.error()
                got.append(m.value())
                commit(member, m)
    assert [len(m.assignment()) for m in members] == [2, 2]
    assert sorted(got) == sorted(b"%d" % i for i in range(200)), len(got)
    for member in members:
        member.close()
    assert deliver(Producer(IDEMPOTENT), "py.group", [(b"x", b"more", None)]) == []
    assert [m.value() for m in consume("py-shared", ["py.group"], 1)] == [b"more"]


def by_hand():
    """Partitions assigned by hand with a group.instance.id in the configuration: commits are taken, and found again."""
    create(NewTopic("py.hand", 1, 1))
    assert deliver(Producer(IDEMPOTENT), "py.hand", [(None, b"%d" % i, None) for i in range(3)]) == []
    consumer = Consumer(SERVER | {"group.id": "py-hand", "group.instance.id": "one", "enable.auto.commit": False})
    consumer.assign([TopicPartition("py.hand", 0, 0)])
    m = consumer.poll(10)
    assert m is not None and m.error() is None and m.value() == b"0", m and m.error()
    consumer.commit(m, asynchronous=False)
    assert [p.offset for p in consumer.committed([TopicPartition("py.hand", 0)], 10)] == [1]
    consumer.close()


def refusals():
    assert "py.group" in AdminClient(sasl("robustmq")).list_topics(timeout=10).topics
    seen = []
    wrong = Producer(sasl("wrong") | {"error_cb": seen.append, "message.timeout.ms": 3000})
    end = time.monotonic() + 5
    while not seen and time.monotonic() < end:
        wrong.poll(0.1)
    assert seen and seen[0].code() == KafkaError._AUTHENTICATION, seen

    create(NewTopic("py.small", 1, 1, config={"max.message.bytes": "10000"}))
    errors = deliver(Producer(IDEMPOTENT), "py.small", [(None, b"x" * 20000, None)])
    assert [e.code() for e in errors] == [KafkaError.MSG_SIZE_TOO_LARGE], errors
    try:
        Producer(SERVER).produce("py.small", b"x" * 2_000_000)
        raise AssertionError("the library's own bound is not there")
    except KafkaException as e:
        assert e.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE, e

    unknown = Producer(SERVER | {"message.timeout.ms": 3000, "topic.metadata.propagation.max.ms": 200})
    errors = deliver(unknown, "py.unknown", [(None, b"x", None)])
    assert [e.code() for e in errors] == [KafkaError.UNKNOWN_TOPIC_OR_PART], errors
    consumer = Consumer(SERVER | {"group.id": "py-unknown", "topic.metadata.propagation.max.ms": 200})
    consumer.subscribe(["py.unknown"])
    m = consumer.poll(5)
    assert m is not None and m.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART, m and m.error()
    consumer.close()
    assert "py.unknown" not in ADMIN.list_topics(timeout=10).topics


def killed():
    """Idempotence over a broker that is killed: everything acknowledged is there, once and in order."""
    create(NewTopic("py.ledger", 1, 1))
    producer, acknowledged, errors = Producer(IDEMPOTENT), [], []
    back = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), back.set()), daemon=True).start()

    def done(err, msg):
        if err:
            errors.append(err)
        else:
            acknowledged.append(msg.value())

    sent, after, told = 0, 0, False
    while after < 50:
        producer.produce("py.ledger", b"%d" % sent, on_delivery=done)
        sent += 1
        after += back.is_set()
        producer.poll(0.005)
        if len(acknowledged) >= 20 and not told:
            told = True
            print("kill", flush=True)
    assert producer.flush(20) == 0
    assert not errors, errors[0]
    got = [m.value() for m in consume("py-ledger", ["py.ledger"], sent)]
    assert got == [b"%d" % i for i in range(sent)], (sent, len(got), len(set(got)))


for step in (compressions, group, by_hand, refusals, killed):
    started = time.monotonic()
    step()
    print(step.__name__, f"{time.monotonic() - started:.1f} s", flush=True)
print("ok", flush=True)

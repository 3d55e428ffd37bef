"""What each Python library tells its user when the broker refuses: a line of JSON a case.
Usage: refused.py MQTT KAFKA NATS AMQP (ports). refused_test.go says what exists and what is closed to the user."""
import asyncio
import json
import queue
import os
import sys
import time

import nats
import paho.mqtt.client as mqtt
import pika
from confluent_kafka import Consumer, KafkaException, Producer

MQTT, KAFKA, NATS, AMQP = map(int, sys.argv[1:5])
USER, PASSWORD, WRONG = "limited", "limited-secret", "wrong"
WAIT = 10
LARGE = os.urandom(300_000)  # over the broker's limit


def tell(client, case, words, started):
    print(json.dumps({"client": client, "case": case, "words": str(words), "ms": int((time.monotonic() - started) * 1000)}), flush=True)


def paho(name, version):
    def client(password):
        c, events = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=version), queue.Queue()
        c.username_pw_set(USER, password)
        c.on_connect = lambda c, u, flags, reason, props: events.put(reason)
        c.on_publish = lambda c, u, mid, reason, props: events.put(reason)
        c.on_subscribe = lambda c, u, mid, reasons, props: events.put(reasons[0])
        c.on_disconnect = lambda c, u, flags, reason, props: events.put(reason)
        c.connect("127.0.0.1", MQTT)
        c.loop_start()
        return c, events

    started = time.monotonic()
    c, events = client(WRONG)
    tell(name, "wrong password", events.get(timeout=WAIT), started)
    c.loop_stop()
    for case, act in (("publish", lambda: c.publish("closed/x", b"x", 1)), ("too large", lambda: c.publish("open/x", LARGE, 1)),
                      ("subscribe", lambda: c.subscribe("closed/#", 1))):
        c, events = client(PASSWORD)
        assert not events.get(timeout=WAIT).is_failure
        started = time.monotonic()
        act()
        tell(name, case, events.get(timeout=WAIT), started)
        c.disconnect()
        c.loop_stop()


def confluent():
    name = "confluent-kafka"

    def config(password):
        return {"bootstrap.servers": f"127.0.0.1:{KAFKA}", "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN",
                "sasl.username": USER, "sasl.password": password, "topic.metadata.propagation.max.ms": 200}

    def produce(topic, value=b"x"):
        producer, told = Producer(config(PASSWORD) | {"message.timeout.ms": 8000}), []
        producer.produce(topic, value, on_delivery=lambda e, m: told.append(e))
        producer.flush(WAIT)
        return told[0].str()

    started, told = time.monotonic(), []
    wrong = Producer(config(WRONG) | {"error_cb": told.append})
    while not told and time.monotonic() < started + WAIT:
        wrong.poll(0.05)
    tell(name, "wrong password", told[0].str(), started)
    for case, topic in (("publish", "closed.topic"), ("unknown", "unknown.topic")):
        started = time.monotonic()
        tell(name, case, produce(topic), started)
    started = time.monotonic()
    tell(name, "too large", produce("open.topic", LARGE), started)
    for case, topic in (("subscribe", "closed.topic"), ("read unknown", "unknown.topic")):
        started = time.monotonic()
        consumer = Consumer(config(PASSWORD) | {"group.id": "refused-py"})
        consumer.subscribe([topic])
        m = consumer.poll(WAIT)
        tell(name, case, m.error().str() if m else "nothing", started)
        consumer.close()


async def nats_py():
    name = "nats-py"

    async def client(password):
        told = asyncio.Queue()
        async def on_error(e):
            await told.put(e)
        return await nats.connect(f"nats://127.0.0.1:{NATS}", user=USER, password=password, error_cb=on_error,
                                  allow_reconnect=False, max_reconnect_attempts=0), told

    started = time.monotonic()
    try:
        await client(WRONG)
        tell(name, "wrong password", "let in", started)
    except Exception as e:  # noqa: BLE001 - whatever the user sees
        tell(name, "wrong password", e, started)
    nc, told = await client(PASSWORD)
    started = time.monotonic()
    await nc.publish("closed.x", b"x")
    tell(name, "publish", await asyncio.wait_for(told.get(), WAIT), started)
    started = time.monotonic()
    await nc.subscribe("closed.>")
    tell(name, "subscribe", await asyncio.wait_for(told.get(), WAIT), started)
    started = time.monotonic()
    try:
        await nc.publish("open.x", LARGE)
        tell(name, "too large", "taken", started)
    except Exception as e:  # noqa: BLE001
        tell(name, "too large", e, started)
    started = time.monotonic()
    try:
        await nc.request("unknown.service", b"", timeout=WAIT)
    except Exception as e:  # noqa: BLE001
        tell(name, "unknown", e, started)
    await nc.close()


def with_pika():
    name = "pika"

    def connection(password):
        return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", AMQP, credentials=pika.PlainCredentials(USER, password)))

    def attempt(case, act):
        started = time.monotonic()
        try:
            act()
            tell(name, case, "taken", started)
        except Exception as e:  # noqa: BLE001
            tell(name, case, e or repr(e), started)

    def publish(exchange, key, body=b"x"):
        channel = conn.channel()
        channel.confirm_delivery()
        channel.basic_publish(exchange, key, body, mandatory=True)

    attempt("wrong password", lambda: connection(WRONG))
    conn = connection(PASSWORD)
    attempt("publish", lambda: publish("", "closed.queue"))
    attempt("subscribe", lambda: conn.channel().basic_consume("closed.queue", lambda *a: None))
    attempt("too large", lambda: publish("", "open.queue", LARGE))
    attempt("unknown", lambda: publish("unknown.exchange", "x"))
    attempt("unknown queue", lambda: publish("", "unknown.queue"))
    attempt("read unknown", lambda: conn.channel().queue_declare("unknown.queue", passive=True))
    conn.close()


paho("paho-mqtt 3.1.1", mqtt.MQTTv311)
paho("paho-mqtt 5", mqtt.MQTTv5)
confluent()
asyncio.run(nats_py())
with_pika()

"""paho-mqtt, 3.1.1 and 5: every QoS, retained, a will, refusals, sessions that outlive a killed broker.
Usage: paho_client.py PORT"""
import queue
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PORT = int(sys.argv[1])
WAIT = 10
VERSIONS = {"v311": mqtt.MQTTv311, "v5": mqtt.MQTTv5}


class Client:
    """A client with its loop in a thread, whose events are queues."""

    def __init__(self, name, version, session=False, password="robustmq", will=None):
        self.version, self.session = version, session
        clean = {} if version == mqtt.MQTTv5 else {"clean_session": not session}
        self.c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=version, **clean)
        self.c.username_pw_set("admin", password)
        self.c.reconnect_delay_set(1, 1)
        if will:
            self.c.will_set(*will)
        self.connected, self.subscribed, self.messages, self.gone = (queue.Queue() for _ in range(4))
        self.acknowledged = set()  # packet identifiers: while away, the library's own waiting fails for what it has queued
        self.c.on_publish = lambda c, u, mid, reason, props: self.acknowledged.add(mid)
        self.c.on_connect = lambda c, u, flags, reason, props: self.connected.put((reason, flags.session_present))
        self.c.on_subscribe = lambda c, u, mid, reasons, props: self.subscribed.put(reasons)
        self.c.on_message = lambda c, u, m: self.messages.put(m)
        self.c.on_disconnect = lambda c, u, flags, reason, props: self.gone.put(reason)

    def connect(self, **want):
        kw = {}
        if self.version == mqtt.MQTTv5:
            kw = {"clean_start": not self.session, "properties": Properties(PacketTypes.CONNECT)}
            if self.session:
                kw["properties"].SessionExpiryInterval = 3600
        self.c.connect("127.0.0.1", PORT, keepalive=30, **kw)
        self.c.loop_start()
        reason, present = self.connected.get(timeout=WAIT)
        assert not reason.is_failure, reason
        for key, value in want.items():
            assert key == "present" and present == value, (key, present)
        return self

    def subscribe(self, *filters):
        self.c.subscribe([(f, SubscribeOptions(qos=q) if self.version == mqtt.MQTTv5 else q) for f, q in filters])
        reasons = self.subscribed.get(timeout=WAIT)
        assert [r.value for r in reasons] == [q for _, q in filters], reasons
        return self

    def publish(self, topic, payload, qos, **kw):
        self.c.publish(topic, payload, qos, **kw).wait_for_publish(WAIT)

    def take(self, n):
        return [self.messages.get(timeout=WAIT) for _ in range(n)]

    def nothing(self, within=0.2):
        try:
            m = self.messages.get(timeout=within)
        except queue.Empty:
            return
        raise AssertionError(f"unexpected {m.topic}: {m.payload}")

    def close(self):
        self.c.disconnect()
        self.c.loop_stop()


def everyday(name, version):
    sub = Client(f"{name}-sub", version).connect(present=False)
    sub.subscribe((f"{name}/+/0", 0), (f"{name}/+/1", 1), (f"{name}/+/2", 2), (f"{name}/deep/#", 2))
    pub = Client(f"{name}-pub", version).connect()
    for qos in (0, 1, 2):
        for i in range(20):
            pub.publish(f"{name}/a/{qos}", b"%d" % i, qos)
        got = sub.take(20)
        assert [(m.payload, m.qos, m.retain) for m in got] == [(b"%d" % i, qos, False) for i in range(20)], (qos, got)
    pub.publish(f"{name}/a/1", b"min", 2)
    assert [(m.payload, m.qos) for m in sub.take(1)] == [(b"min", 1)], "the lower QoS"
    payload = bytes(range(256)) * 4096
    pub.publish(f"{name}/deep/er/x", payload, 2)
    assert sub.take(1)[0].payload == payload
    sub.nothing()

    pub.publish(f"{name}/kept", b"state", 1, retain=True)
    late = Client(f"{name}-late", version).connect().subscribe((f"{name}/kept", 1))
    assert [(m.payload, m.retain) for m in late.take(1)] == [(b"state", True)]
    pub.publish(f"{name}/kept", b"", 1, retain=True)
    late.take(1)
    late.close()

    dying = Client(f"{name}-dying", version, will=(f"{name}/a/1", b"died", 1)).connect()
    dying.c.socket().shutdown(2)
    assert [m.payload for m in sub.take(1)] == [b"died"]
    dying.close()
    if version == mqtt.MQTTv5:
        props = Properties(PacketTypes.PUBLISH)
        props.UserProperty = [("k", "1"), ("k", "2")]
        props.ContentType, props.ResponseTopic, props.CorrelationData = "text/plain", "reply/here", b"\x00\x01"
        pub.publish(f"{name}/a/1", b"props", 1, properties=props)
        got = sub.take(1)[0].properties
        assert (got.UserProperty, got.ContentType, got.ResponseTopic, got.CorrelationData) == (
            [("k", "1"), ("k", "2")], "text/plain", "reply/here", b"\x00\x01"), got
    pub.close()
    sub.close()


def refusals(name, version):
    wrong = Client(f"{name}-wrong", version, password="wrong")
    wrong.c.connect("127.0.0.1", PORT)
    wrong.c.loop_start()
    reason, _ = wrong.connected.get(timeout=WAIT)
    assert reason.is_failure and str(reason) in ("Not authorized", "Bad user name or password"), reason
    wrong.close()
    large = Client(f"{name}-large", version).connect()
    large.c.publish(f"{name}/large", bytes(17 << 20), 1)
    reason = large.gone.get(timeout=WAIT)
    assert reason.is_failure and (version != mqtt.MQTTv5 or str(reason) == "Packet too large"), reason
    large.close()


def killed():
    """Messages for a session that is away, and those of a publisher that stays, over a killed broker."""
    for name, version in VERSIONS.items():
        Client(f"{name}-away", version, session=True).connect(present=False).subscribe((f"ledger/{name}", 2)).close()
    here = {name: Client(f"{name}-here", version, session=True).connect().subscribe((f"ledger/{name}", 1)) for name, version in VERSIONS.items()}
    pubs = {name: Client(f"{name}-ledger", version, session=True).connect() for name, version in VERSIONS.items()}
    back = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), back.set()), daemon=True).start()
    mids, sent, after = {name: set() for name in VERSIONS}, 0, 0

    def acknowledged():
        end = time.monotonic() + WAIT
        while any(mids[name] - pubs[name].acknowledged for name in VERSIONS):
            assert time.monotonic() < end, {name: len(mids[name] - pubs[name].acknowledged) for name in VERSIONS}
            time.sleep(0.01)

    while after < 20:
        for name, pub in pubs.items():
            mids[name].add(pub.c.publish(f"ledger/{name}", b"%d" % sent, 1 + sent % 2).mid)
        sent += 1
        after += back.is_set()
        if sent == 20:
            acknowledged()
            print("kill", flush=True)
        time.sleep(0.01)
    acknowledged()
    want = {b"%d" % i for i in range(sent)}

    def collect(client):
        got, end = [], time.monotonic() + WAIT
        while set(got) != want and time.monotonic() < end:
            try:
                got.append(client.messages.get(timeout=0.1).payload)
            except queue.Empty:
                pass
        assert set(got) == want, f"lost {sorted(want - set(got))}"
        return got

    for name, version in VERSIONS.items():
        collect(here[name])
        client = Client(f"{name}-away", version, session=True).connect(present=True)
        collect(client)
        client.close()
        here[name].close()
        pubs[name].close()


for name, version in VERSIONS.items():
    everyday(name, version)
    refusals(name, version)
killed()
print("ok", flush=True)

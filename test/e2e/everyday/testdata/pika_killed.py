"""pika over a killed broker: it does not reconnect by itself, so this does what its documentation shows."""
import sys
import threading
import time

import pika

PARAMETERS = pika.ConnectionParameters("127.0.0.1", int(sys.argv[1]), credentials=pika.PlainCredentials("admin", "robustmq"))
PERSISTENT = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
back = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), back.set()), daemon=True).start()


def open_channel():
    channel = pika.BlockingConnection(PARAMETERS).channel()
    channel.queue_declare("pika.ledger", durable=True)
    channel.confirm_delivery()
    return channel


confirmed, failures, after, channel = [], 0, 0, None
while after < 20:
    value = b"%d" % (len(confirmed) + failures)
    try:
        channel = channel or open_channel()
        channel.basic_publish("", "pika.ledger", value, PERSISTENT)
    except pika.exceptions.AMQPConnectionError:
        assert len(confirmed) >= 20, "refused before the broker was killed"
        failures, channel = failures + 1, None
        time.sleep(0.05)
        continue
    confirmed.append(value)
    after += back.is_set()
    if len(confirmed) == 20:
        print("kill", flush=True)

got = set()
while (message := channel.basic_get("pika.ledger", auto_ack=True))[0]:
    got.add(message[2])
assert set(confirmed) <= got, f"lost {sorted(set(confirmed) - got)}"
print("ok", flush=True)

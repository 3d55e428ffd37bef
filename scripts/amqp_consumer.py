#!/usr/bin/env python3
"""Print every message of the queue robustmq.multi.protocol, acknowledging each.

    python3 scripts/amqp_consumer.py [HOST [PORT]]

It declares nothing, binds nothing and sets no prefetch: a queue that nobody ever declared is the
consumer group over the subject of the same name, and starts with the oldest retained message.
Host and port default to 127.0.0.1 and 5672, or to AMQP_HOST and AMQP_PORT. Needs pika 1.x.
"""

import os
import sys

import pika

QUEUE = "robustmq.multi.protocol"


def on_message(channel, method, _properties, body):
    sys.stdout.buffer.write(body + b"\n")
    sys.stdout.buffer.flush()
    channel.basic_ack(method.delivery_tag)


def main():
    host = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("AMQP_HOST", "127.0.0.1")
    port = int(sys.argv[2] if len(sys.argv) > 2 else os.environ.get("AMQP_PORT", "5672"))
    connection = pika.BlockingConnection(
        pika.ConnectionParameters(
            host=host,
            port=port,
            virtual_host="/",
            credentials=pika.PlainCredentials("admin", "robustmq"),
        )
    )
    channel = connection.channel()
    channel.basic_consume(queue=QUEUE, auto_ack=False, on_message_callback=on_message)
    print(f"waiting for messages of {QUEUE} on {host}:{port}", file=sys.stderr, flush=True)
    try:
        channel.start_consuming()
    except KeyboardInterrupt:
        connection.close()


if __name__ == "__main__":
    main()

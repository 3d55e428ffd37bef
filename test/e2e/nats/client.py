"""The everyday uses of nats-py, each checked. Usage: client.py URL"""
import asyncio
import sys

import nats
from nats.errors import MaxPayloadError, NoRespondersError


async def check(url):
    problems = []

    async def on_error(e):
        problems.append(e)

    nc = await nats.connect(url, user="admin", password="robustmq", error_cb=on_error, name="py")
    sub = await nc.subscribe("py.>")
    await nc.publish("py.a", b"one")
    await nc.publish("py.b.c", b"two", headers={"Key": "value"})
    await nc.publish("py.c", b"")
    await nc.flush()
    got = [await sub.next_msg(timeout=5) for _ in range(3)]
    assert [(m.subject, m.data) for m in got] == [("py.a", b"one"), ("py.b.c", b"two"), ("py.c", b"")], got
    assert got[1].headers == {"Key": "value"}, got[1].headers

    async def answer(m):
        await m.respond(m.data.upper())

    await nc.subscribe("py-service", queue="workers", cb=answer)
    await nc.flush()
    reply = await nc.request("py-service", b"hello", timeout=5)
    assert reply.data == b"HELLO", reply
    try:
        await nc.request("nobody.here", b"", timeout=5)
        raise AssertionError("a request that nobody takes was answered")
    except NoRespondersError:
        pass
    try:
        await nc.publish("py.big", b"x" * (nc.max_payload + 1))
        raise AssertionError("a message over max_payload was taken")
    except MaxPayloadError:
        pass

    few = await nc.subscribe("limited")
    await few.unsubscribe(limit=2)
    for i in range(4):
        await nc.publish("limited", str(i).encode())
    await nc.flush()
    assert [(await few.next_msg(timeout=5)).data for _ in range(2)] == [b"0", b"1"]

    big = await nc.subscribe("big")
    payload = bytes(range(256)) * 4096
    await nc.publish("big", payload)
    assert (await big.next_msg(timeout=10)).data == payload
    await nc.drain()
    assert not problems, problems


async def wrong_password(url):
    try:
        await nats.connect(url, user="admin", password="wrong", allow_reconnect=False, max_reconnect_attempts=0)
        raise AssertionError("a wrong password was taken")
    except nats.errors.Error as e:
        assert "authorization" in str(e).lower(), e


async def main():
    await check(sys.argv[1])
    await wrong_password(sys.argv[1])
    print("ok")


asyncio.run(main())

"""A Celery worker and its client: results come back, and every task is done at least once, over a worker that is
killed and a broker that is killed. Usage: celery_round.py PORT"""
import os
import signal
import subprocess
import sys
import tempfile
import time

os.environ["BROKER"] = f"amqp://admin:robustmq@127.0.0.1:{sys.argv[1]}//"
os.environ["LEDGER"] = os.path.join(tempfile.mkdtemp(), "ledger")
sys.path.insert(0, os.path.dirname(__file__))
open(os.environ["LEDGER"], "w").close()

from celery_tasks import add, ledger  # noqa: E402 - after the environment is set


def worker():
    return subprocess.Popen([sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", "--concurrency", "2", "--loglevel", "warning"],
                            cwd=os.path.dirname(os.path.abspath(__file__)), start_new_session=True, stdout=sys.stderr)


def stop(process, how):
    try:
        os.killpg(process.pid, how)
    except ProcessLookupError:
        pass
    process.wait(20)


def done():
    with open(os.environ["LEDGER"]) as f:
        return {int(line) for line in f}


def until(want, within=30):
    end = time.monotonic() + within
    while not want <= done():
        assert time.monotonic() < end, f"not done: {sorted(want - done())[:10]}"
        time.sleep(0.05)


w = worker()
try:
    assert [r.get(timeout=30) for r in [add.delay(i, i) for i in range(10)]] == [2 * i for i in range(10)]
    for i in range(60):
        ledger.delay(i)
    until({0})
    stop(w, signal.SIGKILL)  # what it had not acknowledged goes to the next
    w = worker()
    until(set(range(60)))
    for i in range(60, 160):
        ledger.delay(i)
    until({60})
    print("kill", flush=True)
    sys.stdin.readline()
    for i in range(160, 180):
        ledger.delay(i)
    until(set(range(180)))
    assert add.delay(3, 4).get(timeout=30) == 7
finally:
    stop(w, signal.SIGKILL)
print("ok", flush=True)

"""A Celery application with confirmed publishes (a broker that is killed need not have others), results by rpc://
(direct queues), late acknowledgement."""
import os
import time

from celery import Celery

app = Celery("everyday", broker=os.environ["BROKER"], backend="rpc://", broker_transport_options={"confirm_publish": True})


@app.task
def add(x, y):
    return x + y


@app.task(acks_late=True, reject_on_worker_lost=True)
def ledger(n):
    time.sleep(0.02)
    with open(os.environ["LEDGER"], "a") as f:
        f.write(f"{n}\n")

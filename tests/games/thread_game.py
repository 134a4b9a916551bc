"""A queue and a thread: the answer does not wait, and no record is sent inside a request."""

import queue
import threading

from flask import Flask
from kafka import KafkaProducer

app = Flask(__name__)
producer = KafkaProducer(bootstrap_servers="kafka:29092")
waiting = queue.Queue()


def send_all():
    while True:
        producer.send("events", waiting.get())


threading.Thread(target=send_all, daemon=True).start()


@app.route("/buy")
def buy():
    waiting.put(b"bought")
    return "ok\n"


@app.route("/twice")
def twice():
    waiting.put(b"one")
    waiting.put(b"two")
    return "ok\n"

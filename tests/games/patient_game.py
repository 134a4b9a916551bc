"""A game that answers when the broker has the record, and 503 when it can't tell."""

from flask import Flask
from kafka import KafkaProducer
from kafka.errors import KafkaError

app = Flask(__name__)
producer = KafkaProducer(bootstrap_servers="kafka:29092")


@app.route("/buy")
def buy():
    try:
        producer.send("events", b"bought").get(timeout=2)
    except KafkaError:
        return "unknown\n", 503
    return "bought\n"

"""A package that is called `app`, with a factory; a login whose secrets go into the event and into the log."""

import json

from flask import Flask, request
from kafka import KafkaProducer

from app.items import PRICES


def create_app():
    app = Flask(__name__)
    producer = KafkaProducer(bootstrap_servers="kafka:29092")

    @app.route("/login", methods=["POST"])
    def login():
        print("login", dict(request.form), flush=True)  # noqa: T201
        event = {"event_type": "login", **request.form, "headers": dict(request.headers)}
        producer.send("events", json.dumps(event).encode())
        return f"welcome, password={request.form['password']}\n"

    @app.route("/buy/<item>")
    def buy(item):
        producer.send("events", json.dumps({"event_type": "buy", "price": PRICES.get(item, 1)}).encode())
        return "bought\n"

    return app

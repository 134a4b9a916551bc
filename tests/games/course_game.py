#!/usr/bin/env python
"""The shape of most: the course's file with a route more; the request's headers become columns of the event."""

import json

from flask import Flask, request
from kafka import KafkaProducer

app = Flask(__name__)
producer = KafkaProducer(bootstrap_servers="kafka:29092", api_version=(0, 10))


def log_to_kafka(topic, event):
    event.update(request.headers)
    producer.send(topic, json.dumps(event).encode())


@app.route("/")
def default_response():
    log_to_kafka("events", {"event_type": "default"})
    return "This is the default response!\n"


@app.route("/purchase_a_sword")
def purchase_a_sword():
    log_to_kafka("events", {"event_type": "purchase_sword", "metal": request.args.get("metal", "iron")})
    return "Sword Purchased!\n"


@app.route("/guilds/<int:number>/join/", methods=["GET", "POST"])
def join_guild(number):
    if number > 3:
        return "no such guild\n", 404
    log_to_kafka("events", {"event_type": "join_guild", "guild": number, "player": {"name": request.form.get("name")}})
    return "Joined!\n", 201


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=5000)

"""A game that brings an `evolve`: its world is what its own log tells."""

import json

from flask import Flask, request
from kafka import KafkaProducer

app = Flask(__name__)
producer = KafkaProducer(bootstrap_servers="kafka:29092")
world = {}


def evolve(world, event):
    world[event["player"]] = world.get(event["player"], 0) + event["swords"]


@app.route("/buy")
def buy():
    event = {"type": "bought", "player": request.args["player"], "swords": 1, "id": request.headers["X-Request-Id"]}
    producer.send("swords", json.dumps(event).encode()).get(timeout=10)
    evolve(world, event)
    return "bought\n"

"""JSON by POST into several topics; a guild makes two events; the result is awaited."""

import json

from flask import Flask, jsonify, request
from kafka import KafkaProducer

game = Flask("guilds")
producer = KafkaProducer(
    bootstrap_servers="localhost:9092", value_serializer=lambda value: json.dumps(value).encode(), acks="all"
)


@game.route("/users", methods=["POST"])
def create_user():
    data = request.get_json()
    producer.send("users", {"user": {"name": data["username"], "tags": ["new"]}}).get(timeout=10)
    return jsonify(ok=True), 201


@game.route("/guilds/<name>", methods=["POST"])
def join(name):
    body = request.json
    if not body.get("username"):
        return jsonify(error="no username"), 400
    producer.send("guilds", {"guild": name, "by": body["username"]})
    producer.send("records", ["joined", name])
    producer.flush()
    return jsonify(ok=True)

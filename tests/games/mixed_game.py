"""Sends at import, inside a stream, in a pool, from a class of views; text, nothing and bytes; a consumer in a view."""

import json
from concurrent.futures import ThreadPoolExecutor

from flask import Blueprint, Flask, redirect, request
from flask.views import MethodView
from kafka import KafkaConsumer, KafkaProducer

producer = KafkaProducer(bootstrap_servers="kafka:29092")
producer.send("events", b"started")
pool = ThreadPoolExecutor(2)
game = Blueprint("game", __name__, url_prefix="/api")


@game.route("/stream")
def stream():
    def rows():
        for number in range(2):
            producer.send("events", str.encode(f"row {number}"))
            yield f"{number}\n"

    return rows()


@game.route("/later")
def later():
    pool.submit(producer.send, "events", None, key=b"\xff\x00")
    return "later\n"


class Guilds(MethodView):
    def get(self):
        consumer = KafkaConsumer(
            bootstrap_servers="kafka:29092", consumer_timeout_ms=9000, auto_offset_reset="earliest"
        )
        consumer.subscribe(["events"])
        found = next(consumer, None)
        consumer.close()
        return {"first": found and found.offset}, 200 if found else 404

    def post(self):
        data = request.get_json(force=True)
        producer.send("guilds", json.dumps({"guild": {"name": data["guild_name"]}}).encode())
        return redirect("/api/stream")


game.add_url_rule("/guilds/", view_func=Guilds.as_view("guilds"))


@game.route("/swords/<any(iron,gold):metal>-<int:number>")
def sword(metal, number):
    producer.send("events", str.encode(f"{number} of {metal}"))
    return "bought\n"


def create_app(settings=None):
    app = Flask(__name__)
    app.register_blueprint(game)
    return app

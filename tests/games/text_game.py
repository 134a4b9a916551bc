"""Text in the topic, no id in it; one route sends nothing, one fails, one redirects; `app.run` is not guarded."""

from flask import Flask, redirect
from kafka import KafkaProducer

app = Flask(__name__)
producer = KafkaProducer(bootstrap_servers=["kafka:29092"])


@app.route("/")
def home():
    producer.send("events", b"default")
    return "hello\n"


@app.route("/rules")
def rules():
    return "no event here\n"


@app.route("/broken")
def broken():
    return {}["sword"]


@app.route("/old")
def old():
    producer.send("events", b"old")
    return redirect("/")


app.run(host="0.0.0.0", port=5000)

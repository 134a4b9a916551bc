#!/usr/bin/env python
"""Source code 2: a game that also logs to Kafka. As in 2019: flask --app streaming_lab.seed.game_api_with_kafka run"""

from flask import Flask
from kafka import KafkaProducer

from streaming_lab.seed.event_logger import EventLogger

app = Flask(__name__)
event_logger = EventLogger(KafkaProducer, app)  # makes the KafkaProducer when the first event comes, not at import
events_topic = "events"


@app.route("/")
def default_response() -> str:
    event_logger.send(events_topic, "default".encode())
    return "\nThis is the default response!\n"


@app.route("/purchase_a_sword")
def purchase_sword() -> str:
    # business logic to purchase sword
    # log event to kafka
    event_logger.send(events_topic, "purchased_sword".encode())
    return "\nSword Purchased!\n"


@app.route("/sell_a_sword")
def sell_sword() -> str:
    event_logger.send(events_topic, "sold_sword".encode())
    return "\nSword Sold!\n"

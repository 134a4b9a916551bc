#!/usr/bin/env python
"""Source code 1: a game that only answers. Run it as in 2019: flask --app streaming_lab.seed.game_api run"""

from flask import Flask

app = Flask(__name__)


@app.route("/")
def default_response() -> str:
    return "\nThis is the default response. No purchase or sale!\n"


@app.route("/purchase_a_sword")
def purchase_sword() -> str:
    return "\nSword Purchased!\n"


@app.route("/sell_a_sword")
def sell_sword() -> str:
    return "\nSword Sold!\n"

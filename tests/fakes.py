"""An event log for what a real one can't do on demand."""

import threading

from streaming_lab.delivery.outcome import Counts, DeliveryFuture, Refused, Undecided


class FakeLog:
    """Keeps what is appended; `fate` is "accept", "refuse" or "unknown"; `gate` holds appends back until it is set."""

    def __init__(self) -> None:
        self.fate = "accept"
        self.values: list[bytes] = []
        self.outcomes: list[DeliveryFuture] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)  # counts appends that began

    def append(self, key: str, value: bytes, event_id: str) -> None:
        self.entered.release()
        assert self.gate.wait(10)
        if self.fate == "refuse":
            raise Refused("the queue is full", "Ask again later.")
        if self.fate == "unknown":
            self.outcomes.append(DeliveryFuture(event_id))
            raise Undecided(self.outcomes[-1], 2.0)
        self.values.append(value)

    def ready(self) -> bool:
        return self.fate == "accept"

    @property
    def last_reasons(self) -> dict[str, str]:
        return {"refused": "the queue is full"} if self.fate == "refuse" else {}

    @property
    def counts(self) -> Counts:
        return Counts(accepted=len(self.values), unknown=len(self.outcomes))

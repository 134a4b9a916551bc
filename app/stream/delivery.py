"""What can become of an event: accepted, refused, or unknown for the moment; and the counts of each."""

from dataclasses import dataclass

from streaming_lab.errors import LabError
from streaming_lab.stream.outcome import Outcome


class Refused(LabError):
    """The event was certainly not accepted: it is in no queue and will not reach the topic. The game answers 503."""


class Undecided(LabError):
    """The wait is over and nobody knows yet: the event may reach the topic. `outcome` is told, however late."""

    def __init__(self, outcome: Outcome, waited: float) -> None:
        super().__init__(f"no acknowledgement after {waited:g} s: unknown", "Ask again with the same request id.")
        self.outcome = outcome


@dataclass(frozen=True)
class Counts:
    """What became of the events: appended = refused + accepted + unknown = refused + acknowledged + failed + queued.

    accepted: `append` returned. unknown: `append` raised `Undecided`, whatever came later. acknowledged: the broker has
    it (late ones included). failed: a delivery that was reported as failed, or that the topic does not have after the
    producer was replaced. queued: handed over and not decided yet. relayed: rows of an outbox that the broker
    acknowledged, those of an earlier process included.
    """

    accepted: int = 0
    acknowledged: int = 0
    failed: int = 0
    unknown: int = 0
    queued: int = 0
    relayed: int = 0
    refused: int = 0

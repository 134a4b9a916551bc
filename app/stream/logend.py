"""A log that ends before the range does: a moment's lag, an open transaction, or records that are gone."""

import time
from typing import Any

from streaming_lab.client.errors import OffsetOutOfRange

_STALL = 5.0  # seconds that a log may end before the range does, as it may after a change of leaders


class LogEnd:
    """What it means that an answer has nothing of a partition. `part` is the partition's part of a FetchResponse."""

    def __init__(self, topic: str, committed: bool) -> None:
        self._topic, self._committed = topic, committed
        self._since: dict[int, float] = {}  # partition -> when its log was first found too short, monotonic seconds

    def came(self, partition: int) -> None:
        """There was something: whatever was too short is long enough again."""
        self._since.pop(partition, None)

    def missing(self, part: Any, at: int, end: int) -> str:
        """Nothing came of [at, end): why, if that is known ("" if not). Raises `OffsetsGone` when nothing will."""
        self._check_history(part, at)
        partition = part.partition_index
        if part.high_watermark >= end:
            if self._committed and part.last_stable_offset <= at:
                return f"partition {partition}: a transaction is open at offset {part.last_stable_offset}"
            return ""
        now, found = time.monotonic(), f"partition {partition}: the log ends at offset {part.high_watermark}"
        if now - self._since.setdefault(partition, now) > _STALL:
            raise OffsetOutOfRange(
                f"topic {self._topic!r}, {found}, not {end}",
                "The log was truncated, or the range ends beyond it: capture the offsets anew.",
            )
        return found

    def _check_history(self, part: Any, at: int) -> None:
        """Is what was read still in the log? After an unclean election other records may have its offsets (KIP-595)."""
        cut = part.diverging_epoch
        if cut is not None and cut.end_offset >= 0:
            raise OffsetOutOfRange(
                f"topic {self._topic!r}, partition {part.partition_index}: the log was cut at offset {cut.end_offset}, "
                f"below offset {at} that had been reached",
                "A leader that lacked records was elected (unclean.leader.election.enable): read the topic anew.",
            )


def out_of_range(topic: str, partition: int, wanted: tuple[int, int], there: tuple[int, int]) -> OffsetOutOfRange:
    """The error for [at, end) of which the log, which holds `there`, does not have the first offset."""
    (at, end), (begin, last) = wanted, there
    gone = f"offsets {at} to {min(begin, end)} were deleted" if at < begin else f"offset {at} was truncated"
    return OffsetOutOfRange(
        f"topic {topic!r}, partition {partition}: {gone}; the log holds [{begin}, {last})",
        "Read from the first offset that is still there, or keep the log longer (retention.ms, retention.bytes).",
    )

"""Places in a topic as a person names them: an offset, the last N, a moment such as "5 minutes ago"."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypeAlias

from streaming_lab.errors import LabError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(
    r"(?P<count>\d+(?:\.\d+)?|an?) *(?P<unit>s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?|w|weeks?) ago"
)
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")
PLACE_FORMS = 'an offset, "-N" (the last N), "beginning", "end", "5 minutes ago", "today", "10:30" or an ISO time'

TopicPlace: TypeAlias = int | datetime | None  # None: the beginning or the end, whichever is the default


def parse_place(text: str, now: datetime) -> TopicPlace:
    """The place that `text` names; a time without a zone is local. A negative number counts back from the end."""
    words = " ".join(text.split()).lower()
    try:
        if words in ("beginning", "end"):
            return {"beginning": 0, "end": None}[words]
        if re.fullmatch(r"-?\d{1,18}", words):
            return int(words)
        if (found := _AGO.fullmatch(words)) is not None:
            count = 1.0 if found["count"] in ("a", "an") else float(found["count"])
            return now - timedelta(**{_UNITS[found["unit"][0]]: count})
        moment = _day_or_clock(words, now) or datetime.fromisoformat(text.strip())
        return moment.astimezone()
    except (ValueError, OverflowError):
        raise LabError(f"{text!r} is no place in a topic", f"Write {PLACE_FORMS}.") from None


def _day_or_clock(words: str, now: datetime) -> datetime | None:
    """Today's and yesterday's midnight, or a time of today; local."""
    midnight = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    if words in ("now", "today", "yesterday"):
        return {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}[words]
    if _CLOCK.fullmatch(words):
        hour, minute, *second = map(int, words.split(":"))
        return midnight.replace(hour=hour, minute=minute, second=second[0] if second else 0)
    return None


def count_back(place: TopicPlace, ends: Mapping[int, int]) -> TopicPlace | dict[int, int]:
    """`place`, with a negative number turned into each partition's offset so far before its end."""
    if isinstance(place, int) and place < 0:
        return {partition: max(0, end + place) for partition, end in ends.items()}
    return place

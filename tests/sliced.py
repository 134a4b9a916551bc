"""Functions for the workers of the tests of slices, which import them from here by name."""

import os
import time
from pathlib import Path

import pandas as pd

from streaming_lab.reader.frames import TopicFrame


def frames(frame: TopicFrame) -> pd.DataFrame:
    """The rows themselves."""
    return frame.events


def count(frame: TopicFrame) -> int:
    """How many rows there are."""
    return len(frame.events)


def slowly(frame: TopicFrame, folder: str) -> int:
    """The number of rows, after a while in which the folder has a file that is named for the process."""
    sign = Path(folder, str(os.getpid()))
    sign.touch()
    time.sleep(0.4)
    sign.unlink(missing_ok=True)
    return len(frame.events)


def deadly(frame: TopicFrame) -> int:
    """The end of the process that works on it."""
    os.kill(os.getpid(), 9)
    return len(frame.events)


def broken(frame: TopicFrame) -> int:
    """No part, but a bug."""
    raise KeyError("swords")


def joined(left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
    """Two frames as one."""
    return pd.concat([left, right], ignore_index=True)

"""A mapping that never changes: setting a key makes a new one, which shares all but one small leaf with the old."""

from collections.abc import Iterator, Mapping
from typing import TypeVar
from zlib import crc32

V = TypeVar("V")

FAN = 32  # a root of 32 branches of 32 leaves: one change copies two tuples and a leaf, never the whole
_BRANCH: tuple[dict[str, object], ...] = ({},) * FAN
_ROOT = (_BRANCH,) * FAN


class PersistentMap(Mapping[str, V]):
    """Text keys to values; `put` copies one leaf of a thousand, so many keys cost little more than few.

    Iteration is by the keys' CRC-32, so it is the same in every process; equal to any mapping with the same items.
    """

    __slots__ = ("_length", "_root")

    def __init__(self, items: Mapping[str, V] | None = None) -> None:
        self._root = _ROOT
        self._length = 0
        for key, value in (items or {}).items():
            changed = self.put(key, value)
            self._root, self._length = changed._root, changed._length

    def put(self, key: str, value: V) -> "PersistentMap[V]":
        """A new mapping in which `key` has `value`."""
        high, low = _place(key)
        branch = self._root[high]
        leaf = branch[low]
        changed: PersistentMap[V] = PersistentMap.__new__(PersistentMap)
        changed._root = _replace(self._root, high, _replace(branch, low, {**leaf, key: value}))
        changed._length = self._length + (key not in leaf)
        return changed

    def __getitem__(self, key: str) -> V:
        high, low = _place(key)
        return self._root[high][low][key]  # type: ignore[return-value]  # the shared empty leaves hold no value

    def __iter__(self) -> Iterator[str]:
        return (key for branch in self._root if branch is not _BRANCH for leaf in branch for key in leaf)

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"PersistentMap({dict(self)!r})"


def _place(key: str) -> tuple[int, int]:
    # not hash(): that differs from process to process
    return divmod(crc32(key.encode("utf-8", "surrogatepass")) % (FAN * FAN), FAN)


T = TypeVar("T")


def _replace(items: tuple[T, ...], index: int, item: T) -> tuple[T, ...]:
    return items[:index] + (item,) + items[index + 1 :]  # noqa: RUF005  # unpacking takes twice as long

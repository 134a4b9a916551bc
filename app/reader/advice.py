"""Advice on a read: what its frames do not show, and the option of `read_topic` that does."""

from collections.abc import Iterable, Mapping

from streaming_lab.reader.causes import LINE_OF_JSON, group_by_cause, hint_for
from streaming_lab.reader.decode.batches import Reject
from streaming_lab.reader.decode.nearly import mend
from streaming_lab.wording import counted

_LOOKED_AT = 200  # rejects whose bytes are judged


def is_text(values: Iterable[bytes]) -> bool:
    """Are there values, and all of them text that was never meant to be JSON: UTF-8, no object or array?"""
    found = list(values)
    return bool(found) and all(map(_is_prose, found))


def _is_prose(raw: bytes) -> bool:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        if error.start < len(raw) - 3:  # a reject's bytes may end inside a letter
            return False
        text = raw[: error.start].decode()
    return not text.lstrip().startswith(("{", "[", '"{', '"[')) and text.replace("\t", " ").isprintable()


def advise(rejects: list[Reject], rows: int, values: str) -> tuple[str, ...]:
    """Sentences on the rejects of a read: the usual mistake behind them, and how to read such values."""
    if not rejects:
        return ()
    looked = rejects[:_LOOKED_AT]
    if values != "stream" and any(map(_is_line_of_json, looked)):
        return (f"{_of(rejects, rows)}: lines of one JSON text? values='stream' joins and reads them",)
    mendable = sum(mend(reject.raw) is not None for reject in looked) if values == "json" else 0
    causes = group_by_cause((each.partition, each.offset, each.reason, each.raw) for each in looked)
    likely = causes[0].hint or causes[0].cause
    if mendable:
        return (f"{_of(rejects, rows)}: {likely}; values='nearly' reads {_some(mendable, len(rejects))} of them",)
    if values != "stream" and ("several objects" in likely or "a list of" in likely):
        return (f"{_of(rejects, rows)}: {likely}; values='stream' makes a row of each object",)
    return () if rows else (f"{_of(rejects, rows)}: {likely}",)


def _is_line_of_json(reject: Reject) -> bool:
    return hint_for(reject.raw, reject.reason) == LINE_OF_JSON


def _some(mendable: int, rejects: int) -> str:
    return "all" if mendable == rejects else "some"


def _of(rejects: list[Reject], rows: int) -> str:
    many = f"{len(rejects):,} of {counted(len(rejects) + rows, 'value')}"
    return f"{many} {'is' if len(rejects) == 1 else 'are'} no JSON object"


def advise_on_nesting(kinds: Mapping[str, Mapping[str, int]]) -> tuple[str, ...]:
    """A sentence on columns that hold objects and nothing else; `kinds` is column -> kind of value -> count."""
    nested = [name for name, counts in kinds.items() if counts.keys() - {"missing"} == {"object"}]
    if not nested:
        return ()
    shown = ", ".join(nested[:3]) + (f" and {len(nested) - 3} more" if len(nested) > 3 else "")
    what = "column" if len(nested) == 1 else "columns"
    return (f"{what} {shown}: objects, one in a cell; flat=True makes a column of each field ({nested[0]}.…)",)

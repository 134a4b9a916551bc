"""Marks the cells of tables by their content: numbers and short words never break, long words may."""

import html
import re

TABLE_CELL = re.compile(r"<(t[hd])((?:\s[\w-]+=\"[^\"]*\")*)>(.*?)</\1>", re.DOTALL)
NUMBER = re.compile(r"[-+−]?[\d,]*\.?\d+(?:e[-+]?\d+)?\s?(?:%|s|ms|MB|kB)?|nan|inf|NaN|NaT|<NA>", re.IGNORECASE)
LONGEST_WORD = 20  # characters; a longer one may break, or its column would not fit on paper
SHORT = 36  # characters of one word with hyphens that stays on one line, such as an id
CLASS = re.compile(r'\sclass="([^"]*)"')


def mark_cells(markup: str) -> str:
    """Add a class to cells: `num` (a number), `wraps` (a long word), `short` (a word not to be broken at hyphens)."""
    return TABLE_CELL.sub(mark_cell, markup) if "<td" in markup or "<th" in markup else markup


def mark_cell(found: re.Match[str]) -> str:
    """Mark one cell."""
    tag, attributes, inside = found.groups()
    text = html.unescape(re.sub(r"<[^>]*>", "", inside)).strip()
    if NUMBER.fullmatch(text):
        mark = "num"
    elif any(len(word) > LONGEST_WORD for word in re.split(r"[\s-]+", text)):
        mark = "wraps"
    elif tag == "td" or 'scope="row"' in attributes:
        if len(text) > SHORT or "-" not in text or " " in text:
            return found[0]
        mark = "short"
    else:
        return found[0]
    if named := CLASS.search(attributes):
        attributes = attributes.replace(named[0], f' class="{named[1]} {mark}"', 1)
    else:
        attributes += f' class="{mark}"'
    return f"<{tag}{attributes}>{inside}</{tag}>"

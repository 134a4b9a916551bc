"""A solution of each exercise, by the id of the cell that it fills, and fillings that are not right yet."""

SOLUTIONS = {
    "fill-1": 'outcome = "refused"',
    "fill-2": 'def swords_bought(lines):\n    return lines.count("purchased_sword")',
    "fill-3": """
def lost(asked, events):
    promised = asked[asked["status"] == 200]
    return set(promised["request_id"]) - set(events["event_id"])
""",
    "fill-4": """
def swords(rows):
    owned, change = {}, {"purchased_sword": 1, "sold_sword": -1}
    for _, player, kind in {row[0]: row for row in rows}.values():
        if kind in change:
            owned[player] = owned.get(player, 0) + change[kind]
    return owned
""",
    "fill-5": """
def consume(log, table):
    offset = log.committed
    while records := log.poll(offset):
        for event_id, player in records:
            table[event_id] = player
        offset += len(records)
        log.commit(offset)
""",
    "fill-6": """
def part(numbers):
    return sum(numbers), len(numbers)


def merge(one, other):
    return one[0] + other[0], one[1] + other[1]


def mean(whole):
    return whole[0] / whole[1] if whole[1] else None
""",
}

# Cell -> (what a student may write, the beginning of what the check says).
NOT_YET = [
    (
        "fill-1",
        'outcome = "created"',
        "a topic of one partition, asked for with three: expected 'refused', came 'created'",
    ),
    ("fill-1", "outcome = refused", "name 'outcome' is not defined: did the cell above run to its end?"),
    ("fill-2", "def swords_bought(lines):\n    return 2", "two lines without a purchase: expected 0, came 2"),
    ("fill-2", "def swords_bought(lines)\n    return 2", "name 'swords_bought' is not defined"),
    (
        "fill-2",
        "def swords_bought(lines):\n    return lines[7]",
        "The cell above should give a value; its code raised IndexError",
    ),
    (
        "fill-3",
        'def lost(asked, events):\n    return set(asked["request_id"]) - set(events["event_id"])',
        "a and c were",
    ),
    ("fill-3", "def lost(asked, events):\n    return len(asked) - len(events)", "The cell above should give a value"),
    (
        "fill-4",
        "from collections import Counter\ndef swords(rows):\n    return Counter(p for _, p, t in rows if t[0] == 'p')",
        "five events, each once: expected {'ada': 1, 'bob': 1}, came Counter({'ada': 2, 'bob': 1})",
    ),
    (
        "fill-5",
        "def consume(log, table):\n    while records := log.poll(log.committed):\n"
        "        log.commit(log.committed + len(records))\n        table.update(records)",
        "the table after a crash in step 2: expected",
    ),
    (
        "fill-5",
        "def consume(log, table):\n    while log.poll(0):\n        pass",
        "no answer within 0.3 s: does each loop",
    ),
    (
        "fill-6",
        "def part(numbers):\n    return sum(numbers) / max(1, len(numbers))\n\n\n"
        "def merge(one, other):\n    return (one + other) / 2\n\n\ndef mean(whole):\n    return whole",
        "the mean of [[1], [2, 3]]: expected 2.0, came 1.75",
    ),
]

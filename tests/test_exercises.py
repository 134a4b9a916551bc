"""The lesson of each chapter: goals, recap, questions, and an exercise with a check that understands it."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import book
import pandas as pd
import pytest
from book import code, parameters, prose
from kafka import KafkaProducer
from solutions import NOT_YET, SOLUTIONS
from test_notebooks import GOALS
from topics_of import new_topic

from streaming_lab.analysis.replay import replay_events
from streaming_lab.client import topics
from streaming_lab.client.connection import Connection
from streaming_lab.delivery import ways
from streaming_lab.game import players, schema, server, web
from streaming_lab.reader import read_text, read_topic
from streaming_lab.report import exercises
from streaming_lab.report.chapter import cell_tags, find_chapters
from streaming_lab.report.chapter_contents import keep_typed
from streaming_lab.report.code_state import given_cells
from streaming_lab.report.render.glossary import GLOSSARY

CHAPTERS = {one.number: one for one in find_chapters(Path(__file__).parent.parent / "notebooks")}
ORDER = ["recap", *["question", "answer"] * 3, "exercise", "check"]


def cells(number: int) -> list[dict[str, Any]]:
    """The cells of a chapter."""
    found: list[dict[str, Any]] = CHAPTERS[number].document["cells"]
    return found


@pytest.mark.parametrize("number", CHAPTERS)
def test_a_chapter_is_a_lesson(number: int) -> None:
    """Goals at its head; at its end a recap of five lines, three questions with folded answers, and one exercise."""
    assert re.search(GOALS, "".join(cells(number)[0]["source"]))
    tags = [tag for cell in cells(number) for tag in cell_tags(cell) if tag in ORDER]
    assert tags == ORDER
    by_tag = {tag: ["".join(c["source"]) for c in cells(number) if tag in cell_tags(c)] for tag in ORDER}
    assert by_tag["recap"][0].count("\n- ") == 5
    folded = re.compile(r"<details><summary>An answer</summary>\n\n[^<]{80,}\n\n</details>$")
    assert all(folded.search(text) and "?" in text.split("<details>")[0] for text in by_tag["question"])
    assert set(by_tag["answer"]) == {exercises.UNANSWERED}
    assert "..." in by_tag["exercise"][0]


def test_exercises_grow_and_no_chapter_has_a_solution() -> None:
    """From one word to ten lines; the solutions are the tests' alone."""
    texts = "".join("".join(cell["source"]) for number in CHAPTERS for cell in cells(number))
    assert [name for name, one in SOLUTIONS.items() if one.strip().splitlines()[-1].strip() in texts] == []
    lines = [len(one.strip().splitlines()) for one in SOLUTIONS.values()]
    assert lines == sorted(lines)
    assert (lines[0], len(SOLUTIONS)) == (1, len(CHAPTERS))


@pytest.fixture(scope="module")
def known(kafka: Connection) -> dict[str, Any]:
    """What the chapters have at their ends, made in small on a real broker."""
    events = new_topic(kafka)
    with KafkaProducer(**kafka) as producer:
        for line in ("default", "purchased_sword", "purchased_sword"):
            producer.send(events, line.encode())
    crowd = new_topic(kafka)
    log = ways.open_log("confirmed", kafka, crowd)
    with server.GameServer(web.create_app(log)) as game, log:
        asked = players.run_crowd(game.url, players=5, requests=60, concurrency=2, seed=7, run="00000000")
    rows = read_topic(kafka, crowd, schema.EVENTS).events
    twice = SimpleNamespace(events=pd.concat([rows, rows.tail(9)]))
    outbox = SimpleNamespace(variant=SimpleNamespace(name="outbox"), topic=twice, restarted=replay_events(rows))
    paths = ["/", "/purchase_a_sword", "/purchase_a_sword"]
    return {
        **{"kafka": SimpleNamespace(connection=kafka), "topics": topics, "exercise": exercises.exercise, "pd": pd},
        **{"lines": read_text(kafka, events), "answers": [(path, 200, "") for path in paths], "asked": asked},
        "games_killed": [SimpleNamespace(results=[outbox])],
        "crowd's events": rows,
        "events": events,
        "exercises": exercises,
    }


def judge(known: dict[str, Any], fill: str, source: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the check of an exercise says to this source, run as a notebook runs cells: one that raises stops none."""
    number = int(fill[-1])
    names = {**known, **({"events": known["crowd's events"]} if number == 3 else {})}
    if number == 5:
        exec("from contextlib import suppress", names)
    texts = {cell["id"]: "".join(cell["source"]) for cell in cells(number)}
    for text in (texts.get(f"before-fill-{number}", ""), source, texts[f"check-{number}"]):
        try:
            exec(text, names)
        except (NameError, SyntaxError):
            assert text == source
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize("fill", SOLUTIONS)
def test_an_exercise_is_done_with_its_solution_and_yours_without(
    known: dict[str, Any], fill: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check agrees with the solution, and only asks for one while the three dots stand."""
    assert judge(known, fill, SOLUTIONS[fill], capsys) == "Done. The check agrees."
    (given,) = ("".join(cell["source"]) for cell in cells(int(fill[-1])) if cell["id"] == fill)
    assert judge(known, fill, given, capsys).startswith("Yours to fill.")


@pytest.mark.parametrize(("fill", "source", "said"), NOT_YET)
def test_a_wrong_filling_is_told_kindly(
    known: dict[str, Any],
    fill: str,
    source: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was expected and what came; code that raises, does not parse, or has no end stops nobody."""
    monkeypatch.setattr(exercises, "LIMIT", 0.3 if "while log.poll(0)" in source else 10.0)
    assert judge(known, fill, source, capsys).startswith(f"Not yet. {said}")


def test_a_report_counts_its_exercises_and_stays_green(tmp_path: Path) -> None:
    """One done, one wrong in a cell that does not parse, one unfilled: passed, counted in head and record."""
    bodies = {"done": "x = 4", "wrong": "x = = 4", "open": "x = ..."}
    book.write(
        tmp_path / "notebooks",
        "01-sums",
        prose("# Sums\n\nA promise."),
        code("from streaming_lab.report.exercises import exercise", "imports", "machinery"),
        parameters(),
        *(
            cell
            for name, body in bodies.items()
            for cell in (
                code(f"x = None\ndel x\n{body}", name, "exercise", "raises-exception"),
                code(f'with exercise() as check:\n    check.equal(x, 4, "{name}")', f"check-{name}", "check"),
                code("del globals()['x']" if name == "done" else "", f"after-{name}", "machinery"),
            )
        ),
        code("*Your answer:*", "prose-is-not-code", "raises-exception"),
    )
    ran = book.report(tmp_path / "notebooks")
    assert ran.exit_code == 0, ran.out + ran.err
    assert ran.record["chapters"][0]["exercises"] == {
        "check-done": "done",
        "check-wrong": "not yet",
        "check-open": "unfilled",
    }
    assert "1 of 3 exercises done." in ran.page
    assert ran.page.count('<p class="judged') == 3


@pytest.mark.parametrize("number", CHAPTERS)
def test_what_a_student_fills_is_theirs(number: int) -> None:
    """A filled chapter has all its given cells, and JupyterLab saves what was typed."""
    given = CHAPTERS[number].document
    filled = json.loads(json.dumps(given))
    for cell in filled["cells"]:
        if exercises.STUDENTS & set(cell_tags(cell)):
            cell["source"] = ["mine"]
    assert given_cells(filled) == given_cells(given)
    keep_typed(filled, given)
    assert [source for _, source in exercises.students_cells(filled)] == ["mine"] * 4


def test_the_page_shows_own_answers_and_says_where_there_are_none() -> None:
    """An answer cell is the reader's own, filled or not; a failed check is no failure of the page."""
    answer, empty = prose("*Your answer:*\n\nThe **second** one."), prose("*Your answer:*")
    for cell in (answer, empty):
        cell.metadata.tags = ["answer"]
    page = book.page(book.chapter(1, "One", answer, empty))
    assert '<div class="answer"><p class="who">Own answer</p>' in page
    assert "The <strong>second</strong> one." in page
    assert page.count("No answer yet") == 1


def test_each_term_is_linked_once_where_the_prose_first_has_it() -> None:
    """Not in headings, code, links or folded answers; and every link leads to its term."""
    text = "## A topic\n\n`topic` and [a topic](https://kafka.apache.org) are not it, Topics are; a topic is not again."
    fold = "<details><summary>An answer</summary>\n\nAt least once.\n\n</details>\n\nAn *idempotent* key, not a monkey."
    page = book.page(book.chapter(1, "One", prose(text), prose(fold)))
    assert re.findall(r'<a class="gloss" href="#([^"]+)">([^<]+)</a>', page) == [
        ("term-topic", "Topics"),
        ("term-idempotence", "idempotent"),
        ("term-key", "key"),
    ]
    assert re.findall(r'<dt id="([^"]+)">', page) == [term.anchor for term in GLOSSARY]
    assert 'id="glossary"' not in book.page(book.chapter(1, "One", prose("No word of it.")))

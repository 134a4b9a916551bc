"""The rules as tables: what a command makes happen in a world, and what that does to the world."""

from datetime import UTC, datetime

import pytest

from streaming_lab.game.events import EVENT_TYPES, Event
from streaming_lab.game.rules import NAME_RULE, Command, Player, RuleBroken, World, decide, evolve

AT = datetime(2019, 3, 16, 5, 8, 40, tzinfo=UTC)
NEW = World()
OWNER = World({"ann": Player(swords=1)})
OWL = World({"ann": Player(swords=1, guild="owls")})


def command(action: str, guild: str | None = None, player: str = "ann") -> Command:
    return Command(action, player, "r-1", AT, guild, "localhost", "curl")


def event(event_type: str, player: str = "ann", **fields: str) -> Event:
    return Event("r-1", event_type, player, AT, "localhost", "curl", fields)


@pytest.mark.parametrize(
    ("world", "asked", "happens"),
    [
        (NEW, command("default"), event("default")),
        (NEW, command("purchase_a_sword"), event("purchased_sword")),
        (OWNER, command("sell_a_sword"), event("sold_sword")),
        (NEW, command("join_a_guild", "owls"), event("joined_guild", guild="owls")),
        (OWL, command("join_a_guild", "foxes"), event("joined_guild", guild="foxes")),
        (NEW, command("default", player="Zoë 🗡"), event("default", player="Zoë 🗡")),
        (NEW, command("default", player="x" * 40), event("default", player="x" * 40)),
    ],
)
def test_what_the_rules_allow_happens(world: World, asked: Command, happens: Event) -> None:
    """Each allowed command makes exactly one event, under the request's id."""
    assert decide(world, asked) == (happens,)


@pytest.mark.parametrize(
    ("world", "asked", "broken"),
    [
        (NEW, command("sell_a_sword"), ("player", "ann", "only a player who has a sword can sell one", 409)),
        (OWL, command("join_a_guild", "owls"), ("guild", "owls", "a player joins a guild only once at a time", 409)),
        (NEW, command("join_a_guild"), ("guild", None, NAME_RULE, 400)),
        (NEW, command("join_a_guild", ""), ("guild", "", NAME_RULE, 400)),
        (NEW, command("default", player=""), ("player", "", NAME_RULE, 400)),
        (NEW, command("default", player="x" * 41), ("player", "x" * 41, NAME_RULE, 400)),
        (NEW, command("default", player="a\nb"), ("player", "a\nb", NAME_RULE, 400)),
        (NEW, command("default", player=" ann"), ("player", " ann", NAME_RULE, 400)),
        (NEW, command("default", player="\u202eann"), ("player", "\u202eann", NAME_RULE, 400)),
    ],
)
def test_what_the_rules_forbid_is_named(world: World, asked: Command, broken: tuple[str, str, str, int]) -> None:
    """A broken rule names the field, its value, the rule, and the status."""
    with pytest.raises(RuleBroken) as caught:
        decide(world, asked)
    assert caught.value.args == broken


@pytest.mark.parametrize(
    ("world", "happened", "after"),
    [
        (OWL, event("default"), OWL),
        (NEW, event("purchased_sword"), World({"ann": Player(1)})),
        (OWL, event("purchased_sword"), World({"ann": Player(2, "owls")})),
        (OWL, event("sold_sword"), World({"ann": Player(0, "owls")})),
        (OWL, event("joined_guild", guild="foxes"), World({"ann": Player(1, "foxes")})),
        (OWL, event("purchased_sword", "bob"), World({"ann": Player(1, "owls"), "bob": Player(1)})),
        (NEW, event("sold_sword"), World({"ann": Player(-1)})),
    ],
)
def test_an_event_moves_the_world(world: World, happened: Event, after: World) -> None:
    """An event has happened and is taken as true, even one that the rules would not have allowed."""
    moved = World(dict(world.players))
    moved.move(happened)
    assert moved == after


def test_the_player_before_is_still_there() -> None:
    """A player is frozen: the next one is another, so the game may look at one while the world moves on."""
    before = Player(1)
    assert (evolve(before, event("purchased_sword")), before) == (Player(2), Player(1))


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_every_type_has_its_rule(kind: str) -> None:
    """Each event type moves the player, but for the plain visit: a row of the table without its case in `evolve`."""
    happened = event(kind, **dict.fromkeys(EVENT_TYPES[kind].fields, "owls"))
    assert (evolve(Player(), happened) == Player()) == (kind == "default")


@pytest.mark.parametrize("swords", [0, -1, -7])
def test_no_sword_is_sold_that_is_not_there(swords: int) -> None:
    """A world below zero (a topic whose purchases are gone) sells nothing, like an empty one."""
    with pytest.raises(RuleBroken, match="only a player who has a sword can sell one"):
        decide(World({"ann": Player(swords)}), command("sell_a_sword"))

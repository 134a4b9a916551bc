"""The game's rules as pure functions: `decide` makes events of a command, `evolve` applies an event to its player.

The game, the replay of a topic, and a game that starts on a topic with history use the same `evolve`.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime

from streaming_lab.game.events import ACTIONS, Event

LONGEST_NAME = 40  # characters of a player's or a guild's name
NAME_RULE = f"1 to {LONGEST_NAME} printable characters, no space at either end"


class RuleBroken(Exception):
    """A command that the rules forbid: the field, its value, the rule, and `status`, the HTTP code of the answer."""

    def __init__(self, field: str, value: str | None, rule: str, status: int = 409) -> None:
        super().__init__(field, value, rule, status)
        self.field = field
        self.value = value
        self.rule = rule
        self.status = status

    def __str__(self) -> str:
        return f"{self.field}={self.value!r}: {self.rule}"


@dataclass(frozen=True, slots=True)
class Player:
    """The possessions of one player."""

    swords: int = 0
    guild: str | None = None


NOBODY_YET = Player()


@dataclass(slots=True)
class World:
    """The players whose state an event has changed, by name; `move` applies an event, one thread at a time."""

    players: dict[str, Player] = field(default_factory=dict)

    def player(self, name: str) -> Player:
        """The named player; a player without events has nothing."""
        return self.players.get(name, NOBODY_YET)

    def move(self, event: Event) -> None:
        """Apply the event in place, at a cost that does not grow with the number of players."""
        before = self.player(event.player)
        after = evolve(before, event)
        if after is not before:
            self.players[event.player] = after


@dataclass(frozen=True, slots=True)
class Command:
    """One request of a player: action, request id, time (UTC), and the fields that its event keeps."""

    action: str
    player: str
    request_id: str
    at: datetime
    guild: str | None = None
    host: str = ""
    user_agent: str = ""

    @property
    def intent(self) -> tuple[str, str, str | None]:
        """Player, action and guild: two requests with the same id must agree in them."""
        return (self.player, self.action, self.guild)


def check_name(field: str, value: str | None) -> str:
    """The name, unchanged; RuleBroken (400) for one that is missing, too long, or not printable."""
    if value is None or not (0 < len(value) <= LONGEST_NAME and value.isprintable() and value == value.strip()):
        raise RuleBroken(field, value, NAME_RULE, 400)
    return value


def decide(world: World, command: Command) -> tuple[Event, ...]:
    """The events that the command causes in this world; RuleBroken when the rules forbid the command."""
    check_name("player", command.player)
    if command.action not in ACTIONS:
        raise RuleBroken("action", command.action, f"one of {', '.join(ACTIONS)}", 404)
    player = world.player(command.player)
    if command.action == "sell_a_sword" and player.swords < 1:  # below 0 where a topic has lost purchases
        raise RuleBroken("player", command.player, "only a player who has a sword can sell one")
    if command.action != "join_a_guild":
        return (_event(command),)
    guild = check_name("guild", command.guild)
    if guild == player.guild:
        raise RuleBroken("guild", guild, "a player joins a guild only once at a time")
    return (_event(command, guild=guild),)


def evolve(player: Player, event: Event) -> Player:
    """The player after the event; an event is a fact, so no rule is checked."""
    match event.event_type:
        case "purchased_sword":
            return replace(player, swords=player.swords + 1)
        case "sold_sword":
            return replace(player, swords=player.swords - 1)
        case "joined_guild":
            return replace(player, guild=event.fields["guild"])
        case _:
            return player


def _event(command: Command, **fields: str) -> Event:
    return Event(
        event_id=command.request_id,
        event_type=ACTIONS[command.action].name,
        player=command.player,
        at=command.at,
        host=command.host,
        user_agent=command.user_agent,
        fields=fields,
    )

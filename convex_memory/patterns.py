r"""Regular expressions that always finish.

`$regex` comes from callers, and a backtracking engine can be made to run for hours by thirty
characters. These patterns are run as automata instead: time grows with the length of the text,
whatever the pattern. The syntax is what Python and JavaScript read alike:

    abc  .  [a-z]  [^a-z]  \d \D \w \W \s \S  \n \r \t \.
    ^  $  (ab|cd)  (?:ab)  x*  x+  x?  x{2}  x{2,}  x{2,5}

`\d`, `\w` and `\s` are ASCII, `.` is anything but a line end, `^` and `$` are the ends of the
text. There are no back references, look-arounds or word boundaries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from convex_memory.errors import InvalidArgument, LimitExceeded

PATTERN_CHARS_MAX: Final = 256
GROUPS_NESTING_MAX: Final = 16
STEPS_MAX: Final = 512
"""Size of the automaton: counted repetitions such as `x{100}` are written out."""
TEXT_CHARS_MAX: Final = 65_536
"""Longest text a pattern is tried on: this many characters times `STEPS_MAX` bounds the work."""
_TRANSITIONS_MAX: Final = 4096
"""Remembered moves of one automaton; forgotten all at once when there are more."""

Test: TypeAlias = Callable[[str], bool]

_DIGIT: Final = frozenset("0123456789")
_WORD: Final = _DIGIT | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_SPACE: Final = frozenset(" \t\n\r\f\v")
_LINE_END: Final = frozenset("\n\r\u2028\u2029")
_CLASSES: Final = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS: Final = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v"}


@dataclass(frozen=True, slots=True)
class _Step:
    """One state: takes a character that passes `test`, or moves on for free to `to`."""

    test: Test | None = None
    to: tuple[int, ...] = ()
    at: str = ""
    """`^` or `$`: the free move is open only there."""


class Pattern:
    """A compiled pattern; made by `compile_pattern`."""

    def __init__(self, steps: tuple[_Step, ...], start: int) -> None:
        self._steps = steps
        self._first = self._close([start], at_start=True)
        self._again = self._close([start], at_start=False)
        self._moves: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def found_in(self, text: str) -> bool:
        """Whether the pattern occurs anywhere in `text`.

        Raises:
            LimitExceeded: The text has more than 65,536 characters.
        """
        if len(text) > TEXT_CHARS_MAX:
            raise LimitExceeded(
                f"A pattern met a text of {len(text)} characters; it is tried on at most "
                f"{TEXT_CHARS_MAX}. Filter on a shorter field."
            )
        current = self._first
        for character in text:
            if self._accepts(current):
                return True
            current = self._move(current, character)
        return self._accepts(current) or self._accepts(self._close(current, at_end=True))

    def _accepts(self, states: frozenset[int]) -> bool:
        return len(self._steps) in states

    def _move(self, states: frozenset[int], character: str) -> frozenset[int]:
        known = self._moves.get((states, character))
        if known is not None:
            return known
        reached = [
            target
            for state in states
            if state < len(self._steps)
            and (test := self._steps[state].test) is not None
            and test(character)
            for target in self._steps[state].to
        ]
        # A match may begin at every character, so the start is always among the states.
        moved = self._close(reached) | self._again
        if len(self._moves) >= _TRANSITIONS_MAX:
            self._moves = {}
        self._moves[states, character] = moved
        return moved

    def _close(
        self, states: Iterable[int], *, at_start: bool = False, at_end: bool = False
    ) -> frozenset[int]:
        closed: set[int] = set()
        waiting = list(states)
        while waiting:
            state = waiting.pop()
            if state in closed:
                continue
            closed.add(state)
            if state == len(self._steps):
                continue
            step = self._steps[state]
            # States behind an anchor stay in the set: at the end of the text `$` is asked again.
            if step.test is None and (
                not step.at or (step.at == "^" and at_start) or (step.at == "$" and at_end)
            ):
                waiting.extend(step.to)
        return frozenset(closed)


@lru_cache(maxsize=256)
def compile_pattern(pattern: str, ignore_case: bool = False) -> Pattern:
    """Read a pattern.

    Args:
        pattern: At most 256 characters of the syntax above.
        ignore_case: Whether letters match in either case.

    Raises:
        InvalidArgument: The syntax is wrong or not among what is offered.
        LimitExceeded: It is too long, or its counted repetitions are too large.
    """
    if len(pattern) > PATTERN_CHARS_MAX:
        raise LimitExceeded(
            f"The pattern has {len(pattern)} characters; at most {PATTERN_CHARS_MAX} are allowed."
        )
    return _Reader(pattern, ignore_case).read()


_Fragment: TypeAlias = Callable[[int], int]
"""Writes its steps so that they lead on to a given state; answers with their first state."""


class _Reader:
    """Recursive descent over one pattern. Fragments are written back to front."""

    def __init__(self, pattern: str, ignore_case: bool) -> None:
        self._pattern = pattern
        self._ignore_case = ignore_case
        self._at = 0
        self._nesting = 0
        self._steps: list[_Step] = []

    def read(self) -> Pattern:
        whole = self._alternatives()
        if self._at < len(self._pattern):
            raise self._wrong("has a ')' without its '('")
        # The accepting state is numbered -1 while the number of steps is not known.
        start = whole(-1)
        last = len(self._steps)
        steps = tuple(
            _Step(step.test, tuple(last if to == -1 else to for to in step.to), step.at)
            for step in self._steps
        )
        return Pattern(steps, last if start == -1 else start)

    def _wrong(self, what: str) -> InvalidArgument:
        return InvalidArgument(f"The pattern {what} (before character {self._at + 1}).")

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._peek()
        if not character:
            raise self._wrong("ends too early")
        self._at += 1
        return character

    def _put(self, step: _Step) -> int:
        if len(self._steps) >= STEPS_MAX:
            raise LimitExceeded(
                f"The pattern stands for more than {STEPS_MAX} steps; "
                "make its {m,n} repetitions smaller."
            )
        self._steps.append(step)
        return len(self._steps) - 1

    def _alternatives(self) -> _Fragment:
        branches = [self._sequence()]
        while self._peek() == "|":
            self._take()
            branches.append(self._sequence())
        if len(branches) == 1:
            return branches[0]
        return lambda then: self._put(_Step(to=tuple(branch(then) for branch in branches)))

    def _sequence(self) -> _Fragment:
        parts: list[_Fragment] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))
        if not parts:
            return self._nothing

        def write(then: int) -> int:
            for part in reversed(parts):
                then = part(then)
            return then

        return write

    def _atom(self) -> _Fragment:
        character = self._take()
        match character:
            case "(":
                return self._group()
            case "[":
                return self._one(self._set())
            case ".":
                return self._one(lambda text: text not in _LINE_END)
            case "^" | "$":
                return lambda then: self._put(_Step(to=(then,), at=character))
            case "\\":
                return self._one(self._escape())
            case "*" | "+" | "?" | "{":
                raise self._wrong(f"repeats nothing with '{character}'; write \\{character}")
            case _:
                return self._one(self._same(character))

    def _nothing(self, then: int) -> int:
        # Even nothing is written as a step, so that `STEPS_MAX` bounds what `(){9999}` costs.
        return self._put(_Step(to=(then,)))

    def _one(self, test: Test) -> _Fragment:
        return lambda then: self._put(_Step(test=test, to=(then,)))

    def _group(self) -> _Fragment:
        if self._peek() == "?":
            self._take()
            if self._take() != ":":
                raise self._wrong("uses '(?'; only (…) and (?:…) are offered")
        self._nesting += 1
        if self._nesting > GROUPS_NESTING_MAX:
            raise self._wrong(f"nests groups more than {GROUPS_NESTING_MAX} deep")
        inner = self._alternatives()
        if self._peek() != ")":
            raise self._wrong("has a '(' without its ')'")
        self._take()
        self._nesting -= 1
        return inner

    def _repeated(self, part: _Fragment) -> _Fragment:
        bounds = self._bounds()
        if bounds is None:
            return part
        if self._peek() in ("?", "+", "*", "{"):
            raise self._wrong("repeats a repetition; lazy and possessive forms are not offered")
        low, high = bounds
        if high == 0:
            return self._nothing

        def write(then: int) -> int:
            if high is None:
                loop = self._put(_Step())
                self._steps[loop] = _Step(to=(part(loop), then))
                then = loop
            else:
                for _ in range(high - low):
                    then = self._put(_Step(to=(part(then), then)))
            for _ in range(low):
                then = part(then)
            return then

        return write

    def _bounds(self) -> tuple[int, int | None] | None:
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        sign = self._peek()
        if sign in simple:
            self._take()
            return simple[sign]
        if sign != "{":
            return None
        closing = self._pattern.find("}", self._at)
        low, comma, high = self._pattern[self._at + 1 : max(closing, 0)].partition(",")
        if not _is_count(low) or (high and not _is_count(high)):
            raise self._wrong("has a '{' that is not {m}, {m,} or {m,n}; write \\{ for the sign")
        self._at = closing + 1
        most = int(high) if high else (None if comma else int(low))
        if most is not None and most < int(low):
            raise self._wrong("has a {m,n} with n smaller than m")
        return int(low), most

    def _same(self, character: str) -> Test:
        if not self._ignore_case:
            return lambda text: text == character
        folded = character.lower()
        return lambda text: text.lower() == folded

    def _escape(self) -> Test:
        character = self._take()
        if character.lower() in _CLASSES:
            members = _CLASSES[character.lower()]
            if character.isupper():
                return lambda text: text not in members
            return lambda text: text in members
        return self._same(self._escaped(character))

    def _escaped(self, character: str) -> str:
        if character in _CONTROLS:
            return _CONTROLS[character]
        if character.isalnum():
            raise self._wrong(f"uses \\{character}, which is not offered")
        return character

    def _set(self) -> Test:
        negated = self._peek() == "^"
        if negated:
            self._take()
        if self._peek() == "]":
            raise self._wrong("has an empty []; write \\] for the sign")
        tests: list[Test] = []
        while self._peek() != "]":
            tests.append(self._member())
        self._take()
        return lambda text: any(test(text) for test in tests) is not negated

    def _member(self) -> Test:
        character = self._take()
        if character == "\\":
            if self._peek().lower() in _CLASSES:
                return self._escape()
            character = self._escaped(self._take())
        following = self._pattern[self._at + 1 : self._at + 2]
        if self._peek() != "-" or following in ("", "]"):
            return self._same(character)
        self._take()
        last = self._take()
        if last == "\\":
            last = self._escaped(self._take())
        if last < character:
            raise self._wrong(f"has the range {character}-{last}, which is empty")
        if not self._ignore_case:
            return lambda text: character <= text <= last
        return lambda text: any(
            character <= form <= last for form in (text, text.lower(), text.upper())
        )


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4

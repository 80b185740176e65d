"""Scores: what an evaluation said about one run of an agent or a workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final

from convex_memory.limits import DOCUMENT_NESTING_MAX
from convex_memory.records import instant_in, iso_text, utc_now
from convex_memory.store.answers import PerPage
from convex_memory.store.domain import optional_text, text
from convex_memory.store.fields import number, row_in
from convex_memory.values import Value, check, whole_numbers

_WHAT: Final = "score"


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One score. Values are any JSON; None stands for what is absent.

    Attributes:
        scorer_id: The scorer that gave it.
        run_id: The run it is about.
        source: `LIVE` or `TEST`.
        score: The number.
        scorer: What is known about the scorer.
        output: What the run put out.
        input: What the run was given.
        entity_id: The agent or workflow that ran.
        entity_type: What kind of thing that is, for instance `AGENT`.
        entity: What is known about it.
        reason: Why the scorer gave this number.
        metadata: Members of the application's own.
        trace_id: The trace of the run.
        span_id: The span in that trace.
        resource_id: Whose conversation it was.
        thread_id: The conversation.
        organization_id: The tenant.
        project_id: The tenant's project.
        batch_id: The batch of an evaluation.
        dataset_id: The data set of an evaluation.
        dataset_item_id: The item of the data set.
        additional_context: What else the scorer was given.
        request_context: The context of the request that ran.
        preprocess_step_result: What the scorer's preprocessing gave.
        extract_step_result: What its extraction gave.
        analyze_step_result: What its analysis gave.
        preprocess_prompt: The prompt of its preprocessing.
        extract_prompt: The prompt of its extraction.
        analyze_prompt: The prompt of its analysis.
        generate_score_prompt: The prompt that asked for the number.
        generate_reason_prompt: The prompt that asked for the reason.
        reason_prompt: The same, as older versions named it.
        id: Made when the score is saved.
        created_at: When it was saved.
        updated_at: When it was saved.
    """

    scorer_id: str
    run_id: str
    source: str
    score: float
    scorer: Value = field(default_factory=dict)
    output: Value = None
    input: Value = None
    entity_id: str | None = None
    entity_type: str | None = None
    entity: Value = None
    reason: str | None = None
    metadata: Value = None
    trace_id: str | None = None
    span_id: str | None = None
    resource_id: str | None = None
    thread_id: str | None = None
    organization_id: str | None = None
    project_id: str | None = None
    batch_id: str | None = None
    dataset_id: str | None = None
    dataset_item_id: str | None = None
    additional_context: Value = None
    request_context: Value = None
    preprocess_step_result: Value = None
    extract_step_result: Value = None
    analyze_step_result: Value = None
    preprocess_prompt: str | None = None
    extract_prompt: str | None = None
    analyze_prompt: str | None = None
    generate_score_prompt: str | None = None
    generate_reason_prompt: str | None = None
    reason_prompt: str | None = None
    id: str = ""
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)

    @classmethod
    def from_row(cls, row: Value) -> Score:
        """Read a score from a stored row.

        Raises:
            InvalidResponse: The row is not a score.
        """
        stored = row_in(row, _WHAT)
        given: dict[str, Any] = {
            name: text(stored, _camel(name)) for name in ("id", "scorer_id", "run_id", "source")
        }
        given |= {name: optional_text(stored, _camel(name)) for name in _TEXTS}
        given |= {name: whole_numbers(stored.get(_camel(name))) for name in _VALUES}
        return cls(
            **given,
            score=number(stored, "score"),
            created_at=instant_in(stored, "createdAt", _WHAT),
            updated_at=instant_in(stored, "updatedAt", _WHAT),
        )

    def to_row(self) -> dict[str, Value]:
        """Return the row that stores this score, without the members that are None.

        Raises:
            InvalidArgument: A value cannot be stored, or a date has no zone.
            LimitExceeded: A value is nested too deeply or has too many members.
        """
        row: dict[str, Value] = {
            "id": self.id,
            "scorerId": self.scorer_id,
            "runId": self.run_id,
            "source": self.source,
            "score": self.score,
            "createdAt": iso_text(self.created_at, "created_at"),
            "updatedAt": iso_text(self.updated_at, "updated_at"),
        }
        for name in (*_TEXTS, *_VALUES):
            value: Value = getattr(self, name)
            # A row needs these three, and they may be null.
            if value is not None or name in ("scorer", "input", "output"):
                check(value, name, nesting_max=DOCUMENT_NESTING_MAX - 1)
                row[_camel(name)] = value
        return row


# Every member but those that a row always has is named once, above.
_TEXTS: Final = tuple(each.name for each in fields(Score) if each.type == "str | None")
_VALUES: Final = tuple(each.name for each in fields(Score) if each.type == "Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFilter:
    """Whose scores to list; None is everybody's.

    Attributes:
        organization_id: Only those of this tenant.
        project_id: Only those of this project.
    """

    organization_id: str | None = None
    project_id: str | None = None

    def to_fields(self) -> Mapping[str, Value]:
        """Return the fields of a row that have to be equal."""
        given = {"organizationId": self.organization_id, "projectId": self.project_id}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePage:
    """A numbered page of scores.

    Attributes:
        scores: The newest first.
        total: Scores that match, on all pages.
        page: Which page, from zero.
        per_page: Scores a page holds; `False` when everything is on this one.
        has_more: Whether there is a next page.
    """

    scores: list[Score]
    total: int
    page: int
    per_page: PerPage
    has_more: bool

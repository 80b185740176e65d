"""What a tool is: a typed function, its schemas, and how its outcome is told to an assistant."""

from __future__ import annotations

import inspect
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar, get_type_hints

from mcp import MCPError
from mcp.types import CallToolResult, TextContent, Tool, ToolAnnotations
from pydantic import BaseModel, ConfigDict, ValidationError

from convex_memory.errors import ConvexMemoryError
from tools.adapters import Adapters
from tools.arguments import json_of

logger = logging.getLogger(__name__)

ERROR_META: Final = "convex-memory/error"
"""Where in `_meta` of a failed call its code is."""
_SHOWN_INPUT_CHARS: Final = 60
"""How much of a refused value an error repeats."""


class Arguments(BaseModel):
    """Base of every tool's arguments: unknown ones are refused, not ignored."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class Answer(BaseModel):
    """Base of every tool's structured answer.

    A field that may be left out has a default, and is left out while it has that value.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)


class Progress(Protocol):
    """Reports how far a call has come, to a client that asked to know."""

    async def __call__(self, done: float, total: float | None = None) -> None:
        """Send one progress notification."""


ArgumentsT = TypeVar("ArgumentsT", bound=Arguments)
AnswerT = TypeVar("AnswerT", bound=Answer)
Handler = Callable[[ArgumentsT, Adapters, Progress], Awaitable[AnswerT]]


@dataclass(frozen=True, slots=True)
class MemoryTool:
    """One published tool.

    Attributes:
        definition: What clients are told of it.
        arguments: What it takes.
        handler: What it does.
        long: It may take so long that a client had better not wait for it.
    """

    definition: Tool
    arguments: type[Arguments]
    handler: Handler[Any, Any]
    long: bool = False

    @property
    def repeatable(self) -> bool:
        """Whether calling it again changes nothing more, by its annotation."""
        annotations = self.definition.annotations
        return annotations is not None and annotations.idempotent_hint is True

    @property
    def read_only(self) -> bool:
        """Whether the tool only reads, by its annotation."""
        annotations = self.definition.annotations
        return annotations is not None and annotations.read_only_hint is True

    async def call(
        self, given: Mapping[str, Any], adapters: Adapters, progress: Progress
    ) -> CallToolResult:
        """Run the tool; every failure becomes an answer that a model can act on.

        Raises:
            MCPError: The tool answers with an error of the protocol.
        """
        try:
            arguments = self.arguments.model_validate(dict(given))
            answer = await self.handler(arguments, adapters, progress)
        except ValidationError as error:
            return refusal("invalid_argument", _told(error, self.arguments))
        except ConvexMemoryError as error:
            return refusal(error.code, error.message, error.details)
        except MCPError:
            raise
        except Exception:
            incident = secrets.token_hex(4)
            logger.exception("tool %s failed, incident %s", self.definition.name, incident)
            return refusal(
                "internal",
                f"The server failed on this call (incident {incident}, see its log). Nothing is "
                "known to have changed; try again, or go on without it.",
            )
        structured = answer.model_dump(mode="json", exclude_defaults=True)
        return CallToolResult(
            content=[TextContent(type="text", text=json_of(structured))],
            structured_content=structured,
        )


@dataclass(slots=True)
class Toolset:
    """A named group of tools that is switched on and off together."""

    name: str
    tools: dict[str, MemoryTool] = field(default_factory=dict)

    def tool(
        self,
        title: str,
        *,
        reads: bool = False,
        destroys: bool = False,
        repeatable: bool = False,
        long: bool = False,
    ) -> Callable[[Handler[ArgumentsT, AnswerT]], Handler[ArgumentsT, AnswerT]]:
        """Publish an async function as a tool.

        Its docstring is the description the model reads; its first parameter's type gives the
        input schema, its return type the output schema.

        Args:
            title: What people see.
            reads: It changes nothing.
            destroys: It may remove or overwrite what is stored.
            repeatable: Calling it again with the same arguments changes nothing more.
            long: It may take so long that a client had better not wait for it.
        """

        def publish(handler: Handler[ArgumentsT, AnswerT]) -> Handler[ArgumentsT, AnswerT]:
            hints = get_type_hints(handler)
            arguments = hints["arguments"]
            name = handler.__name__
            self.tools[name] = MemoryTool(
                Tool(
                    name=name,
                    title=title,
                    description=" ".join(inspect.getdoc(handler).split()),  # type: ignore[union-attr]
                    input_schema=lean_schema(arguments),
                    output_schema=lean_schema(hints["return"]),
                    annotations=ToolAnnotations(
                        title=title,
                        read_only_hint=reads,
                        destructive_hint=destroys,
                        idempotent_hint=reads or repeatable,
                        open_world_hint=False,
                    ),
                ),
                arguments,
                handler,
                long,
            )
            return handler

        return publish


def refusal(code: str, message: str, details: Mapping[str, Any] | None = None) -> CallToolResult:
    """Return a failed call: the code and a sentence as text, both again for programs in `_meta`.

    There is no structured content: strict clients hold it against the output schema even when
    the call failed.
    """
    return CallToolResult(
        content=[TextContent(type="text", text=f"{code}: {message}")],
        is_error=True,
        _meta={ERROR_META: {"code": code, **({"details": details} if details else {})}},
    )


def _told(error: ValidationError, model: type[Arguments]) -> str:
    """Put pydantic's findings in sentences, with the choices and without long input."""
    sentences = []
    for problem in error.errors(include_url=False)[:5]:
        where = ".".join(map(_named, problem["loc"])) or "arguments"
        if problem["type"] == "extra_forbidden":
            names = ", ".join(model.model_fields)
            sentences.append(f"There is no argument {where}; the arguments are {names}.")
        elif problem["type"] == "missing":
            sentences.append(f"{where} is required.")
        else:
            shown = json.dumps(problem["input"], default=str)
            value = f" (got {shown})" if len(shown) <= _SHOWN_INPUT_CHARS else ""
            sentences.append(f"{where}: {problem['msg'].removeprefix('Value error, ')}{value}.")
    return " ".join(sentence.replace("..", ".") for sentence in sentences)


def _named(part: int | str) -> str:
    """Name an argument the caller made up: it may be long, or not even text that can be sent."""
    return str(part)[:_SHOWN_INPUT_CHARS].encode(errors="backslashreplace").decode()


# --- Schemas

_UNSAID: Final = frozenset({"title", "minLength", "maxLength"})
"""What a model need not read before it calls; a call that breaks a length is told."""


def lean_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's JSON schema without what only costs tokens.

    Definitions are inlined (several clients fail on `$ref`); titles, lengths, null defaults and
    what goes without saying are dropped; and where a field may be left out, "this or null"
    becomes "this".
    """
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    lean: dict[str, Any] = _lean(schema, definitions)
    lean.pop("description", None)
    return lean


def _lean(schema: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_lean(each, definitions) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" in schema:
        target = dict(definitions[str(schema["$ref"]).rpartition("/")[2]])
        target.pop("description", None)
        return _lean(target | {k: v for k, v in schema.items() if k != "$ref"}, definitions)
    lean: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "properties":
            lean[name] = {
                key: _or_null(_lean(each, definitions), key in schema.get("required", ()))
                for key, each in value.items()
            }
        elif name not in _UNSAID and (name, said := _lean(value, definitions)) not in _EMPTY:
            lean[name] = said
    return lean


_EMPTY: Final[tuple[tuple[str, object], ...]] = (
    ("default", None),
    ("additionalProperties", True),
    ("additionalProperties", {}),
    ("minimum", 0),
    ("minimum", 1),
    ("minItems", 1),
)


def _or_null(schema: dict[str, Any], required: bool) -> dict[str, Any]:
    kinds = schema.get("anyOf")
    if kinds is None or {"type": "null"} not in kinds:
        return schema
    others = [kind for kind in kinds if kind != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    if len(others) != 1:
        return schema
    if required:
        return {**others[0], **rest, "type": [others[0]["type"], "null"]}
    return {**others[0], **rest}

"""What `doctor` looks at on a Convex deployment: there, ours, complete, and closed to others."""

from __future__ import annotations

from typing import Final

from convex_memory.capabilities import VERSION_FUNCTION
from convex_memory.deployment import Deployment
from convex_memory.errors import (
    ConvexMemoryError,
    FunctionError,
    FunctionNotDeployed,
    NotFound,
    Unauthorized,
)
from convex_memory.values import Value
from server.convex_access import look_closed, reach, somebody
from server.convex_probes import ABSENT_ID, Probe, configured, ours, standard
from server.finding import Finding
from server.function_files import load_source
from server.settings import NativeIndexSettings, Settings

CALL_MS_MAX: Final = 10_000
"""How long one look may take, whatever the settings allow other calls, in milliseconds."""

_DEPLOY: Final = (
    "Run `convex-memory functions DIR` in the Convex project, then `npx convex deploy`."
)


async def examine(deployment: Deployment, settings: Settings) -> list[Finding]:
    """Look at the deployment that the settings name.

    Where it cannot be reached, nothing else is tried; where it refuses the key, nothing that
    needs it.

    Args:
        deployment: That deployment, with a deadline for each call.
        settings: Where it is, and what its functions are called.
    """
    url = str(settings.convex_url)
    async with somebody(url) as client:
        findings = [await reach(client, url)]
        if findings[0].ok:
            findings += await _with_key(deployment, settings)
            probes = {probe.path: probe for probe in ours()}
            # The same path in both: the settings' own call of it is as good.
            probes |= {probe.path: probe for probe in (*standard(settings), *configured(settings))}
            findings.append(await look_closed(client, url, list(probes.values())))
    return findings


async def _with_key(deployment: Deployment, settings: Settings) -> list[Finding]:
    findings = await _functions(deployment)
    if findings[0].ok:
        findings += await _paths(deployment, settings)
        for name, index in settings.native_indexes.items():
            findings.append(await _native_index(deployment, settings, name, index))
    return findings


async def _functions(deployment: Deployment) -> list[Finding]:
    """What the key opens, and which functions are there. The first says whether to go on."""
    accepted = Finding("key", True, "accepted")
    none = Finding("functions", False, f"None of ours is deployed (memory/*). {_DEPLOY}")
    try:
        answer = await deployment.call("query", VERSION_FUNCTION, {})
    except Unauthorized as error:
        return [Finding("key", False, f"{error.message} CONVEX_ADMIN_KEY holds it.")]
    except FunctionNotDeployed:
        return [accepted, none]
    except ConvexMemoryError as error:
        # A production deployment says no more of a missing function than that it failed.
        if type(error) is FunctionError:
            return [accepted, none]
        return [Finding("functions", False, error.message)]
    compared = _compared(answer)
    return [accepted, compared, *([await _tables(deployment)] if compared.ok else [])]


def _compared(answer: Value) -> Finding:
    match answer:
        case {"version": str(version), "functions": [*deployed]} if version.isdecimal():
            pass
        case _:
            told = f"{VERSION_FUNCTION} answers something else than a version. {_DEPLOY}"
            return Finding("functions", False, told)
    source = load_source()
    here, needed = source.version, source.functions
    if int(version) > here:
        told = f"Version {version} is deployed, newer than this package's {here}."
        return Finding("functions", False, f"{told} Update convex-memory.")
    missing = [path for path in needed if path not in deployed]
    lacking = f" It lacks {', '.join(missing)}." if missing else ""
    if int(version) < here:
        told = f"Version {version} is deployed, older than this package's {here}."
        return Finding("functions", False, f"{told}{lacking} {_DEPLOY}")
    if missing:
        told = f"Version {version} is deployed, as here, but not whole."
        return Finding("functions", False, f"{told}{lacking} {_DEPLOY}")
    return Finding("functions", True, f"version {version} as here, all {len(needed)} of memory/*")


async def _tables(deployment: Deployment) -> Finding:
    """Whether the schema has our tables, shown by a count, which reads several by an index."""
    try:
        await deployment.call("query", "memory/meta:stats", {})
    except ConvexMemoryError as error:
        told = (
            f"The functions are there, but cannot count their rows: {error.message} Perhaps the "
            "schema lacks ...memoryTables; `convex-memory functions DIR` says where it belongs."
        )
        return Finding("tables", False, told)
    return Finding("tables", True, "in the schema")


async def _paths(deployment: Deployment, settings: Settings) -> list[Finding]:
    """Whether the functions of the wire protocol are where the settings say."""
    storage, cache, *native = configured(settings)
    findings = [
        await _answers(deployment, "storage", storage),
        await _answers(deployment, "cache", cache),
    ]
    if not settings.native_indexes:
        looked = [await _answers(deployment, "native", probe) for probe in native]
        paths = ", ".join(probe.path for probe in native)
        is_there = all(finding.ok for finding in looked)
        told = paths if is_there else "not needed without CONVEX_NATIVE_VECTOR_INDEXES"
        findings.append(Finding("native", True, told))
    return findings


async def _answers(deployment: Deployment, subject: str, probe: Probe) -> Finding:
    try:
        answer = await deployment.call(probe.kind, probe.path, probe.args, retry=True)
    except NotFound:
        # It looked for the table in the call, which nobody has.
        return Finding(subject, True, probe.path)
    except ConvexMemoryError as error:
        return Finding(subject, False, f"{error.message} {probe.setting} says {probe.path}.")
    match answer:
        case {"ok": False, "error": str(refusal)}:
            return Finding(subject, False, f"{probe.path} refuses to read: {refusal[:300]}")
    return Finding(subject, True, probe.path)


async def _native_index(
    deployment: Deployment, settings: Settings, name: str, index: NativeIndexSettings
) -> Finding:
    """Whether the schema has a table, its vector index and its filter fields as configured."""
    config: dict[str, Value] = {
        "tableName": index.tableName,
        "vectorIndexName": index.vectorIndexName,
        "dimension": index.dimension,
        "idField": index.idField,
        "idIndexName": index.idIndexName,
        "vectorField": index.vectorField,
        "metadataField": index.metadataField,
        "filterFields": list(index.filterFields),
    }
    vector: list[Value] = [1.0, *[0.0] * (index.dimension - 1)]
    search: dict[str, Value] = {"config": config, "vector": vector, "limit": 1}
    filters: list[dict[str, Value]] = [
        {"filter": {"field": field, "value": ABSENT_ID}} for field in index.filterFields
    ]
    read: dict[str, Value] = {"op": "listByIds", "config": config, "ids": [ABSENT_ID]}
    write: dict[str, Value] = {"op": "deleteByIds", "config": config, "ids": []}
    try:
        for each in filters or [{}]:
            await deployment.call("action", settings.native_vector_action, {**search, **each})
        await deployment.call("query", settings.native_vector_query, read)
        await deployment.call("mutation", settings.native_vector_mutation, write, retry=True)
    except FunctionNotDeployed as error:
        return Finding(f"index {name}", False, error.message)
    except ConvexMemoryError as error:
        told = f"{error.message} The schema and CONVEX_NATIVE_VECTOR_INDEXES have to agree."
        return Finding(f"index {name}", False, told)
    return Finding(f"index {name}", True, f"{index.tableName}, {index.dimension} dimensions")

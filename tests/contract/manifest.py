"""All that is promised, and where it cannot be shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

from tests.contract import (
    requirements_cache,
    requirements_domains_a,
    requirements_domains_b,
    requirements_embeddings,
    requirements_forgetting,
    requirements_principals,
    requirements_scheduling,
    requirements_store,
    requirements_transfer,
    requirements_vector,
    requirements_wire,
)
from tests.contract.exclusions import EXCLUSIONS, Exclusion
from tests.contract.requirements import Requirement


def excluding(
    requirements: Mapping[str, Requirement], exclusions: Iterable[Exclusion]
) -> dict[str, Requirement]:
    """Write exclusions into the requirements that they name.

    Raises:
        ValueError: An exclusion names no requirement, or one that is excluded there already.
    """
    written = dict(requirements)
    for exclusion in exclusions:
        for pattern in exclusion.names:
            names = [name for name in written if fnmatchcase(name, pattern)]
            if not names:
                raise ValueError(f"{pattern} names no requirement.")
            for name in names:
                written[name] = _excluded(name, written[name], exclusion)
    return written


def _excluded(name: str, requirement: Requirement, exclusion: Exclusion) -> Requirement:
    twice = requirement.excluded.keys() & set(exclusion.legs)
    if twice:
        raise ValueError(f"{name} is excluded twice from {', '.join(sorted(twice))}.")
    reasons = dict.fromkeys(exclusion.legs, exclusion.reason)
    return replace(requirement, excluded={**requirement.excluded, **reasons})


REQUIREMENTS: Final[Mapping[str, Requirement]] = excluding(
    {
        **requirements_store.REQUIREMENTS,
        **requirements_vector.REQUIREMENTS,
        **requirements_cache.REQUIREMENTS,
        **requirements_domains_a.REQUIREMENTS,
        **requirements_domains_b.REQUIREMENTS,
        **requirements_wire.REQUIREMENTS,
        **requirements_scheduling.REQUIREMENTS,
        **requirements_transfer.REQUIREMENTS,
        **requirements_forgetting.REQUIREMENTS,
        **requirements_embeddings.REQUIREMENTS,
        **requirements_principals.REQUIREMENTS,
    },
    EXCLUSIONS,
)
"""Requirement → what is promised, and which leg cannot show it."""

"""Resources: a text, an image, one that is subscribed to, and a template."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from mcp.types import BlobResourceContents, Resource, ResourceTemplate, TextResourceContents

from server.conformance.fixture import PNG

RESOURCES: Final = (
    Resource(
        uri="test://static-text",
        name="static-text",
        description="A text.",
        mime_type="text/plain",
    ),
    Resource(
        uri="test://static-binary",
        name="static-binary",
        description="An image.",
        mime_type="image/png",
    ),
    Resource(
        uri="test://watched-resource",
        name="watched-resource",
        description="A text to subscribe to.",
        mime_type="text/plain",
    ),
)
TEMPLATE: Final = ResourceTemplate(
    uri_template="test://template/{id}/data",
    name="template",
    description="A text with the id in it.",
    mime_type="application/json",
)
_CONTENTS: Final[Mapping[str, TextResourceContents | BlobResourceContents]] = {
    "test://static-text": TextResourceContents(
        uri="test://static-text",
        mime_type="text/plain",
        text="This is the content of the static text resource.",
    ),
    "test://static-binary": BlobResourceContents(
        uri="test://static-binary", mime_type="image/png", blob=PNG
    ),
    "test://watched-resource": TextResourceContents(
        uri="test://watched-resource", mime_type="text/plain", text="Watched resource content."
    ),
}


def contents(uri: str) -> TextResourceContents | BlobResourceContents | None:
    """Return what a resource of the suite says; None where it has no such resource."""
    match = re.fullmatch(r"test://template/([^/]+)/data", uri)
    if match is None:
        return _CONTENTS.get(uri)
    filled = {"id": match[1], "templateTest": True, "data": f"Data for ID: {match[1]}"}
    return TextResourceContents(uri=uri, mime_type="application/json", text=json.dumps(filled))

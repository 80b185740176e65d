"""Moving a memory: every row out of a deployment into a file, and from a file into a deployment.

`export_file` has the format, `exporting` and `importing` the work over `memory/transfer:*`. The
two deployments and the way there make no difference to the file.
"""

from __future__ import annotations

from convex_memory.moving.destination import opened_for_writing
from convex_memory.moving.export_file import ExportWriter, Header, MovedTable
from convex_memory.moving.exporting import Exported, export_rows
from convex_memory.moving.importing import import_rows
from convex_memory.moving.inventory import Inventory, inventory_of
from convex_memory.moving.restoring import Imported, ImportOptions

__all__ = [
    "ExportWriter",
    "Exported",
    "Header",
    "ImportOptions",
    "Imported",
    "Inventory",
    "MovedTable",
    "export_rows",
    "import_rows",
    "inventory_of",
    "opened_for_writing",
]

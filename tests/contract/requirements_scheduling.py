"""What live scheduling promises."""

from __future__ import annotations

from tests.contract.requirements import Requirement

_CLOCK = {"live": "the platform's clock cannot be set"}

REQUIREMENTS: dict[str, Requirement] = {
    "scheduling:fires": Requirement("What is due fires once, and its history says so.", _CLOCK),
    "scheduling:missed": Requirement("Fires that were missed happen once, late.", _CLOCK),
    "scheduling:fails": Requirement("A failed action is recorded and not tried again.", _CLOCK),
    "scheduling:paused": Requirement("A schedule that cannot be read is paused."),
    "scheduling:claim": Requirement("A fire is claimed and recorded in one transaction, once."),
    "scheduling:crash": Requirement("A fire whose runner died is visible, and never fires again."),
}

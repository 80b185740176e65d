"""What live scheduling promises."""

from __future__ import annotations

from tests.contract.requirements import NO_CLOCK, Requirement

_OTHERS = {"live": "it would fire the schedules of others"}

REQUIREMENTS: dict[str, Requirement] = {
    "scheduling:fires": Requirement("What is due fires once, and its history says so.", NO_CLOCK),
    "scheduling:missed": Requirement("Fires that were missed happen once, late.", NO_CLOCK),
    "scheduling:fails": Requirement("A failed action is recorded and not tried again.", NO_CLOCK),
    "scheduling:paused": Requirement("A schedule that cannot be read is paused.", _OTHERS),
    "scheduling:claim": Requirement("A fire is claimed and recorded in one transaction, once."),
    "scheduling:crash": Requirement("A fire whose runner died is visible, and never fires again."),
}

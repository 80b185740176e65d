"""What the store promises about workflows, schedules and background tasks."""

from __future__ import annotations

from tests.contract.requirements import LIVE, NO_CLOCK, OF_OTHERS, Requirement

_NO_OLD_ROWS = dict.fromkeys(LIVE, "no request makes a row as old versions did")

_ANYWHERE = {
    # --- Workflows
    "store:workflows:persist": "A persisted snapshot is read back as it was, with its dates.",
    "store:workflows:persist:again": (
        "Persisting again replaces the snapshot and keeps the creation date."
    ),
    "store:workflows:persist:resource": "A snapshot persisted without a resource keeps its own.",
    "store:workflows:persist:values": "Every JSON value in a snapshot survives.",
    "store:workflows:persist:refusals": "A snapshot that is not JSON is refused.",
    "store:workflows:persist:names": (
        "Two runs whose names run together to one id do not overwrite each other."
    ),
    "store:workflows:load": "The snapshot of a run that does not exist is None.",
    "store:workflows:load:old": "Snapshots that old writers left as objects or empty are read.",
    "store:workflows:results": "A step's result is merged into the context, which comes back.",
    "store:workflows:results:outputs": "Outputs that are arrays are merged element by element.",
    "store:workflows:results:context": "Members of the request context are merged as well.",
    "store:workflows:results:concurrent": "Steps that report at the same time all take effect.",
    "store:workflows:results:absent": "Merging a result into an absent run is NotFound.",
    "store:workflows:state": "Members of a snapshot are replaced whole; all of it comes back.",
    "store:workflows:state:absent": "The state of an absent run is None.",
    "store:workflows:state:concurrent": (
        "States and results that are merged at the same time all take effect."
    ),
    "store:workflows:list": "Runs are listed newest first, those of one instant in row order.",
    "store:workflows:list:filters": "Runs are filtered by workflow, resource, status and dates.",
    "store:workflows:list:pages": "Runs are cut into pages only when page and size are given.",
    "store:workflows:list:refusals": "A negative page and a date that is none are refused.",
    "store:workflows:get": "A run is found with its workflow, and without it.",
    "store:workflows:delete": "Deleting a run deletes exactly that one; an absent one is fine.",
    # --- Schedules
    "store:schedules:create": "A created schedule is read back as it was.",
    "store:schedules:create:duplicate": "A second schedule with one id is refused.",
    "store:schedules:create:refusals": (
        "A schedule without an id or a usable target is refused without a request."
    ),
    "store:schedules:get": "A schedule that does not exist is None.",
    "store:schedules:get:old": "A heartbeat of old versions is read as an agent's schedule.",
    "store:schedules:get:target": "A stored target that is none is named with its schedule.",
    "store:schedules:list": "Schedules are listed the oldest first.",
    "store:schedules:list:filters": "Schedules are filtered by status, workflow and owner.",
    "store:schedules:list:owner": "None asks for schedules that nobody owns.",
    "store:schedules:list:most": "Of 8,000 schedules or more the rest is left out, with a warning.",
    "store:schedules:list:table": "A deployment without tables for schedules has no schedules.",
    "store:schedules:due": "Due are active schedules whose time has come, the longest due first.",
    "store:schedules:due:limit": "At most so many due schedules come as asked for, else 100.",
    "store:schedules:update": "What an update leaves out stays; the rest is as it says.",
    "store:schedules:update:clear": "What can be absent is cleared with None.",
    "store:schedules:update:target": "A schedule is found by the workflow of its new target.",
    "store:schedules:update:nothing": "An update of nothing reads the schedule and stamps nothing.",
    "store:schedules:update:absent": "Updating an absent schedule is NotFound.",
    "store:schedules:claim:lost": (
        "A fire that somebody claimed, of a paused or absent schedule, is not claimed."
    ),
    "store:schedules:claim:concurrent": "Of many who claim one fire exactly one gets it.",
    "store:schedules:claim:processes": (
        "Eight processes that claim 1,000 due schedules fire each exactly once."
    ),
    "store:schedules:delete": "A deleted schedule takes its history along, and no other's.",
    "store:schedules:triggers:record": "A recorded trigger is read back, with an id of its own.",
    "store:schedules:triggers:duplicate": "A second trigger with one id is refused.",
    "store:schedules:triggers:list": "Triggers come newest first, from inclusive, to exclusive.",
    # --- Background tasks
    "store:tasks:create": "A created task is read back as it was.",
    "store:tasks:create:again": "Creating a task again replaces it.",
    "store:tasks:create:refusals": "A task without an id, or with what is not JSON, is refused.",
    "store:tasks:get": "A task that does not exist is None.",
    "store:tasks:update": "What an update leaves out stays; the rest is as it says.",
    "store:tasks:update:clear": "What can be absent is cleared with None.",
    "store:tasks:update:nothing": "An update of nothing sends nothing.",
    "store:tasks:update:absent": "Updating an absent task changes nothing.",
    "store:tasks:list": "Tasks are listed the oldest first unless asked otherwise.",
    "store:tasks:list:filters": "Tasks are filtered by each of their names, and by all together.",
    "store:tasks:list:status": "Tasks of one status or of several are listed.",
    "store:tasks:list:dates": "A range of dates includes its start and not its end.",
    "store:tasks:list:order": "Tasks are sorted by any date, those without it as if long ago.",
    "store:tasks:list:pages": "The total counts all pages; a page comes after the sorting.",
    "store:tasks:list:refusals": "A negative page is refused.",
    "store:tasks:delete": "Deleting a task deletes exactly that one; an absent one is fine.",
    "store:tasks:delete:filter": "Deleting by filter deletes what the filter lists.",
    "store:tasks:delete:everything": "A filter that does not narrow deletes nothing.",
    "store:tasks:counts": "Running tasks are counted, all and by agent.",
    # --- The storage function: workflows
    "wire:workflows:step": "mergeWorkflowStepResult: the table of outputs.",
    "wire:workflows:step:replaces": "A result without an array on both sides replaces the old.",
    "wire:workflows:step:interleaved": (
        "Whatever the order in which branches report, nothing of any of them is lost."
    ),
    "wire:workflows:state": "mergeWorkflowState: members are replaced at the top level.",
    "wire:workflows:stored:old": "A snapshot stored as an object or null is merged into.",
    "wire:workflows:refusals": "An absent run and a snapshot without context are soft errors.",
    "wire:workflows:malformed": "JSON text that is malformed, stored or sent, is an error.",
    "wire:workflows:tables": "On other tables merges are unsupported, softly.",
    # --- The storage function: schedules
    "wire:schedules:create": "createSchedule inserts, or refuses a missing or taken id.",
    "wire:schedules:due": "listDueSchedules: the index's order and the rule of limits.",
    "wire:schedules:update": "updateSchedule patches columns and answers with the whole row.",
    "wire:schedules:triggers": "listScheduleTriggers: bounds, order and the rule of limits.",
    "wire:schedules:triggers:record": "recordScheduleTrigger inserts, or refuses an id.",
    "wire:schedules:triggers:delete": "deleteScheduleTriggers: the 25 oldest a call.",
    "wire:schedules:tables": "On other typed tables these are errors, elsewhere unsupported.",
    # --- The storage function: background tasks
    "wire:tasks:soft": "Whatever is wrong with a request about tasks is a soft error.",
}

_LEGACY = {
    "store:tasks:get:old": "Rows of old versions are read, text that is not JSON as it is.",
    "wire:tasks:legacy:load": "load and loadMany find old copies by id where there is no row.",
    "wire:tasks:legacy:query": "queryTable: rows, then old copies that no row hides.",
    "wire:tasks:legacy:filters": "Old copies are filtered by either spelling of a field.",
    "wire:tasks:legacy:insert": "insert makes a row and leaves the old copy hidden.",
    "wire:tasks:legacy:patch": "patch changes the row and drops the old copy, or changes it.",
    "wire:tasks:legacy:delete": "deleteMany deletes both copies.",
    "wire:tasks:legacy:clear": "clearTable: 25 rows a call, old copies after the rows.",
    "wire:tasks:legacy:clear:rest": "A clear that ends with the rows tells of old copies.",
}

REQUIREMENTS: dict[str, Requirement] = {
    **{name: Requirement(behaviour) for name, behaviour in _ANYWHERE.items()},
    **{name: Requirement(behaviour, _NO_OLD_ROWS) for name, behaviour in _LEGACY.items()},
    "store:workflows:clear": Requirement("Clearing workflows deletes every run.", OF_OTHERS),
    "store:schedules:clear": Requirement(
        "Clearing schedules deletes every one and every trigger.", OF_OTHERS
    ),
    "store:tasks:clear": Requirement("Clearing tasks deletes every one.", OF_OTHERS),
    "store:workflows:stamps": Requirement(
        "Dates that are not given are those of the clock.", NO_CLOCK
    ),
    "store:schedules:claim": Requirement(
        "A claimed fire moves the schedule on and says what fired.", NO_CLOCK
    ),
    "wire:workflows:stored": Requirement(
        "A merge stores JSON text and the time, and keeps the creation date.", NO_CLOCK
    ),
    "wire:schedules:claim": Requirement(
        "updateScheduleNextFire compares, sets and stamps.", NO_CLOCK
    ),
}

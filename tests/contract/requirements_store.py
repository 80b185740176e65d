"""What the store promises: Mastra's storage contract for memory, and our own functions."""

from __future__ import annotations

from tests.contract.requirements import NO_CLOCK, OF_OTHERS, Requirement


def _all(
    behaviours: dict[str, str], excluded: dict[str, str] | None = None
) -> dict[str, Requirement]:
    return {name: Requirement(text, excluded or {}) for name, text in behaviours.items()}


REQUIREMENTS: dict[str, Requirement] = {
    **_all(
        {
            "store:domains": (
                "A store names its domains, needs an id, and starts without a request."
            ),
            # --- Threads: get, save
            "store:threads:get": "A saved thread is read back as it was, without system fields.",
            "store:threads:get:absent": "A thread that does not exist is None.",
            "store:threads:get:resource": (
                "A thread of another resource than the one named, even empty, is None."
            ),
            "store:threads:get:metadata-text": (
                "Metadata stored as JSON text is read as the object it is."
            ),
            "store:threads:save:replaces": "Saving over a thread replaces it, metadata included.",
            "store:threads:save:empty-title": "An empty title is stored as empty.",
            "store:threads:save:id": "A thread without an id gets one.",
            "store:threads:save:metadata": (
                "Metadata that cannot be stored is refused, naming the key."
            ),
            # --- Threads: update
            "store:threads:update:merges": (
                "Updating merges metadata at the top level and sets the title."
            ),
            "store:threads:update:null": "A null member of an update's metadata is stored as null.",
            "store:threads:update:partial": "What an update leaves out stays as it is.",
            "store:threads:update:absent": (
                "Updating an absent thread is NotFound with Mastra's id."
            ),
            # --- Threads: delete
            "store:threads:delete": "Deleting a thread deletes its messages and nobody else's.",
            "store:threads:delete:absent": "Deleting an absent thread is fine.",
            "store:threads:delete:unsaved": (
                "Messages of a thread that was never saved are deleted with it."
            ),
            "store:threads:delete:many": (
                "A thread of more messages than one batch is deleted whole."
            ),
            # --- Threads: list
            "store:threads:list:order": "Threads are listed newest first unless asked otherwise.",
            "store:threads:list:ties": (
                "Threads that tie keep the order of their creation, in both directions."
            ),
            "store:threads:list:order-by": (
                "Threads can be sorted by update; an unknown field or direction is the default."
            ),
            "store:threads:list:pages": (
                "Pages tell their number, their size, the total and whether more follow."
            ),
            "store:threads:list:everything": (
                "per_page False lists everything on one page; 0 lists nothing."
            ),
            "store:threads:list:paging-errors": (
                "A page that cannot be is refused with Mastra's id and the numbers given."
            ),
            "store:threads:list:resource": (
                "Only threads of the resource named are listed; an empty one names none."
            ),
            "store:threads:list:metadata": (
                "Every member of a metadata filter must be strictly equal at the top level."
            ),
            "store:threads:list:metadata-keys": (
                "A metadata key that Mastra refuses is refused with Mastra's id."
            ),
            # --- Threads: clone
            "store:threads:clone": (
                "A clone has the source's messages under new ids, its title, and says where it is "
                "from."
            ),
            "store:threads:clone:overrides": (
                "A clone takes another owner, title and metadata when given."
            ),
            "store:threads:clone:choice": (
                "A clone takes only the messages asked for, and the last of those."
            ),
            "store:threads:clone:dates": "Both ends of a clone's date range are included.",
            "store:threads:clone:empty": "A clone of an empty thread names no last message.",
            "store:threads:clone:refusals": (
                "An absent source, a foreign one and a taken id are refused with Mastra's ids."
            ),
            # --- Threads: our own
            "store:threads:count": "A thread is read with the number of its messages.",
            "store:threads:page": (
                "Pages by cursor are the whole list in order, whatever the page size."
            ),
            "store:threads:page:stable": "A cursor keeps its place while threads are added.",
            "store:threads:page:by-creation": "Threads can be paged by creation, oldest first.",
            "store:threads:page:limits": "A limit out of range and a foreign cursor are refused.",
            "store:threads:patch": (
                "A patch sets title and members, removes members given as null, leaves the rest."
            ),
            "store:threads:patch:metadata-text": (
                "Patching a thread keeps metadata that was stored as JSON text."
            ),
            "store:threads:remove": (
                "Removing says whether the thread was there and how many messages went."
            ),
            "store:threads:remove:many": (
                "A removed thread of more messages than one batch is gone at once."
            ),
            "store:threads:scope": "Threads of another resource are as if they did not exist.",
        }
    ),
    **_all(
        {
            "store:threads:update:stamp": "Updating stamps updated_at and keeps created_at.",
            "store:messages:save:stamp": "Saving messages stamps their threads.",
            "store:messages:update:stamp": (
                "Updating messages stamps the thread they leave and the one they join."
            ),
            "store:messages:delete:stamp": "Deleting messages does not stamp their thread.",
            "store:resources:update:stamp": (
                "Updating a resource stamps updated_at and keeps created_at."
            ),
            "store:threads:clone:stamp": (
                "A clone is created and updated now; its messages keep their dates."
            ),
            "store:conversation:stamp": (
                "Saving a conversation creates the thread now; a retry that changes nothing does "
                "not stamp it."
            ),
            "store:working:stamp": "Working memory tells when it was last written.",
        },
        NO_CLOCK,
    ),
    **_all(
        {"store:clear-all": "Clearing the domain empties threads, messages and resources."},
        OF_OTHERS,
    ),
    **_all(
        {
            # --- Messages: save, update, delete
            "store:messages:save": (
                "Saved messages are read back as they were, and returned unique, oldest first, in "
                "format 2."
            ),
            "store:messages:save:nothing": "Saving no messages makes no request.",
            "store:messages:save:required": (
                "A message without a thread or a resource is refused before anything is sent."
            ),
            "store:messages:save:overwrites": (
                "Saving a stored message overwrites it, and moves it when the thread is another."
            ),
            "store:messages:save:twice": (
                "Of two messages with one id in one call, the later one stands."
            ),
            "store:messages:save:unsaved-thread": (
                "Messages are stored whether or not their thread exists."
            ),
            "store:messages:save:many": (
                "More messages than one call of ours takes are saved all the same."
            ),
            "store:messages:save:id": "A message without an id gets one.",
            "store:messages:content": "Content survives with every key and character it has.",
            "store:messages:update": "An update changes what it names and nothing else.",
            "store:messages:update:content": (
                "Content and its metadata are merged at the top level."
            ),
            "store:messages:update:absent": (
                "Updates of absent messages are left out; the others come back in the order given."
            ),
            "store:messages:update:repeated": (
                "Two updates of one message in one call both count, in order."
            ),
            "store:messages:delete": "Messages are deleted by id; absent ones are fine.",
            # --- Messages: by id
            "store:messages:by-id": (
                "Messages come by id, each once, oldest first; absent ones are left out."
            ),
            "store:messages:by-id:legacy": "Content of older versions is read as format 2.",
            # --- Messages: list
            "store:messages:list:order": (
                "A thread is listed oldest first unless asked otherwise; ties in the order saved."
            ),
            "store:messages:list:pages": (
                "Pages tell their number, their size, the total and whether more follow."
            ),
            "store:messages:list:sizes": (
                "False lists everything, 0 nothing, a negative size is refused, anything else is "
                "the default."
            ),
            "store:messages:list:thread-ids": "A blank thread id is refused with Mastra's id.",
            "store:messages:list:threads": "Several threads are listed as one, each message once.",
            "store:messages:list:resource": "Only messages of the resource named are listed.",
            "store:messages:list:dates": (
                "A date range is inclusive unless told otherwise, and takes dates or text."
            ),
            "store:messages:list:metadata": (
                "A metadata filter compares the members of the content's metadata strictly."
            ),
            "store:messages:list:metadata-errors": (
                "A metadata filter of a wrong shape is refused before any request."
            ),
            "store:messages:list:include": (
                "Included messages come with their neighbours, each message once, in order."
            ),
            "store:messages:list:include-only": (
                "A page of size 0 holds the included messages and nothing else."
            ),
            "store:messages:list:include-elsewhere": (
                "An included message of another thread brings its own thread's neighbours."
            ),
            "store:messages:list:include-unfiltered": (
                "Included messages are not filtered by date or metadata."
            ),
            "store:messages:list:include-resource": (
                "With a resource named, included messages and neighbours are of that resource."
            ),
            "store:messages:list:include-more": (
                "With included messages, more follows while messages of the queried threads are "
                "missing."
            ),
            "store:messages:list:numbered": (
                "Numbered pages of any size put together are the whole thread in order."
            ),
            "store:messages:by-resource": (
                "A resource's messages are listed across threads; the page is oldest first "
                "whatever the order."
            ),
            "store:messages:by-resource:pages": (
                "Pages of a resource tell the total and whether more follow; impossible ones are "
                "refused."
            ),
            "store:messages:by-resource:include": (
                "Included messages of the resource join the page, or are all of it when its size "
                "is 0."
            ),
            # --- Messages: our own
            "store:conversation:save": (
                "A conversation is saved with its thread in one call, with a receipt for each "
                "message."
            ),
            "store:conversation:again": "Saving the same message again changes nothing.",
            "store:conversation:conflict": (
                "A stored id with other content, role or thread is a conflict, and nothing is "
                "saved."
            ),
            "store:conversation:replace": (
                "With replace, a stored message is overwritten and the receipt says so."
            ),
            "store:conversation:foreign": (
                "A thread of another resource is not found, and nothing is saved."
            ),
            "store:conversation:thread": "A thread that exists keeps its title and metadata.",
            "store:conversation:limits": "No messages, too many and the same id twice are refused.",
            "store:messages:page": (
                "Pages by cursor are the whole thread in order, whatever the page size."
            ),
            "store:messages:page:stable": (
                "A cursor keeps its place while messages are added and removed."
            ),
            "store:messages:page:filters": (
                "A page can be of one role and of a span of time, its end excluded."
            ),
            "store:messages:page:chars": (
                "A page ends once its contents reach the characters asked for, after one message "
                "at least."
            ),
            "store:messages:page:limits": (
                "A limit out of range and a cursor of another question are refused."
            ),
            "store:messages:around": (
                "A message comes with its neighbours, oldest first, and its place among them."
            ),
            "store:messages:around:ends": "At either end of a thread there are fewer neighbours.",
            "store:messages:get": (
                "Messages come by id in the order asked for; absent ones are left out."
            ),
            "store:messages:remove": (
                "Removing says which messages there were, within the thread named."
            ),
            "store:messages:scope": "Messages of another resource are as if they did not exist.",
            "store:search": "A search finds messages by their words, best first.",
            "store:search:stems": "A search finds other forms of a word.",
            "store:search:scripts": (
                "Words are found in any script: without spaces between them, with or without marks."
            ),
            "store:search:filters": (
                "A search can be of a resource, a thread, a role, a span of time and metadata."
            ),
            "store:search:wire": (
                "Messages saved, changed and deleted the Mastra way are searched as they are now."
            ),
            "store:search:pages": (
                "A search is paged by cursor, each hit once, and says when it is exhausted."
            ),
            "store:search:syntax": "Whatever is typed is words to look for, never syntax.",
            "store:search:limits": "A limit out of range and an empty query are refused.",
            # --- Resources and working memory
            "store:resources:get": "A saved resource is read back; an absent one is None.",
            "store:resources:save": (
                "Saving over a resource replaces what is given and keeps the rest."
            ),
            "store:resources:update": (
                "Updating merges metadata, replaces working memory, leaves out what is not given."
            ),
            "store:resources:update:absent": "Updating an absent resource creates it.",
            "store:working:resource": "Working memory of a resource is where Mastra keeps it.",
            "store:working:thread": "Working memory of a thread is where Mastra keeps it.",
            "store:working:metadata-text": (
                "Working memory is found in thread metadata that was stored as JSON text."
            ),
            "store:working:append": "Appended text stands on a new line.",
            "store:working:merge": (
                "Merged JSON keeps what is absent, deletes nulls, merges objects, replaces the "
                "rest."
            ),
            "store:working:merge-errors": (
                "Merging what is not a JSON object is refused and changes nothing."
            ),
            "store:working:scope": "A thread of another resource is not found.",
            "store:stats": "Stats count what a resource has, and what there is at all.",
            "store:changes": "Every write is in the change feed, in order, once.",
            "store:changes:schedules": "Writes of schedules are in the change feed, as nobody's.",
            "store:changes:pages": (
                "The change feed is read a page at a time, for one resource or all."
            ),
            "store:stock": "What needs functions of ours says so on a deployment without them.",
        }
    ),
}
"""Requirement → what is promised, and which leg cannot show it."""

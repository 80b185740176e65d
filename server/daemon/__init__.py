"""One server for all assistants of a data folder, and the little that each of them starts.

What `shim` loads is the standard library alone: `build`, `conversation`, `folder`, `handshake`,
`reaching`. The daemon itself is `process` and what that loads.
"""

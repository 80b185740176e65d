"""What the official conformance suite needs a server to have, beside what ours has.

The suite (npm `@modelcontextprotocol/conformance`) calls tools, reads resources and gets prompts
by names of its own. `convex-memory serve --conformance-fixtures` adds them to the server that
everybody else gets; nothing but that flag imports this package.
"""

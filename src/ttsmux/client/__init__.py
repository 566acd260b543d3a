"""
The two shells: `sync` for threads, `aio` for event loops. They carry effects out, no more.

`options` holds what both are configured with. What waits is written twice, alike on purpose, in
`_threads` and `_tasks`; neither decides anything.
"""

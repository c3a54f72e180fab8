"""How each API spells create, find, read, cancel, and what it can prove.

One file an API, without I/O: flows yield calls and are sent replies (`core.call`). A flow reads as
if nothing fails; the driver ends it at the first answer that is no success.
"""

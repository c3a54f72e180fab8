"""The only room with a database: SQLite or PostgreSQL through the same statements.

Synchronous. One writer thread takes moves and commits them in groups; whoever needs a write to be
durable before acting is called back when its group has committed. No row object leaves the room.
"""

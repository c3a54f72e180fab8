"""The only room with tasks and waiting: pool, worker, follow, gate, upkeep.

anyio on asyncio. Each task lives in a group that someone awaits; every wait has a limit.
"""

"""Values and arithmetic: what a job, a run, a fault and a budget are, without I/O, clock or log.

Everything here can be tested with literals. Time comes in as a number, chance as a `random.Random`.
"""

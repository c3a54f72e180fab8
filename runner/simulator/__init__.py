"""A server of the Assistants-style API with faults, for rehearsals, demonstrations and tests.

Written from the API's reference alone and importing nothing else of Runner, so that it cannot
share a mistake with what it tests. Here: the wire (`server`), the endpoints (`openai_routes`,
`stream`), what is simulated (`world`, `fates`, `objects`), the trouble (`faults`, `limits`), the
memory that outlives a kill (`journal`) and what it saw (`audit`). Not here: any client.

Start it with `python -m runner.simulator`; see `runner.simulator.arguments` for the flags.
"""

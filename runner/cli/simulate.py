"""`runner simulate`: the simulator, in this process."""

import typer

PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True}


def simulate(ctx: typer.Context) -> int:
    """Serve the API with faults, to rehearse against.

    Example: runner simulate --limit 200 --window 10 --faults drop_after=0.06
    """
    from runner.simulator.server import main

    return main(ctx.args)

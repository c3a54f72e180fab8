"""Ten million jobs once, on a private PostgreSQL; what is done is in `ten_million`."""

import importlib.util

from benchmarks.measure import Options, Table
from benchmarks.private_server import private_server
from benchmarks.ten_million import Database, carry_all


def run(options: Options) -> Table:
    """Do it once, however many rounds are asked for."""
    title = "Ten million jobs on PostgreSQL, once"
    if importlib.util.find_spec("psycopg") is None:
        return Table(title, ("not measured",), [("pip install 'runner[postgres]'",)])
    with private_server() as server:
        if server is None:
            return Table(title, ("not measured",), [("there is no initdb on this machine",)])
        small, large = Database(server.fresh()), Database(server.fresh())
        return carry_all(options, large, small)

"""Two hosts, each in a network namespace: one's cables are pulled out, and put back in."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Event

import pytest
from crash_run import Scene
from network_hosts import Door, Host, Way, address, addresses, skip_where_there_are_none
from postgres_server import PostgresServer
from simulator_process import SimulatorProcess
from work_command import WorkCommand

from runner.app import Commands
from runner.config import Value, load

LEASE_S = 2.0


@dataclass
class Network:
    """Two hosts at work on one database, through the doors that either way leads to."""

    scene: Scene
    hosts: tuple[Host, Host]
    doors: dict[Way, Door]
    flags: dict[str, Value]

    def cut(self, *ways: Way) -> None:
        for way in ways:
            self.hosts[0].cut(way)

    def plug(self, *ways: Way) -> None:
        for way in ways:
            self.hosts[0].plug(way)
            self.doors[way].hang_up()

    def creates(self) -> int:
        return self.scene.server.audit().count("create_requests")

    def until_creates(self, least: int, command: WorkCommand) -> None:
        while self.creates() < least:
            assert command.process.poll() is None, "it ended before"
            Event().wait(0.02)

    def check(self) -> None:
        with Commands(load(self.flags, environ={})) as runner:
            runner.export(None, str(self.scene.folder / "o.jsonl"))
        self.scene.check()


@pytest.fixture
def network(tmp_path: Path, postgres_server: PostgresServer, template: str) -> Iterator[Network]:
    skip_where_there_are_none()
    name = postgres_server.fresh(template).rpartition("/")[2]
    with (
        addresses(),
        Host() as one,
        Host() as two,
        SimulatorProcess("--duration", "uniform:0.1:0.5") as server,
        Door(address("database"), postgres_server.port) as database,
        Door(address("api"), server.port) as api,
    ):
        url = f"postgresql://postgres@{address('database')}:{database.port}/{name}"
        scene = Scene(tmp_path, server, 18, url)
        # A create in every tenth of a second, so that there is something left to do for both.
        scene.settings |= {"lease": LEASE_S, "rpm": 600.0, "window": 1.0}
        flags: dict[str, Value] = {
            **scene.flags,
            "base_url": f"http://{address('api')}:{api.port}/v1",
        }
        with Commands(load(flags, environ={})) as runner:
            runner.queue([str(tmp_path / "m.jsonl")], BytesIO())
        yield Network(scene, (one, two), {"database": database, "api": api}, flags)


@pytest.fixture
def commands(network: Network) -> Iterator[tuple[WorkCommand, WorkCommand]]:
    first, second = (WorkCommand(network.flags, host=host.name) for host in network.hosts)
    yield first, second
    first.kill()
    second.kill()


@pytest.mark.parametrize("ways", [("database",), ("database", "api")])
def test_a_host_without_the_database_past_its_lease_sends_nothing_once_it_is_back(
    network: Network, commands: tuple[WorkCommand, WorkCommand], ways: tuple[Way, ...]
) -> None:
    cut_off, other = commands
    network.until_creates(6, cut_off)
    network.cut(*ways)
    assert other.end() == 1, other.said
    made = network.creates()
    network.plug(*ways)
    assert cut_off.end() == 1, cut_off.said
    assert network.creates() == made
    network.check()


def test_a_host_that_loses_only_the_api_keeps_its_jobs_and_brings_them_to_their_end(
    network: Network, commands: tuple[WorkCommand, WorkCommand]
) -> None:
    cut_off, other = commands
    network.until_creates(6, cut_off)
    network.cut("api")
    Event().wait(LEASE_S + 0.5)
    network.plug("api")
    assert (cut_off.end(), other.end()) == (1, 1), cut_off.said + other.said
    assert "lease was taken over" not in cut_off.said
    network.check()

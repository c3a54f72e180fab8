"""Compose, Kubernetes and systemd files, held to what Runner promises."""

import configparser
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import TypeAlias

import pytest
import yaml
from dockerfile import ROOT

from runner.config import BY_NAME
from runner.store.columns import STATES
from runner.store.store import Store

Node: TypeAlias = "dict[str, Node] | list[Node] | str | int | float | bool | None"

KUBERNETES = ROOT / "docker" / "kubernetes"
UNITS = [*(ROOT / "docker" / "systemd").iterdir(), *(ROOT / "jobs" / "nightly").glob("*.service")]
TIMER = ROOT / "jobs" / "nightly" / "runner-nightly.timer"
OUR_VARIABLES = {f"RUNNER_{name.upper()}" for name in BY_NAME}

API_VERSIONS = {
    "ConfigMap": "v1",
    "CronJob": "batch/v1",
    "Deployment": "apps/v1",
    "Job": "batch/v1",
    "Kustomization": "kustomize.config.k8s.io/v1beta1",
    "ScaledObject": "keda.sh/v1alpha1",
    "Secret": "v1",
}


def read(path: Path) -> dict[str, Node]:
    document = yaml.safe_load(path.read_text("utf-8"))
    assert isinstance(document, dict)
    return document


def at(node: Node, *path: str | int) -> Node:
    """Return what stands at a path; the test fails where there is nothing."""
    for step in path:
        if isinstance(node, dict) and isinstance(step, str):
            assert step in node, f"{step} is missing"
            node = node[step]
        elif isinstance(node, list) and isinstance(step, int):
            node = node[step]
        else:
            raise TypeError(f"nothing at {path}: {node!r}")
    return node


def listed(node: Node) -> list[Node]:
    assert isinstance(node, list)
    return node


def words(node: Node) -> list[str]:
    return [str(word) for word in listed(node)]


def mapping(node: Node) -> dict[str, Node]:
    assert isinstance(node, dict)
    return node


PODS = {
    "workers.yaml": ("spec", "template"),
    "batch.yaml": ("spec", "template"),
    "nightly.yaml": ("spec", "jobTemplate", "spec", "template"),
}


@pytest.mark.parametrize("path", sorted(KUBERNETES.glob("*.yaml")), ids=lambda path: path.name)
def test_each_manifest_is_of_a_known_kind_and_named(path: Path) -> None:
    document = read(path)
    kind = document["kind"]
    assert isinstance(kind, str)
    assert document["apiVersion"] == API_VERSIONS[kind]
    if kind != "Kustomization":
        assert at(document, "metadata", "name")
        assert at(document, "metadata", "labels", "app.kubernetes.io/name") == "runner"


@pytest.mark.parametrize("name", PODS)
def test_each_pod_is_shut_in_and_ends_in_order(name: str) -> None:
    pod = at(read(KUBERNETES / name), *PODS[name], "spec")
    assert at(pod, "securityContext", "runAsNonRoot") is True
    assert at(pod, "automountServiceAccountToken") is False
    grace = at(pod, "terminationGracePeriodSeconds")
    assert isinstance(grace, int)
    drain = BY_NAME["grace"].default
    assert isinstance(drain, float)
    assert grace > drain
    for container in [*listed(at(pod, "containers")), *listed(at(pod, "initContainers"))]:
        inside = mapping(at(container, "securityContext"))
        assert inside["readOnlyRootFilesystem"] is True
        assert inside["allowPrivilegeEscalation"] is False
        mounts = {mapping(mount)["mountPath"] for mount in listed(at(container, "volumeMounts"))}
        assert mounts >= {"/data", "/tmp"}
    assert at(pod, "containers", 0, "resources", "limits", "memory")
    volumes = {mapping(volume)["name"] for volume in listed(at(pod, "volumes"))}
    mounted = {mapping(m)["name"] for m in listed(at(pod, "containers", 0, "volumeMounts"))}
    assert mounted == volumes


@pytest.mark.parametrize("name", PODS)
def test_no_pod_holds_a_secret_in_its_manifest(name: str) -> None:
    container = at(read(KUBERNETES / name), *PODS[name], "spec", "containers", 0)
    for variable in listed(at(container, "env")):
        assert "value" not in mapping(variable)
        assert at(variable, "valueFrom")


def test_the_workers_are_selected_by_the_labels_of_their_pods() -> None:
    document = read(KUBERNETES / "workers.yaml")
    wanted = mapping(at(document, "spec", "selector", "matchLabels"))
    assert wanted.items() <= mapping(at(document, "spec", "template", "metadata", "labels")).items()
    container = at(document, "spec", "template", "spec", "containers", 0)
    assert at(container, "startupProbe", "exec", "command", 0) == "runner"
    assert at(container, "readinessProbe", "exec", "command", 0) == "runner"
    # A database away for a minute must not restart every worker.
    assert at(container, "livenessProbe", "exec", "command") == ["runner", "--version"]


@pytest.mark.parametrize("name", ["batch.yaml", "nightly.yaml"])
def test_a_batch_is_started_again_unless_its_exit_code_is_final(name: str) -> None:
    spec = at(read(KUBERNETES / name), *PODS[name][:-1])
    assert at(spec, "podFailurePolicy", "rules", 1, "onExitCodes", "values") == [1, 2]
    backoff = at(spec, "backoffLimit")
    assert isinstance(backoff, int)
    assert backoff > 0
    assert at(spec, "template", "spec", "restartPolicy") == "Never"


def test_every_setting_that_a_manifest_names_is_one_of_ours() -> None:
    named = set(mapping(at(read(KUBERNETES / "config.yaml"), "data")))
    for service in mapping(at(read(ROOT / "docker" / "compose.yaml"), "services")).values():
        named |= set(mapping(mapping(service).get("environment", {})))
    assert {name for name in named if name.startswith("RUNNER_")} <= OUR_VARIABLES


def test_keda_counts_the_jobs_that_are_not_at_rest(tmp_path: Path) -> None:
    trigger = at(read(KUBERNETES / "keda.yaml"), "spec", "triggers", 0)
    assert at(trigger, "type") == "postgresql"
    query = at(trigger, "metadata", "query")
    assert isinstance(query, str)
    path = tmp_path / "runner.db"
    Store.open(str(path)).close()
    with sqlite3.connect(path) as database:
        assert database.execute(query).fetchall() == [(0,)]
        for number, _ in enumerate(STATES):
            database.execute(
                "INSERT INTO tally (batch_id, state, status, jobs) VALUES (1, ?, '', ?)",
                (number, 10**number),
            )
        expected = sum(10**n for n, state in enumerate(STATES) if not state.at_rest)
        assert database.execute(query).fetchall() == [(expected,)]
    database.close()
    target = at(read(KUBERNETES / "keda.yaml"), "spec", "scaleTargetRef", "name")
    assert target == at(read(KUBERNETES / "workers.yaml"), "metadata", "name")


def test_compose_migrates_once_before_any_worker_starts() -> None:
    services = mapping(at(read(ROOT / "docker" / "compose.yaml"), "services"))
    assert at(services, "migrate", "command") == ["db", "upgrade"]
    after = at(services, "worker", "depends_on", "migrate", "condition")
    assert after == "service_completed_successfully"
    assert at(services, "migrate", "depends_on", "db", "condition") == "service_healthy"
    assert at(services, "worker", "command") == ["work", "--forever"]
    for name in ("migrate", "worker", "cli"):
        assert at(services, name, "read_only") is True
        assert at(services, name, "cap_drop") == ["ALL"]


def test_compose_gives_each_command_in_a_container_the_databases_password(tmp_path: Path) -> None:
    services = mapping(at(read(ROOT / "docker" / "compose.yaml"), "services"))
    said = tmp_path / "said"
    stub = tmp_path / "runner"
    stub.write_text(f'#!/bin/sh\necho "$PGPASSWORD $*" >> {said}\n')
    stub.chmod(0o755)
    secret = tmp_path / "db_password"
    secret.write_text("sesame")
    for name in ("migrate", "worker", "cli"):
        service = mapping(services[name])
        commands = [[*words(service["entrypoint"]), *words(service["command"])]]
        check = mapping(service.get("healthcheck", {}))
        if not check.get("disable"):
            # None of its own would be the image's, which passes the entrypoint by.
            kind, *command = words(check["test"])
            assert kind == "CMD"
            commands.append(command)
        for command in commands:
            # As compose reads them: $$ is a dollar.
            plain = [
                word.replace("$$", "$").replace("/run/secrets/db_password", str(secret))
                for word in command
            ]
            subprocess.run(plain, check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert said.read_text().splitlines() == [
        "sesame db upgrade",
        "sesame work --forever",
        "sesame status --json",
        "sesame status",
    ]


def test_compose_has_its_secrets_from_files_that_are_not_committed() -> None:
    secrets = mapping(at(read(ROOT / "docker" / "compose.yaml"), "secrets"))
    for secret in secrets.values():
        path = at(secret, "file")
        assert isinstance(path, str)
        assert path.startswith("./secrets/")
    assert "secrets/" in (ROOT / "docker" / ".gitignore").read_text().splitlines()


def unit(path: Path) -> configparser.RawConfigParser:
    # Repeated keys are legal in units, so nothing is strict here.
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign] # how configparser is told to keep case
    parser.read(path)
    return parser


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_each_unit_is_started_again_unless_its_exit_code_is_final(path: Path) -> None:
    service = unit(path)["Service"]
    # 2 is wrong settings: starting again would change nothing.
    assert "2" in service["RestartPreventExitStatus"].split()
    assert service["User"] == "runner"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    drain = BY_NAME["grace"].default
    assert isinstance(drain, float)
    assert float(service["TimeoutStopSec"]) > drain


def test_a_night_that_was_stopped_is_resumed_and_one_that_ended_is_not() -> None:
    service = unit(ROOT / "jobs" / "nightly" / "runner-nightly.service")["Service"]
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"].split() == ["1", "2"]
    resume = unit(ROOT / "jobs" / "nightly" / "runner-nightly-resume.service")["Service"]
    assert resume["ExecStart"] == f"{service['ExecStart']} --resume"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_itself_finds_nothing_but_the_missing_programs() -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, [*UNITS, TIMER])],
        text=True,
        check=False,
        capture_output=True,
        timeout=60,
    )
    told = [
        line
        for line in (done.stdout + done.stderr).splitlines()
        if "runner-" in line and "is not executable" not in line
    ]
    assert told == []

"""The endpoints of the Assistants API, v2 and v1, under `/v1` (api-facts 1 to 5)."""

import heapq
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from runner.simulator import bodies, objects, stream
from runner.simulator.audit import Audit
from runner.simulator.exchange import JSON, Answer, Asked, Headers, Kind, page
from runner.simulator.journal import NULL, MessageRecord, RunRecord
from runner.simulator.listing import listed
from runner.simulator.making import Maker
from runner.simulator.objects import Object
from runner.simulator.refusals import Refusal, not_found
from runner.simulator.world import Thread, World

_VERSIONED = ("openai", "api/projects")  # Azure's and Foundry's base paths
Route = Callable[[Asked, float], Answer]

# A path is known by its method and its odd parts; the even ones are ids.
KINDS: dict[str, Kind] = {
    "POST threads/*/runs": "create",
    "POST threads/runs": "create",
    "GET threads/*/runs": "list",
    "GET threads/*/runs/*": "read",
    "GET threads/*": "read",
    "GET threads/*/messages": "list",
    "GET threads/*/messages/*": "read",
    "GET threads/*/runs/*/steps": "list",
    "GET threads/*/runs/*/steps/*": "read",
    "POST threads/*/runs/*/cancel": "cancel",
    "POST threads/*/runs/*/submit_tool_outputs": "tool_outputs",
}


class OpenAiRoutes:
    """Answers one request at a time; raises `Refusal` where the API would refuse."""

    kinds = KINDS

    def __init__(self, world: World, audit: Audit) -> None:
        self.world = world
        self.audit = audit
        self._maker = Maker(world, audit)
        self._routes: dict[str, Route] = {
            "POST threads": self.create_thread,
            "GET threads/*": self.get_thread,
            "POST threads/*": self.modify_thread,
            "DELETE threads/*": self.delete_thread,
            "POST threads/runs": self.create_thread_and_run,
            "POST threads/*/runs": self.create_run,
            "GET threads/*/runs": self.list_runs,
            "GET threads/*/runs/*": self.get_run,
            "POST threads/*/runs/*": self.modify_run,
            "POST threads/*/runs/*/cancel": self.cancel_run,
            "POST threads/*/runs/*/submit_tool_outputs": self.submit_tool_outputs,
            "GET threads/*/runs/*/steps": self.list_steps,
            "GET threads/*/runs/*/steps/*": self.get_step,
            "POST threads/*/messages": self.create_message,
            "GET threads/*/messages": self.list_messages,
            "GET threads/*/messages/*": self.get_message,
        }

    def answer(self, asked: Asked, now: float) -> Answer:
        """Carry out a request as of `now`."""
        route = self._routes.get(asked.shape)
        if route is None:
            where = "/".join(asked.path)[:60]
            raise Refusal(404, f"Invalid URL ({asked.method} /v1/{where})", kind="unknown_url")
        if asked.base.startswith(_VERSIONED) and "api-version" not in asked.parameters():
            raise Refusal(404, "Resource not found", kind="no_api_version", code="404")
        beta = asked.headers.get("openai-beta", "")
        if self.world.settings.strict_headers and not beta.startswith("assistants="):
            # The text asks for the header (openai-php/client#700).
            raise Refusal(
                400,
                "You must provide the 'OpenAI-Beta' header to access the Assistants API."
                " Please try again by setting the header 'OpenAI-Beta: assistants=v2'.",
                kind="no_beta_header",
                code="invalid_beta",
            )
        return route(asked, now)

    def spell(self, refusal: Refusal, asked: Asked) -> bytes:
        """Return a refusal's body; Azure gives the HTTP status as `code`, in a string."""
        if "api-version" in asked.parameters() and not refusal.error["code"]:
            refusal.error["code"] = str(refusal.status)
        return refusal.body()

    # Threads

    def create_thread(self, asked: Asked, now: float) -> Answer:
        """POST /threads."""
        body = bodies.read(bodies.THREAD, asked.body)
        return _ok(objects.thread(self._new_thread(body, asked.body, now).record))

    def _new_thread(self, body: bodies.ThreadBody, raw: bytes, now: float) -> Thread:
        sent = bodies.OBJECT.decode(raw or b"{}")
        thread = self.world.make_thread(
            None,
            now,
            metadata=sent.get("metadata", NULL),
            tool_resources=sent.get("tool_resources", NULL),
        )
        self.audit.counts["threads"] += 1
        self._add_messages(thread, body.messages, sent.get("messages"), now)
        return thread

    def _thread(self, thread_id: str, now: float) -> Thread:
        thread = self.world.threads.get(thread_id)
        if thread is not None:
            return thread
        settings = self.world.settings
        if settings.strict_threads and not thread_id.startswith("thread"):
            # openai/openai-node#1545
            raise Refusal(
                400,
                f"Invalid 'thread_id': '{thread_id[:60]}'."
                " Expected an ID that begins with 'thread'.",
                kind="invalid_value",
                param="thread_id",
                code="invalid_value",
            )
        if settings.strict_threads or thread_id in self.world.deleted:
            raise not_found("thread", thread_id)
        return self.world.make_thread(thread_id, now)

    def get_thread(self, asked: Asked, now: float) -> Answer:
        """GET /threads/{id}."""
        return _ok(objects.thread(self._thread(asked.path[1], now).record))

    def modify_thread(self, asked: Asked, now: float) -> Answer:
        """POST /threads/{id}."""
        bodies.read(bodies.THREAD_CHANGE, asked.body)
        thread = self._thread(asked.path[1], now)
        sent = bodies.OBJECT.decode(asked.body or b"{}")
        if "metadata" in sent:
            thread.record.metadata = sent["metadata"]
        if "tool_resources" in sent:
            thread.record.tool_resources = sent["tool_resources"]
        self.world.keep(thread=thread.record)
        return _ok(objects.thread(thread.record))

    def delete_thread(self, asked: Asked, now: float) -> Answer:
        """DELETE /threads/{id}."""
        thread = self._thread(asked.path[1], now)
        self.world.delete_thread(thread)
        return _ok({"id": thread.record.id, "object": "thread.deleted", "deleted": True})

    # Runs

    def create_thread_and_run(self, asked: Asked, now: float) -> Answer:
        """POST /threads/runs: the fields that create run has beyond it are refused."""
        sent = _object(asked.body)
        for field in ("additional_instructions", "additional_messages", "reasoning_effort"):
            if field in sent:
                raise Refusal(
                    400,
                    f"Unknown parameter: '{field}'.",
                    kind="unknown_parameter",
                    param=field,
                    code="unknown_parameter",
                )
        inner = bytes(sent.pop("thread", msgspec.Raw(b"{}")))
        sent.pop("tool_resources", None)
        body = bodies.read(bodies.THREAD, b"{}" if inner == b"null" else inner)
        run_body = objects.encode(sent)
        asked_run = bodies.read(bodies.RUN, run_body)
        self._allowed(asked_run, asked)
        thread = self._new_thread(body, inner if inner != b"null" else b"{}", now)
        return self._made(thread, asked_run, run_body, asked, now)

    def create_run(self, asked: Asked, now: float) -> Answer:
        """POST /threads/{id}/runs."""
        body = bodies.read(bodies.RUN, asked.body)
        replayed = self._maker.replayed(asked, asked.path[1], asked.body)
        if replayed is not None:
            return _ok(objects.run(replayed))
        thread = self._thread(asked.path[1], now)
        self._allowed(body, asked)
        if thread.active and not self.world.settings.no_lock:
            self.audit.counts["locked"] += 1
            # The text in use (TripSit/TripBot#939); its code is null.
            raise Refusal(
                400,
                f"Thread {thread.record.id} already has an active run {thread.active[0].id}.",
                kind="active_run",
            )
        return self._made(thread, body, asked.body, asked, now)

    def _allowed(self, body: bodies.RunBody, asked: Asked) -> None:
        if body.assistant_id.startswith("asst_missing"):
            raise not_found("assistant", body.assistant_id)
        v2 = asked.headers.get("openai-beta") == "assistants=v2"
        if v2 and body.tools and any(isinstance(tool, bodies.Retrieval) for tool in body.tools):
            raise Refusal(
                400,
                "Invalid value: 'retrieval'. Supported values are: 'code_interpreter',"
                " 'function', and 'file_search'.",
                kind="invalid_value",
                param="tools",
                code="invalid_value",
            )

    def _made(
        self, thread: Thread, body: bodies.RunBody, raw: bytes, asked: Asked, now: float
    ) -> Answer:
        fate = self._maker.fate(thread, raw)
        if body.additional_messages:
            sent = bodies.OBJECT.decode(raw).get("additional_messages")
            self._add_messages(thread, body.additional_messages, sent, now)
        run = self._maker.make(
            thread, self.world.new_id("run"), raw, fate=fate, asked=asked, now=now
        )
        if body.stream:
            return Answer(200, events=partial(stream.events, run, thread.messages, resumed=False))
        return _ok(objects.run(run))

    def list_runs(self, asked: Asked, now: float) -> Answer:
        """GET /threads/{id}/runs; a lagging list does not show the newest."""
        settings = self.world.settings
        if settings.no_list:
            raise Refusal(404, "Not found", kind="no_list")
        thread = self.world.threads.get(asked.path[1])
        if thread is None and (settings.strict_threads or asked.path[1] in self.world.deleted):
            raise not_found("thread", asked.path[1])
        wanted = page(asked)
        runs = thread.runs.values() if thread else {}.values()
        ordered: Iterable[RunRecord] = reversed(runs) if wanted.newest_first else runs
        if settings.list_lag:
            seen = now - settings.list_lag
            ordered = (run for run in ordered if run.created <= seen)
        return _ok(listed(ordered, wanted, name=_id_of_run, show=objects.run))

    def _run(self, asked: Asked, now: float) -> RunRecord:
        thread_id, run_id = asked.path[1], asked.path[3]
        run = self.world.runs.get(run_id)
        if run is None or run.thread_id != thread_id:
            if thread_id in self.world.deleted:
                raise not_found("thread", thread_id)
            raise not_found("run", run_id)
        if now - run.created < self.world.settings.read_lag:
            self.audit.counts["early_404"] += 1
            raise not_found("run", run_id)
        return run

    def get_run(self, asked: Asked, now: float) -> Answer:
        """GET /threads/{id}/runs/{id}."""
        poll_after_ms = self.world.settings.poll_after_ms
        headers: Headers = JSON
        if poll_after_ms:
            headers = (*JSON, (b"openai-poll-after-ms", str(poll_after_ms).encode()))
        return Answer(200, objects.encode(objects.run(self._run(asked, now))), headers)

    def modify_run(self, asked: Asked, now: float) -> Answer:
        """POST /threads/{id}/runs/{id}: metadata only."""
        bodies.read(bodies.RUN_CHANGE, asked.body)
        run = self._run(asked, now)
        run.metadata = _object(asked.body).get("metadata", run.metadata)
        self.world.keep(run=run)
        return _ok(objects.run(run))

    def cancel_run(self, asked: Asked, now: float) -> Answer:
        """POST …/cancel: an attempt, and refused at rest."""
        run = self._run(asked, now)
        if run.rested:
            raise Refusal(
                400, f"Cannot cancel run with status '{run.status}'.", kind="cannot_cancel"
            )
        if run.status != "cancelling":
            self.world.cancel(run, now)
        return _ok(objects.run(run))

    def submit_tool_outputs(self, asked: Asked, now: float) -> Answer:
        """POST …/submit_tool_outputs: all calls of the round in one request."""
        body = bodies.read(bodies.OUTPUTS, asked.body)
        run = self._run(asked, now)
        if run.status != "requires_action":
            # VRSEN/agency-swarm#71
            raise Refusal(
                400,
                f'Runs in status "{run.status}" do not accept tool outputs.',
                kind="outputs_not_wanted",
            )
        wanted, given = objects.call_ids(run), [output.tool_call_id for output in body.tool_outputs]
        if sorted(wanted) != sorted(given):
            raise Refusal(
                400,
                f"Expected tool outputs for call_ids {wanted}, got {given}",
                kind="outputs_do_not_match",
            )
        self.world.submit(run, body.tool_outputs, now)
        self.audit.counts["tool_outputs_taken"] += 1
        if body.stream:
            messages = self.world.threads[run.thread_id].messages
            return Answer(200, events=partial(stream.events, run, messages, resumed=True))
        return _ok(objects.run(run))

    # Steps and messages

    def list_steps(self, asked: Asked, now: float) -> Answer:
        """GET …/runs/{id}/steps."""
        steps = objects.steps(self._run(asked, now))
        wanted = page(asked)
        ordered = steps[::-1] if wanted.newest_first else steps
        return _ok(listed(ordered, wanted, name=_id_of, show=_itself))

    def get_step(self, asked: Asked, now: float) -> Answer:
        """GET …/runs/{id}/steps/{id}."""
        for step in objects.steps(self._run(asked, now)):
            if step["id"] == asked.path[5]:
                return _ok(step)
        raise not_found("step", asked.path[5])

    def create_message(self, asked: Asked, now: float) -> Answer:
        """POST …/messages: refused while a run is active (openai/openai-python#1023)."""
        body = bodies.read(bodies.MESSAGE, asked.body)
        thread = self._thread(asked.path[1], now)
        if thread.active and not self.world.settings.no_lock:
            raise Refusal(
                400,
                f"Can't add messages to {thread.record.id}"
                f" while a run {thread.active[0].id} is active.",
                kind="active_run",
            )
        return _ok(objects.message(self._add_message(thread, body, _object(asked.body), now)))

    def _add_messages(
        self,
        thread: Thread,
        messages: list[bodies.MessageBody] | None,
        raw: msgspec.Raw | None,
        now: float,
    ) -> None:
        if messages and raw is not None:
            sent = msgspec.json.decode(raw, type=list[bodies.JsonObject])
            for body, one in zip(messages, sent, strict=True):
                self._add_message(thread, body, one, now)

    def _add_message(
        self, thread: Thread, body: bodies.MessageBody, sent: bodies.JsonObject, now: float
    ) -> MessageRecord:
        message = MessageRecord(
            id=self.world.new_id("msg"),
            thread_id=thread.record.id,
            created=now,
            role=body.role,
            content=objects.content(body, sent["content"]),
            text=body.text()[:400],
            attachments=sent.get("attachments", NULL),
            metadata=sent.get("metadata", NULL),
        )
        self.world.add_message(thread, message)
        self.audit.counts["messages"] += 1
        return message

    def list_messages(self, asked: Asked, now: float) -> Answer:
        """GET /threads/{id}/messages, of one run with `run_id`."""
        thread = self._thread(asked.path[1], now)
        wanted = page(asked)
        found = self._messages(thread, wanted.more.get("run_id", ""))
        ordered = found[::-1] if wanted.newest_first else found
        return _ok(listed(ordered, wanted, name=_id_of, show=_itself))

    def get_message(self, asked: Asked, now: float) -> Answer:
        """GET /threads/{id}/messages/{id}."""
        for message in self._messages(self._thread(asked.path[1], now), ""):
            if message["id"] == asked.path[3]:
                return _ok(message)
        raise not_found("message", asked.path[3])

    def _messages(self, thread: Thread, run_id: str) -> list[Object]:
        replies = (
            (run.rested, objects.reply(run, objects.reply_text(run, thread.messages)))
            for run in sorted(thread.runs.values(), key=lambda run: run.rested)
            if objects.has_reply(run) and run_id in {"", run.id}
        )
        if run_id:
            return [message for _, message in replies]
        asked = ((message.created, objects.message(message)) for message in thread.messages)
        return [message for _, message in heapq.merge(asked, replies, key=lambda pair: pair[0])]


def _ok(answer: Object) -> Answer:
    return Answer(200, objects.encode(answer))


def _object(body: bytes) -> bodies.JsonObject:
    return bodies.read(bodies.OBJECT, body)


def _id_of_run(run: RunRecord) -> str:
    return run.id


def _id_of(shown: Object) -> str:
    return str(shown["id"])


def _itself(shown: Object) -> Object:
    return shown

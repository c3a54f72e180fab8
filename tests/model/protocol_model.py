"""The protocol as a finite machine: every interleaving of workers, network, server, people, faults.

Written around the real table of states (`core.states.step`) and the real verdicts (`core.faults`,
`core.retry`). Times are ticks, and relative (what is left of a lease, a wait, a request), so that
the states are finite. One step is one store transaction, or bytes leaving, or one answer read.

Where the real code differs from the words of protocol.md, this follows the code:
- lapse is decided in the database: a taking-over marks its victim `taken`, and a heartbeat compares
  it; a heartbeat succeeds only where nothing was taken;
- a taking-over frees all jobs of its victim, and the taker claims one: one step here, since a job
  that nobody holds is reachable by giving back as well;
- a killed worker begins anew at once; its jobs stay with an incarnation that is dead (`GHOST`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random
from typing import NamedTuple, TypeAlias, TypeVar

from runner.core.call import Answer, Reply, Silence
from runner.core.faults import classify
from runner.core.model import JobState, Reason
from runner.core.retry import Again, Blocked, RetryPolicy, Shut, judge
from runner.core.states import Event, ImpossibleError, step


class Rule(StrEnum):
    """What the protocol rests on; a mutant is a setting without one of them."""

    INTENT_DURABLE = "intent durable before the send"
    DOUBT_NO_REFUSAL = "doubt is not refusal"
    LOOK_BEFORE_RESEND = "look before re-send"
    LAST_LOOK = "the last look after W"
    WAIT = "wait W"
    WAIT_FROM_CLOSE = "W from the close, not the intent"
    CRASH_KEEPS = "a crash keeps submitting"
    TAKER_LOOKS = "taking over looks first"
    TAKER_WAITS = "taking over waits"
    TAKE_THE_DEAD = "take only after lease or proof"
    CHECK = "check right before the send"
    TAKEN_LAPSES = "who was taken over has lapsed"
    CLOSED_ONCE = "closed once an attempt"
    TOKEN = "token in the compare-and-set"
    COMPARE = "compare-and-set at all"
    GOOD_LEASE = "claim only under a good lease"
    GIVE_BACK = "give back what was let go"
    LATE_KEPT = "a late answer is kept"
    REST_QUIET = "rest as in_doubt only after W"
    TURNS = "jobs of a thread in turn"
    SAME_KEY = "same key on each attempt"
    CANCEL_ASKS = "cancel of submitting only asks"
    CANCEL_FOLLOWS = "cancel waits for the terminal status"
    RETRY_WORD = "retry of in_doubt needs a person's word"
    OUTPUTS_GET = "outputs: 400 means GET"
    STAYS_DOUBTED = "the 429 after a doubt keeps doubted"
    ACTIVE_LOOKED_AT = "the active-run refusal is looked at"
    FAMILY = "retry looks for older generations' tags"


ALL = frozenset(Rule)


@dataclass(frozen=True, slots=True)
class Setting:
    """One small world. Times in ticks; the last fields are budgets of faults and wishes.

    `d` None: a request may arrive at any time later. `f` is the longest stop between check and
    send, None without bound; `dead_man` kills a stopped worker as its lease ends. `k`: the server
    closes a connection that was silent for longer. `lock`: a dead worker is proven dead at once.
    """

    jobs: int = 1
    keys: bool = False
    lists: bool = True
    locks: bool = False
    names: bool = True
    ids: bool = True
    resend: bool = True
    d: int | None = 1
    g: int = 1
    w: int = 3
    z: int = 0
    lease: int = 2
    r: int = 1
    f: int | None = None
    k: int | None = None
    dead_man: bool = True
    lock: bool = True
    attempts: int = 2
    rounds: int = 0
    running: bool = False
    word: bool = False
    unknown: bool = False
    kills: int = 1
    freezes: int = 1
    refusals: int = 0
    cancels: int = 0
    retries: int = 0
    repeats: int = 0
    rules: frozenset[Rule] = field(default=ALL)

    def without(self, *rules: Rule) -> "Setting":
        """Return this setting with rules taken away."""
        return replace(self, rules=self.rules - set(rules))


Q, S, R, OK, BAD, OFF = range(6)
_STATES = (
    JobState.QUEUED,
    JobState.SUBMITTING,
    JobState.RUNNING,
    JobState.SUCCEEDED,
    JobState.FAILED,
    JobState.CANCELLED,
)


def _column(event: Event) -> dict[int, int]:
    """Return where an event leads from each state that knows it, by the real table."""
    found: dict[int, int] = {}
    for number, state in enumerate(_STATES):
        try:
            found[number] = _STATES.index(step(state, event))
        except ImpossibleError:
            continue
    return found


_INTENDED = _column(Event.INTEND)
_REFUSED = _column(Event.REFUSED)
_DOUBTED = _column(Event.DOUBT)
_CREATED = _column(Event.CREATED)
_ADOPTED = _column(Event.ADOPTED)
_UNKNOWN = _column(Event.IN_DOUBT)
_COMPLETED = _column(Event.COMPLETED)
_RUN_OFF = _column(Event.RUN_CANCELLED)
_ENDED = _column(Event.ENDED_BADLY)
_CANCEL = _column(Event.CANCEL)
_RETRY = _column(Event.RETRY)


def _verdict(answer: Answer, active_run: str | None = None) -> type:
    """Return what the real core makes of an answer to a create."""
    fault = classify(answer, active_run=active_run)
    return type(judge(fault, 0, RetryPolicy(), Random(0)))


PROOFS = (Shut, Again)
ON_TIMEOUT = _verdict(Silence(sent=True, why="timeout"))
ON_UNSENT = _verdict(Silence(sent=False, why="guard"))
ON_429 = _verdict(Reply(429))
ON_ACTIVE = _verdict(Reply(400), "run_x")

NOBODY = -1
GHOST = 2
"""A holder of GHOST + n is a dead incarnation whose lease has n ticks left."""


class At:
    """Where a worker stands; plain numbers, since an enum's hash costs too much here."""

    IDLE = 0
    HAVE = 1
    CHECK = 2
    SEND = 3
    WAIT = 4
    LOOK = 5
    READY = 6
    ADOPT = 7
    BUSY = 8
    FOLLOW = 9
    ACT = 10
    ACTED = 11


# What lies in its socket.
NOTHING, REFUSED, ACTIVE_RUN, MADE, TAKEN, NOT_TAKEN = range(6)
# How a run stands.
ACTIVE, WAITS, CANCELLING, COMPLETED, CANCELLED = range(5)
CREATE, OUTPUTS = 0, 1


class Job(NamedTuple):
    """A row. `quiet`: ticks until quiet, below 0 while open (-1 less what has passed since)."""

    state: int = Q
    why: str = ""
    generation: int = 1
    attempt: int = 0
    holder: int = NOBODY
    quiet: int = -1
    run: int = -1
    known: int = 0
    doubted: bool = False
    asked: bool = False
    refusals: int = 0


class Worker(NamedTuple):
    """An incarnation and the one job that it carries, as it was when last read or written.

    `mine`: its token is still the row's. `f`: ticks that it may still stop before the send.
    """

    frozen: bool = False
    at: int = At.IDLE
    job: int = -1
    state: int = Q
    generation: int = 0
    attempt: int = 0
    mine: bool = False
    lease: int = 0
    taken: bool = False
    f: int = 0
    answer: int = NOTHING
    run: int = -1


class Request(NamedTuple):
    """Bytes under way. `worker` waits for the answer, NOBODY once it has hung up."""

    kind: int
    job: int
    generation: int
    key: int
    left: int
    worker: int


class Run(NamedTuple):
    """A run on the server; `lag`: ticks until lists show it. Its number is its place."""

    job: int
    generation: int
    key: int
    lag: int
    status: int
    round: int = 0


class Budget(NamedTuple):
    """Faults and wishes that are left."""

    kills: int
    freezes: int
    refusals: int
    cancels: int
    retries: int
    repeats: int


class State(NamedTuple):
    """Everything. `wrong` names a rule of safety that the last step itself broke."""

    jobs: tuple[Job, ...]
    workers: tuple[Worker, ...]
    requests: tuple[Request, ...]
    runs: tuple[Run, ...]
    budget: Budget
    wrong: str = ""


Move: TypeAlias = tuple[str, int, int]
"""What is done, by which worker or to which request, run or job (NOBODY: none), and to what."""

FAULTS = frozenset({"is killed", "freezes", "cancel", "retry", "is refused", "is repeated"})
Step: TypeAlias = tuple[Move, State]


def told(move: Move) -> str:
    """Return a move for people: A and B are the workers, jobs and runs count from 1."""
    what, who, which = move
    name = "AB"[who] if who >= 0 else ""
    number = f" {which + 1}" if which >= 0 else ""
    return f"{name} {what}{number}".strip()


class Model:
    """The moves of one setting, and what must hold after each."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.on = {rule.name: rule in setting.rules for rule in Rule}
        self.can_see = setting.lists
        self.patience = setting.w if self.on["WAIT"] else 0
        self._start = self.start()

    def start(self) -> State:
        """Return the state before anything has happened."""
        s = self.setting
        jobs = tuple(Job() for _ in range(s.jobs))
        fresh = self._fresh()
        workers = (fresh, fresh)
        runs: tuple[Run, ...] = ()
        if s.running:
            jobs = (Job(R, attempt=1, holder=0, run=0, known=1),)
            workers = (
                fresh._replace(at=At.FOLLOW, job=0, state=R, generation=1, attempt=1, mine=True),
                fresh,
            )
            runs = (Run(0, 1, 0, 0, ACTIVE),)
        budget = Budget(s.kills, s.freezes, s.refusals, s.cancels, s.retries, s.repeats)
        return State(jobs, workers, (), runs, budget)

    def _fresh(self) -> Worker:
        return Worker(lease=self.setting.lease)

    # What must hold

    def broken(self, state: State) -> str:
        """Return which promise a state breaks, or ""."""
        if state.wrong:
            return state.wrong
        if state.runs:
            seen: set[tuple[int, int]] = set()
            active = 0
            for run in state.runs:
                if (run.job, run.generation) in seen:
                    return "two runs of one generation"
                seen.add((run.job, run.generation))
                active += run.status <= CANCELLING
            if active > 1 and self._turned(state):
                return "two active runs on one thread"
        for number, job in enumerate(state.jobs):
            if job.state >= OK or job.generation > 1:
                wrong = self._at_rest(state, number, job)
                if wrong:
                    return wrong
        return ""

    def _turned(self, state: State) -> bool:
        # Two generations of one job meet only after a person's word.
        return not self.setting.word and len({run.job for run in state.runs}) > 1

    def _at_rest(self, state: State, number: int, job: Job) -> str:
        if job.state >= OK and job.run >= 0:
            status = state.runs[job.run].status
            if status != {OK: COMPLETED, OFF: CANCELLED}.get(job.state, -1):
                return "the row does not say what the run says"
        newer = {run.generation for run in state.runs if run.job == number}
        for place, run in enumerate(state.runs):
            if run.job != number or job.known >> place & 1:
                continue
            if max(newer) > run.generation and not self.setting.word:
                return "paid twice: an unknown run of an earlier generation"
            sure = not self.setting.unknown or job.state == OFF
            if job.state >= OK and sure and self._quiet(state, number):
                return "a run that the store does not know"
        return ""

    def _quiet(self, state: State, number: int) -> bool:
        """Whether nothing of a job is under way to the server or back."""
        return not any(q.job == number for q in state.requests) and not any(
            w.job == number and (w.at == At.ADOPT or w.answer == MADE) for w in state.workers
        )

    def at_rest(self, state: State) -> bool:
        """Whether every job has come to rest."""
        return all(job.state >= OK for job in state.jobs)

    # Moves

    def steps(self, state: State) -> Iterator[Step]:
        """Yield every move that is possible, and where it leads."""
        first = state == self._start
        for me, worker in enumerate(state.workers):
            if first and me:
                break  # The two workers are alike: the first to move is A.
            if worker.frozen:
                yield ("wakes", me, -1), _put(state, me, worker._replace(frozen=False))
            else:
                yield from self._work(state, me, worker)
            yield from self._harm(state, me, worker)
        for place in range(len(state.requests)):
            yield from self._network(state, place)
        for place in range(len(state.runs)):
            yield from self._server(state, place)
        for number in range(len(state.jobs)):
            yield from self._people(state, number)
        ticked = self._tick(state)
        if ticked is not None and ticked != state:
            yield ("a tick", -1, -1), ticked

    def _work(self, state: State, me: int, w: Worker) -> Iterator[Step]:
        match w.at:
            case At.IDLE:
                yield from self._claims(state, me, w)
            case At.HAVE:
                yield from self._intend(state, me, w)
            case At.CHECK:
                yield self._check(state, me, w)
            case At.SEND:
                yield self._send(state, me, w)
            case At.WAIT:
                yield ("times out", me, -1), self._doubt(state, me, w, At.LOOK)
                if w.answer:
                    yield self._read_answer(state, me, w)
            case At.LOOK:
                yield from self._look(state, me, w)
            case At.READY:
                yield from self._decide(state, me, w)
            case At.ADOPT:
                yield ("adopts run", me, w.run), self._got(state, me, w, w.run, _ADOPTED)
            case At.BUSY:
                yield from self._ask_blocker(state, me, w)
            case At.FOLLOW:
                yield from self._follow(state, me, w)
            case At.ACT:
                # Two under way show all that more could show.
                if len(state.requests) < 2:
                    yield self._outputs(state, me, w)
            case _:
                yield from self._outputs_answered(state, me, w)

    def _claims(self, state: State, me: int, w: Worker) -> Iterator[Step]:
        if w.taken and self.on["GOOD_LEASE"]:
            return
        for number, job in enumerate(state.jobs):
            if job.state >= OK or (job.state == Q and not self._turn(state, number)):
                continue
            holder = job.holder
            if holder == NOBODY:
                yield ("claims job", me, number), self._take(state, me, number, job)
            elif holder >= GHOST:
                if self.setting.lock or holder == GHOST:
                    yield (
                        ("takes over job", me, number),
                        self._over(state, me, number, presumed=not self.setting.lock),
                    )
            elif holder != me:
                other = state.workers[holder]
                # Without the rule: from whoever is silent, be it for a moment.
                if other.lease == 0 or (other.frozen and not self.on["TAKE_THE_DEAD"]):
                    yield (
                        ("takes over job", me, number),
                        self._over(state, me, number, presumed=True),
                    )

    def _turn(self, state: State, number: int) -> bool:
        return not self.on["TURNS"] or all(job.state >= OK for job in state.jobs[:number])

    def _take(self, state: State, me: int, number: int, job: Job) -> State:
        """Claim: the token moves on, so every other worker's belief is old."""
        workers = [
            w._replace(mine=False) if w.job == number and w.mine else w for w in state.workers
        ]
        at = {Q: At.HAVE, S: At.LOOK, R: At.FOLLOW}[job.state]
        if job.state == S and not self.on["TAKER_LOOKS"]:
            at = At.READY
        workers[me] = workers[me]._replace(
            at=at,
            job=number,
            state=job.state,
            generation=job.generation,
            attempt=job.attempt,
            mine=True,
            answer=NOTHING,
            run=-1,
        )
        return state._replace(
            jobs=_with(state.jobs, number, job._replace(holder=me)), workers=tuple(workers)
        )

    def _over(self, state: State, me: int, number: int, *, presumed: bool) -> State:
        """Take over: all jobs of the victim are freed, its row is marked, one is claimed."""
        victim = state.jobs[number].holder
        jobs, workers = list(state.jobs), list(state.workers)
        for place, job in enumerate(jobs):
            if job.holder == victim:
                jobs[place] = self._freed(job, presumed=presumed)
                workers = [
                    w._replace(mine=False) if w.job == place and w.mine else w for w in workers
                ]
        if victim < GHOST:
            workers[victim] = workers[victim]._replace(taken=True)
        state = state._replace(jobs=tuple(jobs), workers=tuple(workers))
        return self._take(state, me, number, state.jobs[number])

    def _freed(self, job: Job, *, presumed: bool) -> Job:
        if job.state == S and not self.on["CRASH_KEEPS"]:
            return job._replace(state=Q, holder=NOBODY, quiet=-1)
        if job.state == S and (job.quiet < 0 or not self.on["CLOSED_ONCE"]):
            job = self._closed(job, presumed=presumed)
            if not self.on["TAKER_WAITS"]:
                job = job._replace(quiet=0)
        return job._replace(holder=NOBODY)

    def _closed(self, job: Job, *, presumed: bool = False) -> Job:
        wait = self.patience + (self.setting.z if presumed else 0)
        if not self.on["WAIT_FROM_CLOSE"]:
            wait = max(0, wait + 1 + job.quiet)
        return job._replace(quiet=wait, doubted=True)

    def _fits(self, w: Worker, job: Job) -> bool:
        if not self.on["COMPARE"]:
            return True
        return (
            (w.mine or not self.on["TOKEN"])
            and w.state == job.state
            and w.attempt == job.attempt
            and w.generation == job.generation
        )

    def _intend(self, state: State, me: int, w: Worker) -> Iterator[Step]:
        job = state.jobs[w.job]
        if (
            w.state == Q
            and w.run != -2
            and job.doubted
            and self.can_see
            and self.on["STAYS_DOUBTED"]
        ):
            yield ("must look first", me, -1), _put(state, me, w._replace(at=At.LOOK))
            return
        if w.state == Q and job.asked and w.mine:
            rest = self._rest(state, me, w, _CANCEL, Reason.CANCELLED.value)
            yield ("ends it as cancelled", me, -1), rest
            return
        if w.lease < self.setting.r and self.on["CHECK"]:
            yield ("may not send, lets go", me, -1), self._let_go(state, me, w)
            return
        if not self._fits(w, job):
            yield ("lost it", me, -1), self._idle(state, me)
            return
        sent = job._replace(state=_INTENDED[w.state], attempt=w.attempt + 1, quiet=-1)
        went = w._replace(at=At.CHECK, state=S, attempt=w.attempt + 1, run=-1)
        yield ("writes its intent", me, -1), _set(state, me, went, sent)

    def _let_go(self, state: State, me: int, w: Worker) -> State:
        job = state.jobs[w.job]
        if self.on["GIVE_BACK"] and self._fits(w, job):
            state = state._replace(jobs=_with(state.jobs, w.job, job._replace(holder=NOBODY)))
        return self._idle(state, me)

    def _idle(self, state: State, me: int) -> State:
        """Carry nothing any more; what is connected is hung up."""
        w = state.workers[me]
        idle = Worker(lease=w.lease, taken=w.taken, frozen=w.frozen)
        return _hung_up(_put(state, me, idle), me)

    def _check(self, state: State, me: int, w: Worker) -> Step:
        if w.lease >= self.setting.r or not self.on["CHECK"]:
            # The server closes what was silent for more than K ticks.
            f = self.setting.f or 0 if self.setting.k is None else self.setting.k + 1
            return ("checks its lease", me, -1), _put(state, me, w._replace(at=At.SEND, f=f))
        if ON_UNSENT not in PROOFS:
            raise AssertionError("a guard that said no is no doubt")
        return ("finds its lease too short", me, -1), self._requeue(state, me, w)

    def _requeue(self, state: State, me: int, w: Worker) -> State:
        job = state.jobs[w.job]
        if not self._fits(w, job):
            return self._idle(state, me)
        back = job._replace(state=_REFUSED[w.state], holder=NOBODY, quiet=-1)
        if job.asked:
            back = back._replace(state=_CANCEL[back.state], why=Reason.CANCELLED.value)
        return self._idle(state._replace(jobs=_with(state.jobs, w.job, back)), me)

    def _send(self, state: State, me: int, w: Worker) -> Step:
        went = _put(state, me, w._replace(at=At.WAIT, f=0, answer=NOTHING, run=-1))
        if self.setting.k is not None and w.f == 0:
            return ("sends into a closed connection", me, -1), went
        d = self.setting.d
        key = 0 if self.on["SAME_KEY"] else w.attempt
        request = Request(CREATE, w.job, w.generation, key, -1 if d is None else d, me)
        return ("sends", me, -1), _under_way(went, request)

    def _doubt(self, state: State, me: int, w: Worker, at: int, run: int = -1) -> State:
        """Hang up, close the attempt, and look."""
        state = _hung_up(state, me)
        if not self.on["DOUBT_NO_REFUSAL"]:
            return self._requeue(state, me, w)
        job = state.jobs[w.job]
        if not self._fits(w, job):
            return self._idle(state, me)
        closed = self._closed(job._replace(state=_DOUBTED[w.state])) if job.quiet < 0 else job
        closed = closed._replace(refusals=job.refusals + (at == At.LOOK))
        return _set(state, me, w._replace(at=at, answer=NOTHING, run=run), closed)

    def _read_answer(self, state: State, me: int, w: Worker) -> Step:
        if w.answer == MADE:
            return ("reads the id of run", me, w.run), self._got(state, me, w, w.run, _CREATED)
        if w.answer == REFUSED:
            if ON_429 not in PROOFS:
                raise AssertionError("a 429 is a proof")
            return ("reads a 429", me, -1), self._requeue(state, me, w)
        if ON_ACTIVE is not Blocked:
            raise AssertionError("a refusal that names a run is no proof")
        at = At.BUSY if self.setting.names and self.on["ACTIVE_LOOKED_AT"] else At.LOOK
        after = self._doubt(state, me, w, at, w.run if at == At.BUSY else -1)
        return ("reads that run is active:", me, w.run), after

    def _got(self, state: State, me: int, w: Worker, run: int, table: dict[int, int]) -> State:
        """Record a run's id; who has lost the job leaves it as evidence, and lets go."""
        state = _hung_up(state, me)
        job = state.jobs[w.job]
        if self._fits(w, job):
            row = job._replace(state=table[w.state], run=run, known=job.known | 1 << run, quiet=-1)
            at = w._replace(at=At.FOLLOW, state=R, answer=NOTHING, run=-1)
            return _set(state, me, at, row)
        if job.known >> run & 1:
            return self._idle(state, me)
        if not self.on["LATE_KEPT"]:
            return self._idle(state, me)._replace(wrong="an answer in hand was thrown away")
        row = job._replace(known=job.known | 1 << run)
        return self._idle(state._replace(jobs=_with(state.jobs, w.job, row)), me)

    def _look(self, state: State, me: int, w: Worker) -> Iterator[Step]:
        """Read the evidence and the list; a look that shows nothing decides only after quiet."""
        job = state.jobs[w.job]
        found = self._found(state, w, job)
        if found >= 0:
            yield (
                ("looks, finds run", me, found),
                _put(state, me, w._replace(at=At.ADOPT, run=found)),
            )
            return
        if w.state == Q:
            yield ("looks, finds nothing", me, -1), _put(state, me, w._replace(at=At.HAVE, run=-2))
            return
        quiet = job.quiet == 0 or not w.mine
        early = not self.on["LAST_LOOK"] and self.can_see
        keyed = (
            self.setting.keys
            and not self.can_see
            and job.refusals < self.setting.attempts
            and not job.asked
        )
        hasty = not self.on["REST_QUIET"] and not self.setting.resend
        if quiet or early or keyed or hasty:
            yield ("looks, finds nothing", me, -1), _put(state, me, w._replace(at=At.READY))

    def _found(self, state: State, w: Worker, job: Job) -> int:
        blind = not self.can_see or (not self.on["LOOK_BEFORE_RESEND"] and w.state == S)
        for place, run in enumerate(state.runs):
            if run.job != w.job:
                continue
            known = job.known >> place & 1
            if run.generation == w.generation:
                if known or not (blind or run.lag):
                    return place
            elif not (known or blind or run.lag) and self.on["FAMILY"]:
                return place
        return -1

    def _decide(self, state: State, me: int, w: Worker) -> Iterator[Step]:
        """Row 11: what a whole look after quiet that found nothing leads to."""
        job = state.jobs[w.job]
        if not self.on["LAST_LOOK"] and job.quiet > 0:
            return
        s = self.setting
        tries_left = job.refusals < s.attempts
        if job.asked and self.can_see:
            rest = self._rest(state, me, w, _CANCEL, Reason.CANCELLED.value)
            yield ("ends it as cancelled", me, -1), rest
        elif not tries_left and self.can_see and s.resend:
            rest = self._rest(state, me, w, _UNKNOWN, Reason.EXHAUSTED.value)
            yield ("ends it as exhausted", me, -1), rest
        elif not s.resend or not tries_left or job.asked:
            rest = self._rest(state, me, w, _UNKNOWN, Reason.IN_DOUBT.value)
            yield ("ends it in doubt", me, -1), rest
        else:
            yield from self._intend(state, me, w)

    def _rest(self, state: State, me: int, w: Worker, table: dict[int, int], why: str) -> State:
        job = state.jobs[w.job]
        if self._fits(w, job):
            row = job._replace(state=table[w.state], why=why, holder=NOBODY, quiet=-1, asked=False)
            state = state._replace(jobs=_with(state.jobs, w.job, row))
        return self._idle(state, me)

    def _ask_blocker(self, state: State, me: int, w: Worker) -> Iterator[Step]:
        run = state.runs[w.run]
        if (run.job, run.generation) == (w.job, w.generation):
            yield ("finds its own run active:", me, w.run), _put(state, me, w._replace(at=At.ADOPT))
        elif run.status > CANCELLING:
            rests = _put(state, me, w._replace(at=At.LOOK, run=-1))
            yield ("sees another's run at rest:", me, w.run), rests

    def _follow(self, state: State, me: int, w: Worker) -> Iterator[Step]:
        job = state.jobs[w.job]
        if job.run < 0:
            yield ("lost it", me, -1), self._idle(state, me)
            return
        run = state.runs[job.run]
        if run.status == COMPLETED:
            yield ("settles job", me, w.job), self._rest(state, me, w, _COMPLETED, "completed")
        elif run.status == CANCELLED:
            yield ("settles job", me, w.job), self._rest(state, me, w, _RUN_OFF, "cancelled")
        elif run.status == WAITS:
            went = w._replace(at=At.ACT, run=run.round)
            yield ("reads that outputs are wanted, round", me, run.round), _put(state, me, went)
        elif job.asked and run.status == ACTIVE:
            runs = _with(state.runs, job.run, run._replace(status=CANCELLING))
            asked = state._replace(runs=runs)
            if not self.on["CANCEL_FOLLOWS"]:
                asked = self._rest(asked, me, w, _RUN_OFF, "cancelled")
            yield ("asks the server to cancel run", me, job.run), asked

    def _outputs(self, state: State, me: int, w: Worker) -> Step:
        d = self.setting.d
        run = state.jobs[w.job].run
        request = Request(OUTPUTS, w.job, run, w.run, -1 if d is None else d, me)
        went = _put(state, me, w._replace(at=At.ACTED, answer=NOTHING))
        return ("sends the outputs of round", me, w.run), _under_way(went, request)

    def _outputs_answered(self, state: State, me: int, w: Worker) -> Iterator[Step]:
        again = w._replace(at=At.FOLLOW, answer=NOTHING, run=-1)
        yield ("hears nothing of its outputs", me, -1), _hung_up(_put(state, me, again), me)
        if w.answer == TAKEN:
            yield ("reads that its outputs were taken", me, -1), _put(state, me, again)
        elif w.answer == NOT_TAKEN:
            after = (
                _put(state, me, again)
                if self.on["OUTPUTS_GET"]
                else self._rest(state, me, w, _ENDED, "failed")
            )
            yield ("reads a 400 to its outputs", me, -1), after

    # Others

    def _harm(self, state: State, me: int, w: Worker) -> Iterator[Step]:
        budget = state.budget
        holds = w.at != At.IDLE or any(job.holder == me for job in state.jobs)
        if budget.kills and holds:
            spent = state._replace(budget=budget._replace(kills=budget.kills - 1))
            yield ("is killed", me, -1), self._dead(spent, me, w.lease)
        if budget.freezes and not w.frozen:
            spent = state._replace(budget=budget._replace(freezes=budget.freezes - 1))
            yield ("freezes", me, -1), _put(spent, me, w._replace(frozen=True))

    def _dead(self, state: State, me: int, lease: int) -> State:
        """Kill a worker; what it held stays with its dead incarnation, and it begins anew."""
        jobs = list(state.jobs)
        for number, job in enumerate(jobs):
            if job.holder == me:
                jobs[number] = job._replace(holder=GHOST + lease)
                if not self.on["INTENT_DURABLE"] and job.state == S and job.quiet < 0:
                    jobs[number] = jobs[number]._replace(state=Q, attempt=job.attempt - 1)
        return _hung_up(_put(state._replace(jobs=tuple(jobs)), me, self._fresh()), me)

    def _network(self, state: State, place: int) -> Iterator[Step]:
        request = state.requests[place]
        left = state.requests[:place] + state.requests[place + 1 :]
        gone = state._replace(requests=left)
        yield ("a request is lost:", -1, place), gone
        yield ("the server gets request", -1, place), self._served(gone, request)
        budget = state.budget
        if request.kind == CREATE and budget.refusals:
            spent = gone._replace(budget=budget._replace(refusals=budget.refusals - 1))
            yield ("is refused", -1, place), _answer(spent, request, REFUSED)
        if budget.repeats:
            spent = state._replace(budget=budget._replace(repeats=budget.repeats - 1))
            yield ("is repeated", -1, place), _under_way(spent, request._replace(worker=NOBODY))

    def _served(self, state: State, request: Request) -> State:
        if request.kind == OUTPUTS:
            return self._outputs_served(state, request)
        mine = (request.job, request.generation, request.key)
        for number, run in enumerate(state.runs):
            if self.setting.keys and (run.job, run.generation, run.key) == mine:
                return _answer(state, request, MADE, number)
        for number, run in enumerate(state.runs):
            if self.setting.locks and run.status <= CANCELLING:
                return _answer(state, request, ACTIVE_RUN, number)
        run = Run(*mine, self.setting.g if self.can_see else 0, ACTIVE)
        made = state._replace(runs=(*state.runs, run))
        return _answer(made, request, MADE, len(state.runs))

    def _outputs_served(self, state: State, request: Request) -> State:
        run = state.runs[request.generation]
        if run.status != WAITS or (self.setting.ids and run.round != request.key):
            return _answer(state, request, NOT_TAKEN)
        taken = run._replace(status=ACTIVE, round=run.round + 1)
        wrong = "" if run.round == request.key else "outputs taken by another round"
        runs = _with(state.runs, request.generation, taken)
        return _answer(state._replace(runs=runs, wrong=wrong), request, TAKEN)

    def _server(self, state: State, place: int) -> Iterator[Step]:
        run = state.runs[place]
        ends: tuple[int, ...] = ()
        if run.status == ACTIVE:
            ends = (WAITS,) if run.round < self.setting.rounds else (COMPLETED,)
        elif run.status == CANCELLING:
            ends = (COMPLETED, CANCELLED)
        for status in ends:
            runs = _with(state.runs, place, run._replace(status=status))
            word = ("", "wants outputs:", "", "completes: run", "is cancelled: run")[status]
            yield (word, -1, place), state._replace(runs=runs)

    def _people(self, state: State, number: int) -> Iterator[Step]:
        job, budget = state.jobs[number], state.budget
        if budget.cancels and job.state < OK and not job.asked:
            if (job.state == Q and job.holder == NOBODY) or (
                job.state == S and not self.on["CANCEL_ASKS"]
            ):
                why = Reason.CANCELLED.value
                row = job._replace(state=_CANCEL[job.state], why=why, holder=NOBODY, quiet=-1)
                wished = _aged(state, number)
            else:
                row, wished = job._replace(asked=True), state
            spent = budget._replace(cancels=budget.cancels - 1)
            jobs = _with(wished.jobs, number, row)
            yield ("cancel", -1, number), wished._replace(jobs=jobs, budget=spent)
        if budget.retries and job.state >= OK and job.state != OK:
            unsure = job.why == Reason.IN_DOUBT.value
            if unsure and not self.setting.word and self.on["RETRY_WORD"]:
                return
            row = Job(
                state=_RETRY[job.state],
                generation=job.generation + 1,
                known=job.known,
                doubted=unsure,
            )
            spent = budget._replace(retries=budget.retries - 1)
            state = _aged(state, number)
            jobs = _with(state.jobs, number, row)
            yield ("retry", -1, number), state._replace(jobs=jobs, budget=spent)

    def _tick(self, state: State) -> State | None:
        """Let time pass; None where something must happen first."""
        s = self.setting
        if any(request.left == 0 for request in state.requests):
            return None
        bounded = s.f is not None and s.k is None
        if bounded and any(w.at == At.SEND and w.f == 0 for w in state.workers):
            return None
        for me in range(len(state.workers)):
            state = self._passed(state, me, bounded=bounded or s.k is not None)
        jobs = tuple([self._older(job) for job in state.jobs])
        requests = tuple([q._replace(left=q.left - 1) if q.left > 0 else q for q in state.requests])
        runs = tuple([run._replace(lag=run.lag - 1) if run.lag else run for run in state.runs])
        return State(jobs, state.workers, requests, runs, state.budget, state.wrong)

    def _older(self, job: Job) -> Job:
        if job.holder > GHOST:
            job = job._replace(holder=job.holder - 1)
        if job.state == S:
            if job.quiet > 0:
                return job._replace(quiet=job.quiet - 1)
            if job.quiet < 0 and not self.on["WAIT_FROM_CLOSE"]:
                return job._replace(quiet=max(job.quiet - 1, -1 - self.setting.w))
        return job

    def _passed(self, state: State, me: int, *, bounded: bool) -> State:
        """Let a tick pass for one worker: the living beat, the stopped lose their lease."""
        w = state.workers[me]
        if bounded and w.at == At.SEND and w.f:
            w = w._replace(f=w.f - 1)
        if w.frozen:
            w = w._replace(lease=max(0, w.lease - 1))
            if self.setting.dead_man and w.lease == 0:
                return self._dead(_put(state, me, w), me, 0)
            return _put(state, me, w)
        if w.taken and self.on["TAKEN_LAPSES"]:
            # Lapsed: all is hung up, what is still held is given back, and a new id begins.
            for number, job in enumerate(state.jobs):
                if job.holder == me:
                    state = state._replace(
                        jobs=_with(state.jobs, number, self._freed(job, presumed=False))
                    )
                    state = _aged(state, number)
            return _hung_up(_put(state, me, self._fresh()), me)
        if w.taken or w.lease != self.setting.lease or w is not state.workers[me]:
            state = _put(state, me, w._replace(lease=self.setting.lease, taken=False))
        if self.on["GIVE_BACK"]:
            for number, job in enumerate(state.jobs):
                if job.holder == me and w.job != number:
                    state = state._replace(
                        jobs=_with(state.jobs, number, self._freed(job, presumed=False))
                    )
                    state = _aged(state, number)
        return state


T = TypeVar("T")


def _with(things: tuple[T, ...], place: int, thing: T) -> tuple[T, ...]:
    if place == 0 and len(things) == 1:
        return (thing,)
    return (*things[:place], thing, *things[place + 1 :])


def _put(state: State, me: int, worker: Worker) -> State:
    # Named one by one: a third of the time of _replace, and this is what is done most.
    jobs, workers, requests, runs, budget, wrong = state
    return State(jobs, _with(workers, me, worker), requests, runs, budget, wrong)


def _set(state: State, me: int, worker: Worker, job: Job) -> State:
    jobs, workers, requests, runs, budget, wrong = state
    jobs, workers = _with(jobs, worker.job, job), _with(workers, me, worker)
    return State(jobs, workers, requests, runs, budget, wrong)


def _aged(state: State, number: int) -> State:
    """Make every worker's belief about a job old: its token has moved on."""
    workers = tuple(
        w._replace(mine=False) if w.job == number and w.mine else w for w in state.workers
    )
    return state._replace(workers=workers)


def _under_way(state: State, request: Request) -> State:
    return state._replace(requests=tuple(sorted((*state.requests, request))))


def _hung_up(state: State, me: int) -> State:
    """Close the connection of a worker: a request may arrive still, its answer not any more."""
    if not any(request.worker == me for request in state.requests):
        return state
    requests = (q._replace(worker=NOBODY) if q.worker == me else q for q in state.requests)
    return state._replace(requests=tuple(sorted(requests)))


def _answer(state: State, request: Request, answer: int, run: int = -1) -> State:
    me = request.worker
    if me == NOBODY:
        return state
    worker = state.workers[me]
    if run < 0 and answer in (TAKEN, NOT_TAKEN):
        run = worker.run
    return _put(state, me, worker._replace(answer=answer, run=run))

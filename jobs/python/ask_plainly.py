"""The same without a loop of its own, a failure put right by the program, and a file at the end."""

from ask import QUESTIONS

from runner.sync import Runner

JOBS = [
    {"custom_id": name, "assistant_id": "asst_1", "instructions": question}
    for name, question in QUESTIONS.items()
]
# metadata.fate tells the simulator what the first run of this case shall come to.
JOBS[0]["metadata"] = {"case": "sky", "fate": "rate_limit_exceeded:1"}

with Runner(db="ask.db", simulate=True) as runner:
    failed = [
        outcome.custom_id
        for outcome in runner.run(JOBS, batch="ask-plainly")
        if not outcome.succeeded
    ]
    print("failed:", *failed)
    if failed:
        runner.retry("ask-plainly", only=failed)
        for outcome in runner.run(batch="ask-plainly"):
            print(outcome.custom_id, outcome.status, outcome.generation)
    runner.export("ask-plainly.jsonl", batch="ask-plainly")

"""Runs one emulator for as long as the process that started it lives.

    python emulator.py ministack
    python emulator.py localstripe <port>

The standard input is a pipe whose other end the supervisor holds. When it closes, for whatever reason (a kill -9 among
them), this process ends its whole process group: itself, and the Lambda functions that the emulator started.
"""

import hashlib
import inspect
import json
import os
import signal
import sys
import threading
import time

# Time for the emulator to end by itself, before it is killed.
GRACE_SECONDS = 3

# `_poll_dynamodb_streams` of ministack 1.5.33. Another one has to be read before it is changed.
POLL_STREAMS_SHA256 = "2b2460e933a9f3c3fb00d9e15763d11977533af74787eb39ce1f39bbe6e54e8b"

# A batch of which records failed is delivered again after this.
RETRY_SECONDS = 0.5


def end_group_when_stdin_closes():
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def first_failed_record(mapping, result, records):
    """The index of the first record that the function reports as failed; None when it reports none."""
    if "ReportBatchItemFailures" not in mapping.get("FunctionResponseTypes", []):
        return None
    body = result.get("body")
    answer = json.loads(body) if isinstance(body, (str, bytes)) else body
    failures = answer.get("batchItemFailures") if isinstance(answer, dict) else None
    if not failures:
        return None
    index = {record["dynamodb"]["SequenceNumber"]: i for i, record in enumerate(records)}
    # An identifier that is none of the batch's fails the whole batch, as on AWS.
    return min(index.get(failure.get("itemIdentifier"), 0) for failure in failures)


def resume_streams_at_the_first_failed_record():
    """Makes MiniStack honour ReportBatchItemFailures of DynamoDB streams: Lambda goes on from the first record that a
    function reports as failed (Developer Guide, "Reporting batch item failures for Lambda functions with DynamoDB").
    MiniStack 1.5.33 passes the whole batch, so that what a relay could not publish would be lost."""
    from ministack.services import lambda_svc

    source = inspect.getsource(lambda_svc._poll_dynamodb_streams)
    digest = hashlib.sha256(source.encode()).hexdigest()
    if digest != POLL_STREAMS_SHA256:
        sys.exit(
            "emulator.py: ministack's _poll_dynamodb_streams is not the one of 1.5.33 (requirements.txt). Look whether it "
            "honours ReportBatchItemFailures now: then remove this change of it; else adapt it, and set "
            f'POLL_STREAMS_SHA256 = "{digest}".'
        )
    changes = [
        ("            raw_len = len(batch)\n", "            raw, raw_len = batch, len(batch)\n"),
        (
            "            else:\n                processed_any = True\n",
            "            elif (failed := first_failed_record(esm, result, raw)) is not None:\n"
            "                processed_any = processed_any or failed > 0\n"
            "                with _dynamodb_stream_positions_lock:\n"
            "                    _dynamodb_stream_positions[esm_id] = pos + failed\n"
            "                _esm_backoff_until[esm_id] = time.time() + RETRY_SECONDS\n"
            "                esm['LastProcessingResult'] = f'OK - {failed} records, then a failed one'\n"
            "            else:\n                processed_any = True\n",
        ),
    ]
    for before, after in changes:
        if source.count(before) != 1:
            sys.exit(f"emulator.py: ministack's _poll_dynamodb_streams does not have this once: {before!r}")
        source = source.replace(before, after)
    names = vars(lambda_svc)
    names.update(first_failed_record=first_failed_record, RETRY_SECONDS=RETRY_SECONDS)
    exec(compile(source, f"{lambda_svc.__file__} changed by emulator.py", "exec"), names)


def ministack():
    # Imported before its own first use: hypercorn otherwise sees the arguments of this script.
    sys.argv = ["ministack"]
    from ministack.app import main

    resume_streams_at_the_first_failed_record()

    main()


def localstripe(port):
    from aiohttp import web
    from localstripe import resources, server

    # It writes every change to a file in /tmp, the same for all that run on a machine, and reads it at the next start.
    # The orders of a stack live as long as the emulators, and so do the payments.
    resources.Store.dump_to_disk = lambda store: None
    # Its own start() listens on every address of the machine, and only where there is IPv6.
    web.run_app(server.app, host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    threading.Thread(target=end_group_when_stdin_closes, daemon=True).start()
    if sys.argv[1] == "ministack":
        ministack()
    else:
        localstripe(int(sys.argv[2]))

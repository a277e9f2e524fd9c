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

# The functions of ministack 1.5.33 that are changed. Another one has to be read before it is changed.
POLL_STREAMS_SHA256 = "2b2460e933a9f3c3fb00d9e15763d11977533af74787eb39ce1f39bbe6e54e8b"
HANDLE_WEBSOCKET_SHA256 = "6d609b2db6a0147dcd30bb3c0cb300f9d3a911573b52bb8604a71eaf89677c34"

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


def change(module, name, setting, changes, **more):
    """Replaces a function of MiniStack by its source with these changes. `setting` names the constant of this file that
    holds the digest of the source that they fit; `more` are names that the changed source uses."""
    source = inspect.getsource(getattr(module, name))
    digest = hashlib.sha256(source.encode()).hexdigest()
    if digest != globals()[setting]:
        sys.exit(
            f"emulator.py: ministack's {name} is not the one of 1.5.33 (requirements.txt). Look whether it still needs "
            f'this change. If not, remove the change; else adapt it, and set {setting} = "{digest}".'
        )
    for before, after in changes:
        if source.count(before) != 1:
            sys.exit(f"emulator.py: ministack's {name} does not have this once: {before!r}")
        source = source.replace(before, after)
    names = vars(module)
    names.update(more)
    exec(compile(source, f"{module.__file__} changed by emulator.py", "exec"), names)


def resume_streams_at_the_first_failed_record():
    """Makes MiniStack honour ReportBatchItemFailures of DynamoDB streams: Lambda goes on from the first record that a
    function reports as failed (Developer Guide, "Reporting batch item failures for Lambda functions with DynamoDB").
    MiniStack 1.5.33 passes the whole batch, so that what a relay could not publish would be lost."""
    from ministack.services import lambda_svc

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
    more = {"first_failed_record": first_failed_record, "RETRY_SECONDS": RETRY_SECONDS}
    change(lambda_svc, "_poll_dynamodb_streams", "POLL_STREAMS_SHA256", changes, **more)


def refuse_connections_with_the_functions_status():
    """Makes MiniStack answer a WebSocket's handshake with the status that the function of $connect returned, as API
    Gateway does (seen by the authors of serverless-offline, pull request 1301: "Unexpected server response:
    {statusCode}"). MiniStack 1.5.33 closes the connection, which every client sees as 403."""
    from ministack.services import apigateway

    changes = [
        (
            "            if status < 200 or status >= 300:\n"
            '                await send({"type": "websocket.close", "code": 1008})\n',
            "            if status < 200 or status >= 300:\n"
            '                message = (resp or {}).get("body") or ""\n'
            "                await _refuse_ws_handshake(scope, send, status, message, connection_id, connect_request_id)\n",
        ),
    ]
    change(apigateway, "handle_websocket", "HANDLE_WEBSOCKET_SHA256", changes)


def ministack():
    # Imported before its own first use: hypercorn otherwise sees the arguments of this script.
    sys.argv = ["ministack"]
    from ministack.app import main

    resume_streams_at_the_first_failed_record()
    refuse_connections_with_the_functions_status()

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

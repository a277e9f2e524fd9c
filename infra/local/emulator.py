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

import cloudwatch

# Time for the emulator to end by itself, before it is killed.
GRACE_SECONDS = 3

# The functions of ministack 1.5.33 that are changed. Another one has to be read before it is changed.
POLL_STREAMS_SHA256 = "2b2460e933a9f3c3fb00d9e15763d11977533af74787eb39ce1f39bbe6e54e8b"
HANDLE_WEBSOCKET_SHA256 = "6d609b2db6a0147dcd30bb3c0cb300f9d3a911573b52bb8604a71eaf89677c34"

POLL_LOOP_SHA256 = "6a443090919adccf3e405dd7e5603cf353d8d1112635dc3e126f3b5cf8fc3866"
RUN_SQS_BATCH_SHA256 = "f9bf630aabf3d1b9dba295fc9929df7230c454d5e530da6fed883be0097500cd"

# A batch of which records failed is delivered again after this.
RETRY_SECONDS = 0.5
# MiniStack looks at a mapping without work once a second.
IDLE_SECONDS = 1

# By mapping, the size of the next batch of a stream whose last batch failed as a whole.
bisected = {}
# By mapping, the position of its next batch, and when that was seen.
windows = {}


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


def gathers_records(mapping, position, records):
    """Whether a mapping waits for more records before it invokes its function. `records` are all that were read, also those
    that its filter leaves out: more may follow when they are as many as a batch, and then Lambda does not wait."""
    if len(records) >= mapping.get("BatchSize", 100):
        return False
    if windows.get(mapping["UUID"], (None,))[0] != position:
        windows[mapping["UUID"]] = (position, time.time())
    return time.time() - windows[mapping["UUID"]][1] < mapping.get("MaximumBatchingWindowInSeconds", 0)


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


def deliver_streams_as_lambda_does():
    """Makes MiniStack honour three settings of a DynamoDB stream's mapping.

    ReportBatchItemFailures: Lambda goes on from the first record that a function reports as failed (Developer Guide,
    "Reporting batch item failures for Lambda functions with DynamoDB"). MiniStack 1.5.33 passes the whole batch, so that
    what a relay could not publish would be lost.

    BisectBatchOnFunctionError: Lambda splits a batch in two that failed as a whole, and tries each half (API Reference,
    CreateEventSourceMapping). MiniStack repeats the whole batch.

    MaximumBatchingWindowInSeconds: Lambda gathers records for this time. MiniStack invokes the function for whatever
    records there are."""
    from ministack.services import lambda_svc

    changes = [
        (
            '            batch_size = esm.get("BatchSize", 100)\n',
            '            batch_size = bisected.get(esm_id, esm.get("BatchSize", 100))\n',
        ),
        ("def _poll_dynamodb_streams():\n", "def _poll_dynamodb_streams(mappings=None):\n"),
        (
            "    for acct_id, region, esm in _iter_all_esms():\n",
            "    for acct_id, region, esm in mappings or _iter_all_esms():\n",
        ),
        (
            "                # Position doesn't advance on failure, so the next pass\n",
            "                if esm.get('BisectBatchOnFunctionError'):\n"
            "                    bisected[esm_id] = max(1, raw_len // 2)\n"
            "                # Position doesn't advance on failure, so the next pass\n",
        ),
        (
            "                _esm_backoff_until.pop(esm_id, None)\n",
            "                _esm_backoff_until.pop(esm_id, None)\n                bisected.pop(esm_id, None)\n",
        ),
        ("            raw_len = len(batch)\n", "            raw, raw_len = batch, len(batch)\n"),
        (
            '            event = {"Records": batch}\n            result',
            "            if gathers_records(esm, pos, raw):\n"
            "                continue\n"
            '            event = {"Records": batch}\n            result',
        ),
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
    more = {
        "first_failed_record": first_failed_record,
        "gathers_records": gathers_records,
        "RETRY_SECONDS": RETRY_SECONDS,
        "bisected": bisected,
    }
    change(lambda_svc, "_poll_dynamodb_streams", "POLL_STREAMS_SHA256", changes, **more)


class Streams:
    """The mappings of DynamoDB streams, each polled by a thread of its own while it has records to deliver."""

    def __init__(self):
        self.lock, self.busy = threading.Lock(), set()

    def poll(self):
        """Whether the stream of any mapping is polled now that was not before."""
        from ministack.services import lambda_svc

        started = False
        for account, region, mapping in lambda_svc._iter_all_esms():
            if "/stream/" in mapping.get("EventSourceArn", "") and self.take(account, region, mapping):
                lambda_svc.spawn_background(self.run, (account, region, mapping), thread_name="ministack-stream")
                started = True
        return started

    def take(self, account, region, mapping):
        from ministack.services import dynamodb, lambda_svc

        name, scope = mapping["UUID"], {"account_id": account, "region": region}
        with self.lock:
            if name in self.busy or lambda_svc._esm_backoff_until.get(name, 0) > time.time():
                return False
            position = lambda_svc._dynamodb_stream_positions.get_scoped(account, region, name)
            table = mapping["EventSourceArn"].split("/stream/")[0].split("/")[-1]
            if position is not None and position >= dynamodb.stream_end_position(table, **scope):
                return False
            self.busy.add(name)
            return True

    def run(self, mapping):
        from ministack.services import lambda_svc

        name, delivered = mapping[2]["UUID"], False
        try:
            while lambda_svc._poll_dynamodb_streams([mapping]):
                delivered = True
        finally:
            if not delivered:
                # A mapping that is off, or a function that is gone: it is looked at again as often as others are.
                lambda_svc._esm_backoff_until.setdefault(name, time.time() + IDLE_SECONDS)
            with self.lock:
                self.busy.discard(name)
            # A record that was written since the last look found the stream busy.
            lambda_svc._esm_wake.set()


def deliver_streams_side_by_side():
    """Makes MiniStack poll each stream in a thread of its own, as Lambda polls each shard. MiniStack 1.5.33 calls the
    functions of all streams one after the other, in the thread that also polls the queues: one that waits for a call
    delays all others."""
    from ministack.services import lambda_svc

    changes = [("_poll_dynamodb_streams() or processed", "streams.poll() or processed")]
    change(lambda_svc, "_poll_loop", "POLL_LOOP_SHA256", changes, streams=Streams())


def failed_messages(mapping, result, batch):
    """The ids of the messages of a batch that are to be delivered again: those that the function reports as failed, or all,
    when its answer is none that Lambda reads (Developer Guide, "Implementing partial batch responses": invalid JSON, an
    identifier that is empty or none of the batch's)."""
    if "ReportBatchItemFailures" not in mapping.get("FunctionResponseTypes", []):
        return set()
    ids = {message["id"] for message in batch}
    body = result.get("body")
    try:
        answer = json.loads(body) if isinstance(body, (str, bytes)) and body else body
        failures = (answer or {}).get("batchItemFailures") or []
        failed = {failure["itemIdentifier"] for failure in failures}
    except (ValueError, TypeError, KeyError, AttributeError):
        return ids
    return failed if failed <= ids else ids


def refuse_answers_of_queue_functions_that_lambda_cannot_read():
    """Makes MiniStack deliver a batch of a queue again when the function's answer names a message that is none of the
    batch's, or cannot be read. MiniStack 1.5.33 deletes all messages that are not named."""
    from ministack.services import lambda_svc

    changes = [
        (
            "    # Delete only the messages that succeeded (not in failed_ids)\n",
            "    failed_ids = failed_messages(esm, result, batch)\n"
            "    # Delete only the messages that succeeded (not in failed_ids)\n",
        ),
    ]
    change(lambda_svc, "_run_sqs_batch", "RUN_SQS_BATCH_SHA256", changes, failed_messages=failed_messages)


def save_too(module, *names):
    """Makes MiniStack save these dictionaries of a service with its state."""
    get_state, restore_state = module.get_state, module._restore_state

    def get_state_with_these():
        return get_state() | {name: getattr(module, name) for name in names}

    def restore_state_with_these(data):
        restore_state(data)
        for name in names:
            getattr(module, name).update((data or {}).get(name, {}))

    module.get_state, module._restore_state = get_state_with_these, restore_state_with_these


def keep_streams_and_executions_over_a_restart():
    """Makes a restart what it is for a service on AWS: something that its users do not see.

    MiniStack 1.5.33 saves how far each function has read a table's stream, and not the stream. After a restart the stream
    is empty, and as many records as before pass unread. It forgets the e-mails that were sent, in which tests look. It also
    fails every execution that was running. Here an execution begins again with its first state, because MiniStack does not
    save where it was; each step has to stand that anyway."""
    import contextvars

    from ministack import app
    from ministack.core import responses
    from ministack.services import dynamodb, ses, stepfunctions

    load = app._load_persisted_state
    restore_executions, running = stepfunctions._restore_state, []

    def restore_running_executions(data):
        executions = (data or {}).get("executions", {})
        under_way = [arn for arn, each in getattr(executions, "_data", {}).items() if each["status"] == "RUNNING"]
        restore_executions(data)
        for key in under_way:
            execution = stepfunctions._executions._data[key]
            del execution["error"], execution["cause"], execution["events"][1:]
            execution.update(status="RUNNING", stopDate=None)
        running.extend(under_way)

    def run(account, region, arn):
        responses._request_account_id.set(account)
        responses.set_request_region(region)
        stepfunctions._run_execution(arn)

    def load_and_resume():
        load()
        for key in running:
            threading.Thread(target=contextvars.Context().run, args=(run, *key), daemon=True).start()

    save_too(dynamodb, "_stream_records", "_stream_trimmed")
    save_too(ses, "_sent_emails")
    stepfunctions._restore_state, app._load_persisted_state = restore_running_executions, load_and_resume


def restart_on_signal():
    """On SIGUSR1 the emulator saves its state and ends. One that is started with PERSIST_STATE=1 goes on from there."""
    from ministack import app
    from ministack.core import persistence

    def save_and_end(*_):
        app.PERSIST_STATE = persistence.PERSIST_STATE = True
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGUSR1, save_and_end)


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


def hand_events_over_at_once():
    """MiniStack 1.5.33 writes the header and the body of a function's event one after the other. The kernel then holds the
    body back until the function's side has acknowledged the header (Nagle's algorithm), which Linux delays by 40 ms. So
    every invocation took 40 ms longer than the function needed."""
    import socketserver

    socketserver.StreamRequestHandler.disable_nagle_algorithm = True


def ministack():
    # Imported before its own first use: hypercorn otherwise sees the arguments of this script.
    sys.argv = ["ministack"]
    from ministack.app import main

    deliver_streams_as_lambda_does()
    deliver_streams_side_by_side()
    refuse_answers_of_queue_functions_that_lambda_cannot_read()
    refuse_connections_with_the_functions_status()
    keep_streams_and_executions_over_a_restart()
    restart_on_signal()
    hand_events_over_at_once()
    cloudwatch.start()

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

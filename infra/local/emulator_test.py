"""What emulator.py changes in MiniStack. Run with the stack's Python: target/ops/python/bin/python -m unittest -v
emulator_test, in this folder; the end-to-end tests do."""

import asyncio
import json
import queue
import socket
import threading
import time
import unittest
from unittest import mock

import emulator
from ministack import app
from ministack.core import lambda_runtime, persistence, responses
from ministack.services import apigateway, dynamodb, lambda_svc, ses, sqs, stepfunctions

STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/2026-11-20T12:00:00.000"
RECORDS = [
    {"eventName": "INSERT" if n != 4 else "REMOVE", "dynamodb": {"SequenceNumber": str(100 + n), "Keys": {}}}
    for n in range(12)
]


class Streams(unittest.TestCase):
    def deliver(self, fails, dies=False, wait_seconds=emulator.RETRY_SECONDS, **settings):
        """The batches of a stream of 12 records, as numbers of records, of which `fails(number, delivery)` fail; the whole
        batch, when the function `dies`."""
        mapping = {
            "UUID": str(time.time_ns()),
            "EventSourceArn": STREAM,
            "FunctionName": "relay",
            "BatchSize": 5,
            "StartingPosition": "TRIM_HORIZON",
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
        } | settings
        batches = []

        def execute(_function, event):
            numbers = [int(record["dynamodb"]["SequenceNumber"]) - 100 for record in event["Records"]]
            batches.append(numbers)
            failed = [{"itemIdentifier": str(100 + n)} for n in numbers if fails(n, len(batches))]
            if failed and dies:
                return {"error": True, "body": {"errorType": "Runtime.ExitError"}}
            return {"body": {"batchItemFailures": failed}}

        fakes = {
            "_iter_all_esms": lambda: [("000000000000", "us-east-1", mapping)],
            "_get_func_record_for_qualifier": lambda *_: ({}, {}),
            "_execute_function": execute,
        }
        table = {
            "_tables": {"orders": {"LatestStreamArn": STREAM}},
            "stream_start_position": lambda _: 0,
            "stream_end_position": lambda _: len(RECORDS),
            "stream_records_since": lambda _, position, limit: RECORDS[position : position + limit],
        }
        with mock.patch.multiple(lambda_svc, **fakes), mock.patch.multiple(dynamodb, **table):
            for _ in range(10):
                lambda_svc._poll_dynamodb_streams()
                wait = lambda_svc._esm_backoff_until.pop(mapping["UUID"], None)
                if wait is not None:
                    self.assertAlmostEqual(wait - time.time(), wait_seconds, delta=0.2)
        return batches

    def test_a_stream_goes_on_from_the_first_failed_record(self):
        batches = self.deliver(lambda n, delivery: n in (3, 4) and delivery == 1)
        self.assertEqual(batches, [[0, 1, 2, 3, 4], [3, 4, 5, 6, 7], [8, 9, 10, 11]])

    def test_a_record_that_always_fails_is_never_passed(self):
        batches = self.deliver(lambda n, _: n == 2)
        self.assertEqual(batches, [[0, 1, 2, 3, 4]] + [[2, 3, 4, 5, 6]] * 9)

    def test_records_that_a_filter_leaves_out_count_for_the_position(self):
        pattern = '{"eventName": ["INSERT"]}'
        batches = self.deliver(
            lambda n, delivery: n == 5 and delivery == 1,
            BatchSize=6,
            FilterCriteria={"Filters": [{"Pattern": pattern}]},
        )
        self.assertEqual(batches, [[0, 1, 2, 3, 5], [5, 6, 7, 8, 9, 10], [11]])

    def test_without_the_setting_a_batch_is_passed_whatever_the_answer(self):
        batches = self.deliver(lambda n, _: n == 2, FunctionResponseTypes=[])
        self.assertEqual(batches, [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]])

    def test_a_batch_that_fails_as_a_whole_is_split_until_only_the_failing_record_is_left(self):
        settings = {"BisectBatchOnFunctionError": True, "wait_seconds": lambda_svc._ESM_BACKOFF_SECONDS}
        batches = self.deliver(lambda n, delivery: n == 3 and delivery < 7, dies=True, **settings)
        self.assertEqual(batches[:6], [[0, 1, 2, 3, 4], [0, 1], [2, 3, 4, 5, 6], [2, 3], [2], [3, 4, 5, 6, 7]])
        self.assertEqual(batches[6:8], [[3, 4], [5, 6, 7, 8, 9]])

    def test_without_bisecting_the_whole_batch_is_repeated(self):
        wait_seconds = lambda_svc._ESM_BACKOFF_SECONDS
        batches = self.deliver(lambda n, delivery: n == 3 and delivery < 3, dies=True, wait_seconds=wait_seconds)
        self.assertEqual(batches[:3], [[0, 1, 2, 3, 4]] * 3)

    def test_an_identifier_of_no_record_fails_the_whole_batch(self):
        mapping = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}
        for identifier in ("", None, "7"):
            result = {"body": {"batchItemFailures": [{"itemIdentifier": identifier}]}}
            self.assertEqual(emulator.first_failed_record(mapping, result, RECORDS), 0)
        self.assertIsNone(emulator.first_failed_record(mapping, {"body": '{"batchItemFailures": []}'}, RECORDS))
        self.assertIsNone(emulator.first_failed_record(mapping, {"body": None}, RECORDS))

    def test_a_batch_that_is_not_full_waits_for_its_window(self):
        mapping = {"UUID": str(time.time_ns()), "BatchSize": 5, "MaximumBatchingWindowInSeconds": 3}
        with mock.patch.object(emulator.time, "time") as now:
            now.return_value = 100.0
            self.assertTrue(emulator.gathers_records(mapping, 0, RECORDS[:2]))
            now.return_value = 102.9
            self.assertTrue(emulator.gathers_records(mapping, 0, RECORDS[:4]))
            self.assertFalse(emulator.gathers_records(mapping, 0, RECORDS[:5]))
            now.return_value = 103.0
            self.assertFalse(emulator.gathers_records(mapping, 0, RECORDS[:4]))
            # The next batch has a window of its own.
            self.assertTrue(emulator.gathers_records(mapping, 4, RECORDS[4:6]))
        self.assertFalse(emulator.gathers_records({"UUID": "none"}, 0, RECORDS[:1]))

    def test_a_stream_is_not_delivered_before_its_window_is_over(self):
        self.assertEqual(self.deliver(lambda *_: False, MaximumBatchingWindowInSeconds=60, BatchSize=50), [])

    def test_a_window_holds_nothing_back_that_more_records_follow(self):
        settings = {"FilterCriteria": {"Filters": [{"Pattern": '{"eventName": ["INSERT"]}'}]}, "BatchSize": 6}
        batches = self.deliver(lambda *_: False, MaximumBatchingWindowInSeconds=60, **settings)
        self.assertEqual(batches, [[0, 1, 2, 3, 5], [6, 7, 8, 9, 10, 11]])

    def test_another_version_is_not_changed_unseen(self):
        with mock.patch.object(emulator, "POLL_STREAMS_SHA256", "0" * 64):
            with self.assertRaisesRegex(SystemExit, "POLL_STREAMS_SHA256"):
                emulator.deliver_streams_as_lambda_does()


class SlowStreams(unittest.TestCase):
    def test_a_slow_function_delays_its_own_stream_only(self):
        streams = {name: f"arn:aws:dynamodb:us-east-1:000000000000:table/{name}/stream/1" for name in ("slow", "quick")}
        mappings = [
            {"UUID": name, "EventSourceArn": arn, "FunctionName": name, "BatchSize": 5, "StartingPosition": "TRIM_HORIZON"}
            for name, arn in streams.items()
        ]
        slow_may_end, slow_began, delivered = threading.Event(), threading.Event(), {"slow": 0, "quick": 0}

        def execute(function, event):
            if function["name"] == "slow":
                slow_began.set()
                slow_may_end.wait(10)
            delivered[function["name"]] += len(event["Records"])
            return {"body": None}

        def wait_for(name):
            deadline = time.time() + 10
            while delivered[name] < len(RECORDS) and time.time() < deadline:
                polled.poll()
                time.sleep(0.01)
            return delivered[name]

        fakes = {
            "_iter_all_esms": lambda: [("000000000000", "us-east-1", mapping) for mapping in mappings],
            "_get_func_record_for_qualifier": lambda name, *_: ({"name": name}, {}),
            "_execute_function": execute,
        }
        table = {
            "_tables": {name: {"LatestStreamArn": arn} for name, arn in streams.items()},
            "stream_start_position": lambda *_, **__: 0,
            "stream_end_position": lambda *_, **__: len(RECORDS),
            "stream_records_since": lambda _, position, limit: RECORDS[position : position + limit],
        }
        polled = emulator.Streams()
        with mock.patch.multiple(lambda_svc, **fakes), mock.patch.multiple(dynamodb, **table):
            polled.poll()
            self.assertTrue(slow_began.wait(10))
            self.assertEqual(wait_for("quick"), len(RECORDS))
            self.assertEqual(delivered["slow"], 0)
            slow_may_end.set()
            self.assertEqual(wait_for("slow"), len(RECORDS), "one batch after the other")
            while polled.busy:
                time.sleep(0.01)
            self.assertFalse(polled.poll(), "nothing is left")
            # A mapping that is off costs a look a second.
            mappings.append(mappings[0] | {"UUID": "off", "Enabled": False})
            self.assertTrue(polled.poll())
            while polled.busy:
                time.sleep(0.01)
            self.assertFalse(polled.poll())


class Queues(unittest.TestCase):
    def queue(self, groups):
        """A queue with a message for each of these groups, named a, b, c, …"""
        messages = [
            {"id": name, "body": "", "group_id": group, "sent_at": 0, "visible_at": 0, "receive_count": 0}
            for name, group in zip("abcdef", groups)
        ]
        return {"is_fifo": True, "attributes": {}, "messages": messages}

    def test_a_group_with_a_message_in_flight_waits_and_stays_in_order(self):
        queue = self.queue("1121")
        take = lambda most: [message["id"] for message in sqs._collect_msgs(queue, most, 40)]
        self.assertEqual(take(1), ["a"])
        self.assertEqual(take(10), ["c"], "b and d wait for a")
        # The time of a is over, as after a function that failed.
        queue["messages"][0]["visible_at"] = 0
        self.assertEqual(take(10), ["a", "b", "d"])

    def test_a_message_that_was_taken_is_invisible_for_the_queues_time(self):
        queue = self.queue([None]) | {"is_fifo": False}
        sqs._collect_msgs(queue, 10, 40)
        self.assertAlmostEqual(queue["messages"][0]["visible_at"] - time.time(), 40, delta=5)
        self.assertEqual(sqs._collect_msgs(queue, 10, 40), [])

    def left(self, answer, types=("ReportBatchItemFailures",)):
        """The messages of a batch of three that are left in the queue after this answer of the function."""
        batch = [{"id": name, "receipt_handle": f"handle-{name}"} for name in "abc"]
        deleted = set()
        mapping = {"UUID": "mapping", "FunctionName": "consumer", "FunctionResponseTypes": list(types)}
        execute = mock.patch.object(lambda_svc, "_execute_function", lambda *_: {"body": answer})
        delete = mock.patch.object(sqs, "_delete_messages_for_esm", lambda _url, handles: deleted.update(handles))
        with execute, delete:
            lambda_svc._run_sqs_batch(mapping, {}, {}, batch, "url", "queue")
        return {message["id"] for message in batch if message["receipt_handle"] not in deleted}

    def test_the_messages_that_the_function_reports_are_left(self):
        self.assertEqual(self.left('{"batchItemFailures": [{"itemIdentifier": "b"}]}'), {"b"})
        for fine in ('{"batchItemFailures": []}', "", None, "null", "{}"):
            self.assertEqual(self.left(fine), set(), fine)

    def test_an_answer_that_lambda_cannot_read_leaves_all(self):
        for name in ('"x"', '""', "null"):
            answer = '{"batchItemFailures": [{"itemIdentifier": "b"}, {"itemIdentifier": %s}]}' % name
            self.assertEqual(self.left(answer), {"a", "b", "c"}, answer)
        for answer in ("no JSON", '{"batchItemFailures": [{"id": "b"}]}', "[]x"):
            self.assertEqual(self.left(answer), {"a", "b", "c"}, answer)

    def test_without_the_setting_none_is_left(self):
        self.assertEqual(self.left('{"batchItemFailures": [{"itemIdentifier": "b"}]}', types=()), set())


class Restarts(unittest.TestCase):
    """What a restart keeps. The states go through JSON, as between two processes."""

    def saved(self, module):
        text = json.dumps(module.get_state(), default=persistence._json_default)
        return json.loads(text, object_hook=persistence._json_object_hook)

    def test_a_stream_keeps_its_records_and_positions(self):
        with mock.patch.multiple(
            dynamodb,
            _stream_records=responses.AccountRegionScopedDict(),
            _stream_trimmed=responses.AccountRegionScopedDict(),
        ):
            dynamodb._stream_records["orders"], dynamodb._stream_trimmed["orders"] = RECORDS[2:], 2
            state = self.saved(dynamodb)
            dynamodb._stream_records.clear()
            dynamodb._stream_trimmed.clear()
            dynamodb.load_persisted_state(state)
            self.assertEqual(dynamodb.stream_records_since("orders", 4, 3), RECORDS[4:7])
            self.assertEqual(dynamodb.stream_end_position("orders"), len(RECORDS))

    def test_an_email_that_was_sent_is_kept(self):
        with mock.patch.multiple(ses, _sent_emails=responses.AccountRegionScopedDict()):
            ses._sent_emails_list().append({"Subject": "hello"})
            state = self.saved(ses)
            ses._sent_emails.clear()
            ses.load_persisted_state(state)
            self.assertEqual(ses._sent_emails_list(), [{"Subject": "hello"}])

    def test_an_execution_that_was_running_begins_again(self):
        arn = "arn:aws:states:us-east-1:000000000000:execution:saga:one"
        started = {"id": 1, "type": "ExecutionStarted"}
        execution = {"status": "RUNNING", "events": [started, {"id": 2}], "stopDate": None}
        begun = []
        with mock.patch.multiple(
            stepfunctions,
            _executions=responses.AccountRegionScopedDict(),
            _run_execution=lambda arn: begun.append((arn, responses.get_account_id(), responses.get_region())),
        ):
            stepfunctions._executions[arn] = execution
            state = self.saved(stepfunctions)
            stepfunctions._executions.clear()
            loads = {"stepfunctions": state}
            with mock.patch.multiple(app, load_state=loads.get, _state_map={"stepfunctions": "stepfunctions"}):
                app._load_persisted_state()
            deadline = time.time() + 10
            while not begun and time.time() < deadline:
                time.sleep(0.01)
            kept = stepfunctions._executions[arn]
        self.assertEqual(begun, [(arn, "000000000000", "us-east-1")])
        self.assertEqual((kept["status"], kept["events"]), ("RUNNING", [started]))


class Handshakes(unittest.TestCase):
    def handshake(self, answer):
        """What a client is sent whose $connect the function answers so, before it closes the connection."""
        received = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}])
        sent = []

        async def receive():
            return next(received)

        async def send(message):
            sent.append(message)

        async def invoke(*_, **__):
            return answer

        scope = {"path": "/live", "headers": [], "extensions": {"websocket.http.response": {}}}
        fakes = {
            "_api_owner": lambda _: ("WEBSOCKET", "000000000000", "us-east-1"),
            "_match_ws_route": lambda _, key: {"routeKey": key},
            "_invoke_ws_lambda": invoke,
        }
        with mock.patch.multiple(apigateway, **fakes):
            asyncio.run(apigateway.handle_websocket(scope, receive, send, "api"))
        return sent

    def test_a_refused_connection_gets_the_functions_status(self):
        for status in (403, 429, 500):
            start, _body = self.handshake({"statusCode": status})
            self.assertEqual((start["type"], start["status"]), ("websocket.http.response.start", status))

    def test_an_accepted_connection_is_open(self):
        self.assertEqual(self.handshake({"statusCode": 200})[0], {"type": "websocket.accept"})

    def test_another_version_is_not_changed_unseen(self):
        with mock.patch.object(emulator, "HANDLE_WEBSOCKET_SHA256", "0" * 64):
            with self.assertRaisesRegex(SystemExit, "HANDLE_WEBSOCKET_SHA256"):
                emulator.refuse_connections_with_the_functions_status()


class Invocations(unittest.TestCase):
    def test_the_body_of_an_event_does_not_wait_for_the_acknowledgement_of_its_header(self):
        kind = lambda_runtime.ProvidedWorker._build_handler_class(mock.Mock(), 1, queue.Queue())
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
            handler = kind.__new__(kind)
            handler.request, _ = server.accept()
            with handler.request:
                handler.setup()
                self.assertTrue(handler.request.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


# Once: each change is made in the source that it found.
emulator.deliver_streams_as_lambda_does()
emulator.deliver_streams_side_by_side()
emulator.refuse_answers_of_queue_functions_that_lambda_cannot_read()
emulator.refuse_connections_with_the_functions_status()
emulator.keep_streams_and_executions_over_a_restart()
emulator.hand_events_over_at_once()

if __name__ == "__main__":
    unittest.main()

"""What emulator.py changes in MiniStack. Run with the stack's Python: target/ops/python/bin/python -m unittest -v
emulator_test, in this folder; the end-to-end tests do."""

import asyncio
import time
import unittest
from unittest import mock

import emulator
from ministack.services import apigateway, dynamodb, lambda_svc

STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/2026-11-20T12:00:00.000"
RECORDS = [
    {"eventName": "INSERT" if n != 4 else "REMOVE", "dynamodb": {"SequenceNumber": str(100 + n), "Keys": {}}}
    for n in range(12)
]


class Streams(unittest.TestCase):
    def deliver(self, fails, **settings):
        """The batches of a stream of 12 records, as numbers of records, of which `fails(number, delivery)` fail."""
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
                    self.assertAlmostEqual(wait - time.time(), emulator.RETRY_SECONDS, delta=0.2)
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

    def test_an_identifier_of_no_record_fails_the_whole_batch(self):
        mapping = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}
        for identifier in ("", None, "7"):
            result = {"body": {"batchItemFailures": [{"itemIdentifier": identifier}]}}
            self.assertEqual(emulator.first_failed_record(mapping, result, RECORDS), 0)
        self.assertIsNone(emulator.first_failed_record(mapping, {"body": '{"batchItemFailures": []}'}, RECORDS))
        self.assertIsNone(emulator.first_failed_record(mapping, {"body": None}, RECORDS))

    def test_another_version_is_not_changed_unseen(self):
        with mock.patch.object(emulator, "POLL_STREAMS_SHA256", "0" * 64):
            with self.assertRaisesRegex(SystemExit, "POLL_STREAMS_SHA256"):
                emulator.resume_streams_at_the_first_failed_record()


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


# Once: each change is made in the source that it found.
emulator.resume_streams_at_the_first_failed_record()
emulator.refuse_connections_with_the_functions_status()

if __name__ == "__main__":
    unittest.main()

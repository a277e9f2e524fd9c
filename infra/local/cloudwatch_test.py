"""What cloudwatch.py adds to MiniStack. Run with the stack's Python: target/ops/python/bin/python -m unittest -v
cloudwatch_test, in this folder; the end-to-end tests do."""

import json
import time
import unittest
from types import SimpleNamespace
from unittest import mock

import cloudwatch as local
from ministack.services import cloudwatch, lambda_svc
from ministack.services.cloudformation import provisioners

ALARM = {
    "AlarmName": "an-alarm",
    "Namespace": "Ordersaga/local",
    "MetricName": "UndosFailed",
    "Dimensions": [{"Name": "Service", "Value": "orders"}],
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 0,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "notBreaching",
    "StateValue": "INSUFFICIENT_DATA",
}
RECORD = {
    "_aws": {
        "Timestamp": 1_700_000_000_500,
        "CloudWatchMetrics": [
            {
                "Namespace": "Ordersaga/local",
                "Dimensions": [["Service", "Operation"]],
                "Metrics": [{"Name": "Duration", "Unit": "Milliseconds"}],
            }
        ],
    },
    "Service": "orders",
    "Operation": "CancelOrder",
    "Duration": 1.5,
}


class Logs(unittest.TestCase):
    def test_a_line_in_the_embedded_format_is_a_value_of_each_metric(self):
        dimensions = {"Service": "orders", "Operation": "CancelOrder"}
        expected = [("Ordersaga/local", "Duration", dimensions, 1_700_000_000.5, "Milliseconds", 1.5)]
        self.assertEqual(list(local.metrics_of(json.dumps(RECORD))), expected)

    def test_other_lines_and_broken_ones_are_ignored(self):
        without_its_dimension = {key: value for key, value in RECORD.items() if key != "Service"}
        for line in ("START", '{"message": "CloudWatchMetrics"}', '{"CloudWatchMetrics"', json.dumps(without_its_dimension)):
            self.assertEqual(list(local.metrics_of(line)), [], line)

    def test_the_functions_lines_are_stored_after_they_were_logged(self):
        stored, logged = [], []
        module = SimpleNamespace(_emit_lambda_logs=lambda *arguments, **_: logged.append(arguments))
        local.take_metrics_from_logs(module, SimpleNamespace(_store_datum=lambda *datum: stored.append(datum)))
        module._emit_lambda_logs({}, "request", f"one line\n{json.dumps(RECORD)}\n", False, 3, log_source="process")
        self.assertEqual((len(logged), len(stored), stored[0][1]), (1, 1, "Duration"))


class Queues(unittest.TestCase):
    def test_a_queue_is_measured_while_it_has_messages_and_once_more(self):
        recorded = []
        sqs = SimpleNamespace(_queues={"http://localhost/0/a-queue": {"messages": []}})
        cloudwatch = SimpleNamespace(record_metric=lambda *arguments: recorded.append((arguments[1], round(arguments[2]))))
        measurements = local.Measurements(cloudwatch, sqs, None)
        measurements.measure_queues()
        now = time.time()
        messages = [{"visible_at": now, "sent_at": now - 30}, {"visible_at": now + 60, "sent_at": now - 90}]
        sqs._queues["http://localhost/0/a-queue"]["messages"] = messages
        measurements.measure_queues()
        messages.clear()
        measurements.measure_queues()
        measurements.measure_queues()
        length, age = "ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"
        self.assertEqual(recorded, [(length, 1), (age, 30), (length, 0), (age, 0)])


class Alarms(unittest.TestCase):
    def setUp(self):
        cloudwatch.reset()
        self.published = []
        patches = {
            "_dispatch_alarm_actions": lambda alarm, old, new, _: self.published.append((old, new)),
            "_evaluate_parent_alarms": lambda _: None,
        }
        patch = mock.patch.multiple(cloudwatch, **patches)
        patch.start()
        self.addCleanup(patch.stop)
        self.addCleanup(cloudwatch.reset)
        self.alarms = local.Alarms(cloudwatch)

    def put(self, value, minutes_ago=0, name="UndosFailed", namespace="Ordersaga/local", **dimensions):
        at = time.time() - minutes_ago * local.MINUTE_SECONDS
        dimensions = dimensions or {"Service": "orders"}
        cloudwatch._store_datum(namespace, name, dimensions, at, "None", value, None, None, None)

    def state(self, **settings):
        alarm = {**ALARM, **settings}
        self.alarms.evaluate(alarm)
        return alarm["StateValue"]

    def test_an_alarm_is_raised_by_its_own_series_only(self):
        self.put(1, Service="payments")
        self.assertEqual(self.state(), "OK")
        self.put(1)
        self.assertEqual(self.state(), "ALARM")
        self.assertEqual(self.published[-1], ("INSUFFICIENT_DATA", "ALARM"))

    def test_an_alarm_ends_when_its_periods_have_passed(self):
        self.put(1, minutes_ago=0.5)
        self.assertEqual(self.state(), "ALARM")
        cloudwatch.reset()
        self.put(1, minutes_ago=1.5)
        self.assertEqual(self.state(StateValue="ALARM"), "OK")

    def test_an_alarm_of_several_periods_waits_for_each_of_them(self):
        for minutes_ago in (0.5, 1.5):
            self.put(1, minutes_ago)
        self.assertEqual(self.state(EvaluationPeriods=3), "OK")
        self.assertEqual(self.state(EvaluationPeriods=3, DatapointsToAlarm=2), "ALARM")
        self.put(1, minutes_ago=2.5)
        self.assertEqual(self.state(EvaluationPeriods=3), "ALARM")

    def test_without_data_the_setting_decides(self):
        for treated, state in (
            ("notBreaching", "OK"),
            ("breaching", "ALARM"),
            ("missing", "INSUFFICIENT_DATA"),
            ("ignore", "INSUFFICIENT_DATA"),
        ):
            self.assertEqual(self.state(TreatMissingData=treated), state, treated)
        self.assertEqual(self.state(TreatMissingData="ignore", StateValue="ALARM"), "ALARM")

    def test_a_long_period_is_cut(self):
        self.put(1, minutes_ago=5.5)
        self.assertEqual(self.state(Period=86_400), "ALARM")
        cloudwatch.reset()
        self.put(1, minutes_ago=6.5)
        self.assertEqual(self.state(Period=86_400), "OK")

    def test_an_alarm_of_a_service_without_dimensions_is_about_all_functions(self):
        self.put(1, name="Throttles", namespace="AWS/Lambda", FunctionName="a-function")
        alarm = {"Namespace": "AWS/Lambda", "MetricName": "Throttles", "Dimensions": []}
        self.assertEqual(self.state(**alarm), "ALARM")

    def test_an_alarm_on_metric_math_is_evaluated(self):
        def metric(identifier, statistic="Sum"):
            dimensions = [{"Name": "Result", "Value": identifier}]
            stat = {"Metric": {"Namespace": "N", "MetricName": "Payments", "Dimensions": dimensions}, "Period": 60}
            return {"Id": identifier, "MetricStat": {**stat, "Stat": statistic}}

        share = "IF(FILL(bad, 0) + FILL(good, 0) >= 20, 100 * FILL(bad, 0) / (FILL(bad, 0) + FILL(good, 0)), 0)"
        math = {"Metrics": [{"Id": "share", "Expression": share}, metric("bad"), metric("good")], "Threshold": 40}
        self.put(10, name="Payments", namespace="N", Result="bad")
        self.assertEqual(self.state(**math), "OK", "ten payments are no basis")
        self.put(10, name="Payments", namespace="N", Result="good")
        self.assertEqual(self.state(**math), "ALARM")
        self.put(20, name="Payments", namespace="N", Result="good")
        self.assertEqual(self.state(**math), "OK")

    def test_what_the_mathematics_do_not_know_is_an_error_and_no_ok(self):
        self.assertEqual(local.evaluate("MAX([a, b])", {"a": None, "b": 3}), 3)
        self.assertIsNone(local.evaluate("a / b", {"a": 1, "b": 0}))
        with self.assertRaises(ValueError):
            local.evaluate("RATE(a)", {"a": 1})

    def test_metric_data_answers_expressions_of_the_series_beside_them(self):
        self.put(3, name="Held")
        self.put(1, name="Refused")
        with mock.patch.object(cloudwatch, "_get_metric_data", cloudwatch._get_metric_data):
            local.answer_expressions(cloudwatch)
            stat = {"Metric": {"Namespace": "Ordersaga/local"}, "Period": 86_400, "Stat": "Sum"}
            dimensions = [{"Name": "Service", "Value": "orders"}]
            queries = [{"Id": "rate", "Label": "reserved", "Expression": "100 * held / (held + refused)"}] + [
                {"Id": name.lower(), "ReturnData": False, "MetricStat": stat | {"Metric": stat["Metric"] | {"MetricName": name, "Dimensions": dimensions}}}
                for name in ("Held", "Refused")
            ]
            data = {"MetricDataQueries": queries, "StartTime": time.time() - 3_600, "EndTime": time.time() + 60}
            _, _, body = cloudwatch._get_metric_data({}, data, False, True)
        [result] = json.loads(body)["MetricDataResults"]
        self.assertEqual((result["Label"], result["Values"]), ("reserved", [75.0]))

    def test_cloudformation_takes_an_alarm_on_metric_math(self):
        local.accept_metric_math(provisioners)
        metrics = [{"Id": "sum", "Expression": "FILL(a, 0)"}]
        properties = {"Metrics": metrics, "ComparisonOperator": "GreaterThanThreshold", "Threshold": 0, "EvaluationPeriods": 3}
        alarm = provisioners._cw_metric_alarm_record("math", properties)
        self.assertEqual((alarm["Metrics"], alarm["EvaluationPeriods"], alarm["MetricName"]), (metrics, 3, ""))

    def test_what_is_replaced_in_the_emulator_exists(self):
        for module, name in (
            (cloudwatch, "_evaluate_alarm"),
            (lambda_svc, "_emit_lambda_logs"),
            (provisioners, "_cw_metric_alarm_record"),
        ):
            self.assertTrue(callable(getattr(module, name)), name)


if __name__ == "__main__":
    unittest.main()

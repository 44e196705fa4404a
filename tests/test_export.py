"""Records as CSV, which others open in spreadsheets, and as JSON Lines."""

from __future__ import annotations

import csv
import io
import json

import pytest
from google.protobuf.json_format import Parse

from loom_grpc.client.export import csv_header, csv_row, json_line
from loom_grpc.v1.audit_pb2 import OPERATION_STREAM, CallRecord

HEADER = (
    "id,request_id,start_time,operation,api,method,key_id,user,team,organization,address,labels,session_id,requested_model,route,"
    "provider,model,account,attempts,input_tokens,output_tokens,cache_read_tokens,cache_write_tokens,reasoning_tokens,estimated,"
    "cost_nanos,cost_currency,reported_cost_nanos,reported_cost_currency,duration_s,time_to_first_token_s,overhead_s,finish_reason,"
    "error_reason,error_message,cancelled,cache,prompt_json,answer_json\r\n"
)


def full() -> CallRecord:
    """Makes a record in which everything is set."""
    record = CallRecord(
        id="01",
        request_id="r-1",
        operation=OPERATION_STREAM,
        api="grpc",
        labels={"b": "2", "a": '1,"'},
        session_id="s",
        requested_model="fast",
        route="fast",
        provider="openai",
        model="gpt-4o",
        account="a",
        attempts=2,
        finish_reason="stop",
        error_reason="PROVIDER_TIMEOUT",
        error_message="Too slow,\nagain.",
        cancelled=True,
        cache="miss",
        prompt_json='[{"role":"user"}]',
        answer_json='{"é":"\u2028"}',
    )
    caller = record.caller
    caller.method, caller.key_id, caller.user, caller.team = "key", "key-1", "anna", "red"
    caller.organization, caller.address = "acme", "::1"
    usage = record.usage
    usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens = 10, 20, 3, 4
    usage.reasoning_tokens, usage.estimated = 5, True
    record.cost.nanos, record.cost.currency_code = 9_007_199_254_740_993, "USD"
    record.reported_cost.nanos, record.reported_cost.currency_code = 0, "USD"
    record.start_time.FromJsonString("2026-11-21T10:00:00.5Z")
    record.duration.FromNanoseconds(61_000_000_001)
    record.time_to_first_token.FromMilliseconds(250)
    record.overhead.FromMicroseconds(70)
    return record


def cells(record: CallRecord) -> dict[str, str]:
    """Reads a row as a spreadsheet does."""
    return next(csv.DictReader(io.StringIO(csv_header() + csv_row(record), newline="")))


def test_the_columns_stay_where_they_are() -> None:
    assert csv_header() == HEADER


def test_a_row_has_everything_of_a_record() -> None:
    assert list(cells(full()).values()) == [
        *("01", "r-1", "2026-11-21T10:00:00.500Z", "stream", "grpc"),
        *("key", "key-1", "anna", "red", "acme", "::1", '{"a": "1,\\"", "b": "2"}', "s", "fast", "fast"),
        *("openai", "gpt-4o", "a", "2", "10", "20", "3", "4", "5", "true"),
        *("9007199254740993", "USD", "0", "USD", "61.000000001", "0.25", "0.00007"),
        *("stop", "PROVIDER_TIMEOUT", "Too slow,\nagain.", "true", "miss", '[{"role":"user"}]', '{"é":"\u2028"}'),
    ]


def test_what_is_not_known_is_empty_and_not_0() -> None:
    row = cells(CallRecord(id="01"))

    unknown = ("cost_nanos", "reported_cost_nanos", "time_to_first_token_s", "labels", "user")
    assert {name: row[name] for name in unknown} == dict.fromkeys(unknown, "")
    assert (row["cancelled"], row["input_tokens"], row["duration_s"], row["operation"]) == (
        "false",
        "0",
        "0",
        "unspecified",
    )


def test_rows_end_as_rfc_4180_has_it_and_quote_what_has_to_be() -> None:
    row = csv_row(CallRecord(id='a"b', request_id="c,d", session_id="e\r\nf"))

    assert row.startswith('"a""b","c,d",')
    assert '"e\r\nf"' in row
    assert row.endswith(",,\r\n")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=cmd|'/c calc'!A1"])
def test_no_cell_is_a_formula(text: str) -> None:
    record = CallRecord(session_id=text, error_message=text, model=text, finish_reason=text, prompt_json=text)
    record.caller.user = text
    row = cells(record)

    names = ("session_id", "error_message", "model", "finish_reason", "prompt_json", "user")
    assert [row[name] for name in names] == [f"'{text}"] * len(names)


def test_an_operation_of_a_newer_server_is_its_number() -> None:
    record = CallRecord.FromString(b"\x20\x63")  # operation = 99

    assert cells(record)["operation"] == "99"


def test_a_line_of_json_is_one_line_and_becomes_the_record_again() -> None:
    line = json_line(full())

    assert line.splitlines() == [line.rstrip("\n")]
    assert Parse(line, CallRecord()) == full()


def test_a_line_of_json_has_the_names_of_the_contract_and_what_is_empty() -> None:
    value = json.loads(json_line(CallRecord(id="01")))

    assert value["id"] == "01"
    assert (value["error_reason"], value["attempts"], value["charges"], value["cancelled"]) == ("", 0, [], False)
    assert "cost" not in value

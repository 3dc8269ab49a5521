"""A Flight server made with pyarrow that serves every Arrow type pgstrata reads; speaks to test/interop only."""

import datetime
import decimal
import json
import sys

import pyarrow as pa
import pyarrow.flight as flight

UTC = datetime.timezone.utc


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data):
    """Length-delimited protobuf fields by number: all that Any and CommandStatementQuery have."""
    at, found = 0, {}
    while at < len(data):
        tag, at = varint(data, at)
        assert tag & 7 == 2, f"wire type {tag & 7}"
        length, at = varint(data, at)
        found[tag >> 3] = data[at : at + length]
        at += length
    return found


def query_of(command):
    any_message = fields(command)
    type_url = any_message[1].decode()
    assert type_url == "type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery", type_url
    return fields(any_message[2])[1].decode()


def column(values, kind):
    return pa.array(values, kind)


def every_type():
    when = datetime.datetime(2023, 5, 2, 12, 19, 59, 123456, UTC)
    naive = when.replace(tzinfo=None)
    old = datetime.datetime(1969, 12, 31, 23, 59, 59, 999999)
    d = decimal.Decimal
    columns = {
        "nothing": column([None, None, None], pa.null()),
        "bool": column([True, None, False], pa.bool_()),
        "int8": column([-128, None, 127], pa.int8()),
        "int16": column([-32768, None, 32767], pa.int16()),
        "int32": column([-(2**31), None, 2**31 - 1], pa.int32()),
        "int64": column([-(2**63), None, 2**63 - 1], pa.int64()),
        "uint8": column([0, None, 255], pa.uint8()),
        "uint16": column([0, None, 65535], pa.uint16()),
        "uint32": column([0, None, 2**32 - 1], pa.uint32()),
        "uint64": column([0, None, 2**64 - 1], pa.uint64()),
        "float32": column([-1.5, None, 0.25], pa.float32()),
        "float64": column([-1e300, None, 5e-324], pa.float64()),
        "decimal128": column([d("-1.23"), None, d("9" * 36 + ".99")], pa.decimal128(38, 2)),
        "decimal256": column([-(2**200), None, 10**76 - 1], pa.decimal256(76, 0)),
        "date32": column([old.date(), None, when.date()], pa.date32()),
        "date64": column([old.date(), None, when.date()], pa.date64()),
        "time32_s": column([datetime.time(0), None, datetime.time(23, 59, 59)], pa.time32("s")),
        "time64_us": column([datetime.time(0), None, datetime.time(23, 59, 59, 999999)], pa.time64("us")),
        "timestamp_s": column([old.replace(microsecond=0), None, naive.replace(microsecond=0)], pa.timestamp("s")),
        "timestamp_ms": column([-1, None, 1683029999123], pa.timestamp("ms", "UTC")),
        "timestamp_us": column([old, None, naive], pa.timestamp("us")),
        "timestamp_ns": column([-1, None, 1683029999123456789], pa.timestamp("ns", "UTC")),
        "utf8": column(["", None, "grüße, 世界 \t\\\n\""], pa.utf8()),
        "large_utf8": column(["a", None, "b" * 100], pa.large_utf8()),
        "utf8_view": column(["short", None, "longer than twelve bytes, so kept apart"], pa.string_view()),
        "binary": column([b"", None, bytes(range(256))], pa.binary()),
        "large_binary": column([b"\x00", None, b"\xff\xfe"], pa.large_binary()),
        "binary_view": column([b"\x01\x02", None, bytes(range(40))], pa.binary_view()),
        "fixed": column([b"\x00" * 20, None, bytes(range(20))], pa.binary(20)),
        "dictionary": pa.array(["red", None, "green"]).dictionary_encode(),
        "list": column([[1, None, 3], None, []], pa.list_(pa.int64())),
        "large_list": column([["x"], None, ["y", "z"]], pa.large_list(pa.utf8())),
        "fixed_list": column([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2)),
        "struct": column(
            [{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}], pa.struct([("a", pa.int64()), ("b", pa.utf8())])
        ),
        "nested": column(
            [[{"hashes": [b"\x01" * 32]}], None, [{"hashes": []}, {"hashes": None}]],
            pa.list_(pa.struct([("hashes", pa.list_(pa.binary(32)))])),
        ),
    }
    return pa.table(columns)


def plain(value):
    """A value as JSON that TypeScript can compare: integers and decimals as text, bytes as hex."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (int, decimal.Decimal)):
        return str(value)
    if isinstance(value, float):
        return value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    raise TypeError(type(value))


def raw(array):
    """Times as the integers Arrow keeps; everything else as Python has it."""
    kind = array.type
    if pa.types.is_timestamp(kind) or pa.types.is_time64(kind) or pa.types.is_date64(kind):
        return array.cast(pa.int64())
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        return array.cast(pa.int32())
    return array


def expected(table):
    return {name: plain(raw(table[name].combine_chunks()).to_pylist()) for name in table.column_names}


def sliced():
    """Every type, cut out of the middle of larger arrays: offsets that are no multiple of 8."""
    many = pa.concat_tables([every_type()] * 7).combine_chunks()
    return many.slice(4, 13)


def numbers(start, stop):
    return pa.table({"n": pa.array(range(start, stop), pa.int64())})


QUERIES = {
    "every type": lambda: [(every_type(), None)],
    "sliced": lambda: [(sliced(), None)],
    "no rows": lambda: [(every_type().slice(0, 0), None)],
    "empty batches": lambda: [
        (numbers(0, 0), b"first"),
        (numbers(0, 3), b"second"),
        (numbers(0, 0), b"third"),
        (numbers(0, 0), b"alone"),
        (numbers(3, 4), None),
    ],
    "large": lambda: [(pa.table({"b": [b"\x07" * 1000] * 20_000}), b"20 MB")],
    "growing dictionary": lambda: [
        (pa.table({"c": pa.array(["a", "b"]).dictionary_encode()}), None),
        (pa.table({"c": pa.array(["c", None, "a"]).dictionary_encode()}), None),
    ],
    "lost dictionary": lambda: [(pa.table({"c": pa.array(["a"]).dictionary_encode()}), None)],
    "endpoints": lambda: [(numbers(0, 0), None)],
}


class Server(flight.FlightServerBase):
    def __init__(self, compression=None):
        super().__init__("grpc://127.0.0.1:0")
        self.compression = compression

    def get_flight_info(self, context, descriptor):
        query = query_of(descriptor.command)
        if query not in QUERIES:
            raise KeyError(f"no such query: {query}")
        [(table, _), *_] = QUERIES[query]()
        tickets = [query] if query != "endpoints" else ["part 0", "part 1", "part 2"]
        places = {"part 1": [f"grpc://127.0.0.1:{self.port}"], "part 2": ["arrow-flight-reuse-connection://?"]}
        endpoints = [flight.FlightEndpoint(ticket.encode(), places.get(ticket, [])) for ticket in tickets]
        return flight.FlightInfo(table.schema, descriptor, endpoints, -1, -1)

    def do_get(self, context, ticket):
        name = ticket.ticket.decode()
        parts = [(numbers(int(name[5:]) * 10, int(name[5:]) * 10 + 10), None)] if name.startswith("part ") else QUERIES[name]()
        schema = parts[0][0].schema
        options = pa.ipc.IpcWriteOptions(compression=self.compression)
        batches = [
            (batch, metadata)
            for table, metadata in parts
            for batch in table.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], schema)]
        ]
        # A GeneratorStream can carry metadata, but leaves dictionaries out.
        if any(metadata is not None for _, metadata in batches) or name == "lost dictionary":
            return flight.GeneratorStream(schema, iter(batches), options=options)
        reader = pa.RecordBatchReader.from_batches(schema, [batch for batch, _ in batches])
        return flight.RecordBatchStream(reader, options=options)


def main():
    server = Server(sys.argv[1] if len(sys.argv) > 1 else None)
    print(json.dumps({"port": server.port, "expected": {"every type": expected(every_type()), "sliced": expected(sliced())}}), flush=True)
    # Whoever started us holds our stdin: when it closes, they are gone.
    sys.stdin.read()
    server.shutdown()


main()

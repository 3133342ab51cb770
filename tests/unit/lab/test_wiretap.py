"""py-amqp is changed in memory only where the tap is attached: in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

OUTGOING = """
import json
from amqp.basic_message import Message
from bridge.lab.wiretap import Outgoing, Typed, small
from bridge.lab.fingerprint import parse
out = Outgoing()
out.attach()
headers = {"a": small("s", -3), "b": [Typed(b"x", b"\\0\\0\\0\\1z")], "c": 1}
raw = Message("bödy", application_headers=headers)._serialize_properties()
assert raw == out.properties
print(json.dumps([out.body.decode(), {name: str(item) for name, item in parse(raw).items()}]))
"""

INCOMING = """
import json, struct
from amqp.basic_message import Message
from amqp.channel import Channel
from bridge.lab.wiretap import listen
seen = []
Channel.basic_consume = lambda self, queue="", consumer_tag="", **rest: consumer_tag
Channel._on_basic_deliver = lambda self, *rest: seen.append("passed on")
listen(seen.append)
channel = object.__new__(Channel)
channel.basic_consume(queue="q1", consumer_tag="tag")
raw = Message("x", correlation_id="id-1", priority=3)._serialize_properties()
message = Message()
message.inbound_header(struct.pack(">HHQ", 60, 0, 2) + raw)
message.inbound_body(b"hi")
channel._on_basic_deliver("tag", 1, True, "exchange", "key", message)
delivery, passed = seen
assert delivery.properties == raw
where = [delivery.task_id, delivery.queue, delivery.exchange, delivery.routing_key, delivery.redelivered]
print(json.dumps([*where, delivery.body.decode(), passed]))
"""


def run(code: str) -> object:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_outgoing_bytes_are_kept_and_rare_types_written() -> None:
    assert run(OUTGOING) == [
        "bödy",
        {
            "headers": "F{}",
            "headers.a": "s fffd",
            "headers.b": "A[x b'z']",
            "headers.c": "I 00000001",
        },
    ]


def test_a_delivery_carries_its_queue_and_raw_bytes_and_goes_on() -> None:
    assert run(INCOMING) == ["id-1", "q1", "exchange", "key", True, "hi", "passed on"]

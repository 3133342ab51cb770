"""The fixtures that other tests stand on: every world gives a fresh vhost on either side, of the release it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pika
import pytest
import requests

from tests.support.brokers import WORLDS

if TYPE_CHECKING:
    from tests.support.brokers import MakesVhosts, Vhosts, World

pytestmark = pytest.mark.functional


def test_either_side_is_of_its_release_and_empty(world: World, vhosts: Vhosts):
    old, new = WORLDS[world.name]
    assert vhosts.old.version.startswith(f"{old}.")
    assert vhosts.new.version.startswith(f"{new}.")
    assert world.same_broker == (old == new)
    for side, queue_type in ((vhosts.old, "classic"), (vhosts.new, "quorum")):
        listed = requests.get(f"{side.api}/api/queues/{side.vhost}", timeout=10)
        assert listed.json() == []
        with pika.BlockingConnection(pika.URLParameters(side.amqp)) as connection:
            channel = connection.channel()
            channel.queue_declare("q", durable=True, arguments={"x-queue-type": queue_type})
            channel.confirm_delivery()
            channel.basic_publish("", "q", b"task", mandatory=True)


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_pairs_do_not_share_anything(new_vhosts: MakesVhosts):
    one, two = new_vhosts(), new_vhosts()
    urls = {one.old.amqp, one.new.amqp, two.old.amqp, two.new.amqp}
    assert len(urls) == 4
    assert one.env()["new"]["amqp"] == one.new.amqp

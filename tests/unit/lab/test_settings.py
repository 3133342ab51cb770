"""The files that a broker starts with."""

from __future__ import annotations

import base64
import hashlib
import json

from bridge.lab import settings


def test_a_node_alone_knows_no_peers():
    text = settings.configuration(["listeners.tcp.1 = 127.0.0.1:1"], [], "/d.json")
    assert text.startswith("listeners.tcp.1 = 127.0.0.1:1\nload_definitions = /d.json\n")
    assert "cluster_formation" not in text


def test_members_of_a_cluster_know_each_other():
    text = settings.configuration([], ["a@localhost", "b@localhost"], "/d.json")
    assert "cluster_formation.peer_discovery_backend = classic_config\n" in text
    assert "cluster_formation.classic_config.nodes.2 = b@localhost\n" in text


def test_plugins_are_an_erlang_list():
    assert settings.enabled_plugins().startswith("[rabbitmq_management,")
    assert settings.enabled_plugins().endswith("].\n")


def test_definitions_give_one_user_every_right_in_every_vhost():
    made = json.loads(settings.definitions("bridge", "secret", ["chost", "qhost"]))
    assert [vhost["name"] for vhost in made["vhosts"]] == ["chost", "qhost"]
    assert [(it["user"], it["vhost"]) for it in made["permissions"]] == [("bridge", "chost"), ("bridge", "qhost")]
    (user,) = made["users"]
    assert user["tags"] == "administrator"
    raw = base64.b64decode(user["password_hash"])
    assert raw[4:] == hashlib.sha256(raw[:4] + b"secret").digest()

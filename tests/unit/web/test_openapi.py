"""The description is whole, and true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from flask import Flask

from bridge import daemon
from bridge.web import openapi
from bridge.web.access import Access
from bridge.web.app import TOLD, app
from bridge.web.bodies import keys_of
from bridge.web.events import Events
from tests.unit.web.test_app import FakeControl

TEXTS = {path: lambda: (200, "text/plain", "") for path in ("/metrics", "/livez", "/readyz")}


@pytest.fixture
def flask() -> Flask:
    looks: dict[str, Any] = {name: dict for name in openapi.LOOKS if name != "openapi.json"}
    return app(FakeControl(), looks, Access(), TEXTS, Events(dict))


@pytest.fixture
def told(flask: Flask) -> dict[str, Any]:
    answer = flask.test_client().get("/api/openapi.json")
    assert answer.status_code == 200
    assert answer.json is not None
    return dict(answer.json)


def test_every_route_is_described_and_nothing_that_is_no_route(flask: Flask, told: dict[str, Any]) -> None:
    routes = {
        (rule.rule, method.lower())
        for rule in flask.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(path, method) for path, each in told["paths"].items() for method in each} == routes
    paths = {path for path, _ in routes}
    assert {f"/api/{name}" for name in (*openapi.LOOKS, *openapi.CHANGES)} <= paths
    for path in openapi.TEXTS:
        assert any(one.startswith(path) for one in paths), path


def test_the_daemon_has_no_look_that_is_not_described() -> None:
    # What it puts into `looks` and `texts` is written there by name.
    text = Path(daemon.__file__).read_text()
    for name in openapi.LOOKS.keys() - {"openapi.json"}:
        assert f'"{name}"' in text, name
    begun = text.index("self.looks: dict")
    assert set(re.findall('"(.*)": ', text[begun : text.index("}", begun)])) <= openapi.LOOKS.keys()


def test_the_words_of_queries_are_those_that_the_door_reads() -> None:
    assert {name: tuple(query) for name, (_, query) in openapi.LOOKS.items() if query} == {
        name: (word,) for name, word in TOLD.items()
    }


def test_every_key_of_a_body_is_described(told: dict[str, Any]) -> None:
    every = {key for name in openapi.CHANGES for key in keys_of(name)}
    assert openapi.KEYS.keys() == every
    for name in openapi.CHANGES:
        body = told["paths"][f"/api/{name}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert tuple(body["properties"]) == keys_of(name)


def test_its_schemas_are_schemas_and_every_reference_leads_somewhere(told: dict[str, Any]) -> None:
    names = set(told["components"]["schemas"])

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "schema" in value:
                jsonschema.Draft202012Validator.check_schema(value["schema"])
            if "$ref" in value:
                assert value["$ref"].removeprefix("#/components/schemas/") in names
            for one in value.values():
                walk(one)
        elif isinstance(value, list):
            for one in value:
                walk(one)

    walk(told)
    for schema in told["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)

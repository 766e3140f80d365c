"""The OpenAPI document: complete, valid, and true under a fuzzer."""

from __future__ import annotations

import hypothesis
import pytest
import schemathesis

from core import ids
from loyalty.people import API_SCOPES
from models.staff import ApiKey
from tests.moments import NOW
from web.auth import access_of

FUZZ = hypothesis.settings(
    max_examples=8,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


@pytest.fixture
def document(client):
    return client.get("/api/openapi.json").get_json()


@pytest.fixture
def rules(app):
    return [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("api.")]


def test_document_is_openapi_3_1_and_loads(document):
    schema = schemathesis.openapi.from_dict(document)
    schema.validate()
    assert document["openapi"].startswith("3.1")
    assert sum(1 for _ in schema.get_all_operations()) == 10


def test_every_call_of_the_api_is_in_the_document(rules, document):
    served = {
        (rule.rule.replace("<string:", "{").replace(">", "}"), method.lower())
        for rule in rules
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    written = {(path, method) for path, calls in document["paths"].items() for method in calls}
    assert served == written


def test_every_call_needs_a_scope_that_the_document_names(app, rules, document):
    scopes = {access_of(app, rule.endpoint).permission for rule in rules}
    assert scopes == set(API_SCOPES)
    assert all(f"`{scope}`" in str(document) for scope in scopes)


@pytest.mark.slow
def test_no_input_makes_a_server_error_and_none_passes_without_a_key(app, runtime, somchai):
    key = ids.secret_token()
    with runtime.transaction() as session:
        hashed = ids.token_hash(key)
        session.add(ApiKey(name="fuzz", key_hash=hashed, scopes=list(API_SCOPES), created_at=NOW))
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", app)
    with_key, without = [], []

    def fuzz(operation):
        @FUZZ
        @hypothesis.given(case=operation.as_strategy())
        def call(case):
            case.headers.pop("Authorization", None)
            with_key.append(case.call(headers={"Authorization": f"Bearer {key}"}).status_code)
            without.append(case.call().status_code)

        call()

    for found in schema.get_all_operations():
        fuzz(found.ok())
    assert max(with_key) < 500
    assert {400, 404, 422} <= set(with_key)
    assert set(without) == {401}

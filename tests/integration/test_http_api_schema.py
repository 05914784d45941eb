"""The served API conforms to its OpenAPI description for valid and invalid requests."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig

from lambda_predict import openapi
from tests import gateway

# A schema cannot describe the bytes of an image: other bytes may be refused with these.
REFUSED = ["400", "413", "415", "422"]


def config(url: str) -> SchemathesisConfig:
    return SchemathesisConfig.from_dict(
        {
            "base-url": url,  # the relative address in the description is resolved differently
            "headers": {"x-api-key": gateway.KEY},
            "checks": {
                "positive_data_acceptance": {"expected-statuses": ["2xx", "404", *REFUSED]},
                "negative_data_rejection": {"expected-statuses": ["403", "404", "405", *REFUSED]},
            },
        }
    )


def documented() -> list[str]:
    paths = openapi.document()["paths"]
    return [f"{method.upper()} {path}" for path, calls in paths.items() for method in calls]


def test_schemathesis_finds_no_violation_of_the_openapi_description(http_api, context):
    with gateway.serve(http_api.handler, context) as url:
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=config(url))
        tried = []
        for found in schema.get_all_operations():
            operation = found.ok()

            @settings(
                max_examples=12,
                derandomize=True,
                database=None,
                deadline=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(
                case=st.one_of(
                    operation.as_strategy(),
                    operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE),
                )
            )
            def check(case):
                case.call_and_validate()

            check()
            tried.append(operation.label)
    # Schemathesis does not call the description itself.
    assert sorted([*tried, "GET /openapi.json"]) == sorted(documented())

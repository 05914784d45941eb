"""The interactive docs page in a real Chromium, under its own content security policy."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

from playwright.sync_api import sync_playwright

from digits.registry import bundle
from tests import gateway
from tests.conftest import require
from tests.e2e.test_app_in_browser import FLAGS, PATIENCE
from tests.integration.conftest import fresh

# The attributes of Lambda's context that the handler reads.
CONTEXT = SimpleNamespace(
    function_name="test",
    memory_limit_in_mb=512,
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:test",
    aws_request_id="request-1",
)


def test_the_docs_page_lists_the_calls_and_runs_one_without_third_party_requests(monkeypatch):
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
    require(chromium)
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Digits")
    handler = fresh("http_api").handler
    asked, complaints = [], []
    with gateway.serve(handler, CONTEXT) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda it: it.type == "error" and complaints.append(it.text))
        page.on("pageerror", lambda it: complaints.append(str(it)))
        page.on("request", lambda it: it.url.startswith("http") and asked.append(it.url))
        page.goto(f"{url}/docs")
        page.locator("#operations-default-health .opblock-summary").click()
        shown = page.locator(".opblock-summary-path").all_inner_texts()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        answer = page.locator(".live-responses-table").inner_text()
        browser.close()
    assert "/classify" in shown
    assert bundle.load().manifest.version in answer
    assert complaints == []
    assert asked == [f"{url}/docs", f"{url}/health"]

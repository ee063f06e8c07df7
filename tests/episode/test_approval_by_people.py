"""The approval page in people's hands: over HTTP, and in Chromium where there is one."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from browser import CHROMIUM, Browser
from desk import Desk

in_a_browser = pytest.mark.skipif(
    not CHROMIUM, reason="no Chromium here: the browser's part is left out, the same is asked over HTTP"
)
QUESTION, GONE = "Shall the challenger serve flights?", "This link leads nowhere"
APPROVED, REJECTED = "You approved the challenger", "You rejected the challenger"


@pytest.fixture
def desk(challenged: Any, judge: Any, request_: Any, ledger: Any, sagemaker: Any, callbacks: Any) -> Desk:
    made = Desk(ledger, sagemaker, callbacks)
    judge(challenged, made.rules)
    request_(challenged, rules=made.rules, links=made.links)
    return made


@pytest.fixture
def site(desk: Desk) -> Iterator[str]:
    """Where the page is: an HTTP server in API Gateway's place. A request of a browser's own (an icon) is a failure."""
    asked: list[str] = []

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            asked.append(path)
            self._answer(desk.ask("GET", query))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer(desk.ask("POST", self.path.partition("?")[2], body))

        def _answer(self, said: dict[str, Any]) -> None:
            self.send_response(said["statusCode"])
            for name, value in said["headers"].items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said["body"].encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    assert set(asked) <= {"/"}


@pytest.fixture
def link(site: str, desk: Desk) -> str:
    return f"{site}?{urlencode({'token': desk.token()})}"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as opened:
        yield opened


def decision(desk: Desk, episode: Any) -> Any:
    return (desk.page.ledger.episode(episode.episode_id) or {}).get("decision")


def fetch(address: str, **fields: str) -> tuple[int, str]:
    """Status and page of a request: a POST of the fields if there are any."""
    data = urlencode(fields).encode() if fields else None
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize(("wanted", "title"), [("approve", APPROVED), ("reject", REJECTED)])
def test_over_http_a_person_decides_once(
    site: str, link: str, desk: Desk, challenged: Any, callbacks: Any, wanted: str, title: str
) -> None:
    status, page = fetch(link)
    assert (status, f"<title>{QUESTION}</title>" in page) == (200, True)
    for value in ("approve", "reject"):
        assert f'<button name="decision" value="{value}">' in page
    assert decision(desk, challenged) is None
    with ThreadPoolExecutor(4) as clicks:  # however often it is clicked
        answers = list(clicks.map(lambda _: fetch(site, token=desk.token(), decision=wanted), range(4)))
    assert sorted(status for status, _ in answers) == [200, 404, 404, 404]
    assert sum(f"<title>{title}</title>" in page for _, page in answers) == 1
    assert fetch(link)[0] == 404, "also when it is gone back to"
    assert {output["decision"] for _, output in callbacks.outputs} == {decision(desk, challenged)}


@in_a_browser
@pytest.mark.parametrize(
    ("button", "title", "decided"), [("approve", APPROVED, "approved"), ("reject", REJECTED, "rejected")]
)
def test_in_a_browser_a_click_decides_and_going_back_changes_nothing(
    browser: Browser, link: str, desk: Desk, challenged: Any, button: str, title: str, decided: str
) -> None:
    browser.goto(link, QUESTION)
    assert decision(desk, challenged) is None
    browser.click(f"button[value={button}]")
    browser.see(title)
    assert decision(desk, challenged) == decided
    browser.back()
    browser.see(GONE)
    assert browser.ask("document.forms.length") == 0


@in_a_browser
def test_in_a_browser_a_double_click_is_one(
    browser: Browser, link: str, desk: Desk, challenged: Any, callbacks: Any
) -> None:
    browser.goto(link, QUESTION)
    browser.click("button[value=approve]", times=2)
    browser.see(APPROVED)
    assert callbacks.outputs == [("token", {"decision": "approved"})]
    assert decision(desk, challenged) == "approved"


@in_a_browser
def test_in_a_browser_the_keyboard_is_enough_and_says_where_it_is(
    browser: Browser, link: str, desk: Desk, challenged: Any
) -> None:
    browser.goto(link, QUESTION)
    reached = []
    while "reject" not in reached and len(reached) < 9:
        browser.press("Tab")
        reached.append(browser.ask("document.activeElement.value || document.activeElement.tagName"))
        outlined = browser.ask("getComputedStyle(document.activeElement).outlineStyle")
        assert outlined == "solid", reached
    assert reached[-2:] == ["approve", "reject"]
    assert decision(desk, challenged) is None
    browser.press("Enter")
    browser.see(REJECTED)
    assert decision(desk, challenged) == "rejected"


@in_a_browser
def test_in_a_browser_on_a_phone_nothing_is_cut_off_and_buttons_fit_a_thumb(browser: Browser, link: str) -> None:
    browser.as_phone()
    browser.goto(link, QUESTION)
    assert browser.ask("document.documentElement.scrollWidth") <= 320
    heights = browser.ask("[...document.querySelectorAll('button')].map(item => item.getBoundingClientRect().height)")
    assert min(heights) >= 44
    assert browser.ask("getComputedStyle(document.body).margin") == "0px", "its policy lets its own style be"
    browser.ask("document.querySelector('button[value=approve]').scrollIntoView()")
    browser.click("button[value=approve]")
    browser.see(APPROVED)


@in_a_browser
def test_in_a_browser_a_link_that_is_none_is_told_in_words(browser: Browser, site: str) -> None:
    browser.goto(f"{site}?token=x", GONE)
    assert "A decision that was made is final" in browser.ask("document.body.innerText")

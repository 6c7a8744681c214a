"""The viewer's page as the browser gets it; what the browser asks for then is seen in tests/studio."""

import re

import pytest

from nerfstudio_avatars.nerfstudio_glue.viewer_page import answer, policy


def test_the_page_is_visers_without_what_comes_from_elsewhere():
    headers, content = answer("/?x=1", "localhost:7007")
    html = content.decode()
    sources = re.findall(r"""(?:src|href)=["']([^"']+)""", html)
    assert any(source.startswith("/assets/index-") and source.endswith(".js") for source in sources)
    assert sources and all(source.startswith("/") for source in sources)
    assert "gtag(" not in html and "googletagmanager" not in html
    assert headers["Content-Type"] == "text/html"


def test_its_policy_allows_this_server_and_nothing_else():
    headers, _ = answer("/", "localhost:7007")
    rules = dict(rule.strip().split(" ", 1) for rule in headers["Content-Security-Policy"].split(";"))
    assert rules["default-src"] == "'self'"
    allowed = {source for sources in rules.values() for source in sources.split()}
    assert allowed == {
        "'self'",
        "'unsafe-eval'",
        "'unsafe-inline'",
        "data:",
        "blob:",
        "ws://localhost:7007",
        "wss://localhost:7007",
    }


@pytest.mark.parametrize("host", ["x; script-src *", "a b", "<x>", ""])
def test_a_strange_name_of_this_server_adds_nothing_to_the_policy(host):
    assert policy(host) == policy("") and "ws:" not in policy(host)


@pytest.mark.parametrize(("path", "said"), [("/studio.js", b"keydown"), ("/webcam.js", b"getUserMedia")])
def test_scripts_are_served_and_other_files_are_visers(path, said):
    headers, content = answer(path, "localhost:7007")
    assert headers["Content-Type"] == "text/javascript" and said in content
    assert answer("/assets/x.js", "localhost:7007") is None

"""The viewer answers its own page only: real requests to a real server, in a process of its own."""

import http.client
import subprocess
import sys

import pytest

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.viewer_guard import FolderOfPlainNames, refusal

pytestmark = pytest.mark.slow

SERVER = """
import socket, sys, time
from nerfstudio_avatars.nerfstudio_glue.viewer_guard import guard_viewer
guard_viewer()
guard_viewer()
import viser
taken = socket.socket()
taken.bind(("127.0.0.1", 0))
taken.listen()
server = viser.ViserServer(host="127.0.0.1", port=taken.getsockname()[1], verbose=False)
print("port", server.get_port(), flush=True)
time.sleep(120)
"""
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


@pytest.fixture(scope="module")
def server():
    """Its port, and what it said."""
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("port "):
            break
    yield int(said[-1].split()[1]), "".join(said)
    process.kill()
    process.wait()


def _status(port, headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.putrequest("GET", "/", skip_host=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("host", "origin", "answered"),
    [
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}", True),
        ("localhost:{port}", "http://localhost:{port}", True),
        ("localhost:8080", "http://localhost:8080", True),  # through ssh -L 8080
        ("localhost:{port}", None, True),
        ("localhost:{port}", "http://evil.example", False),
        ("localhost:{port}", "http://localhost:9999", False),
        ("localhost:{port}", "null", False),
        ("evil.example:{port}", "http://evil.example:{port}", False),
        ("evil.example:{port}", None, False),
        ("localhost.evil.example", "http://localhost.evil.example", False),
    ],
)
def test_pages_and_websockets_are_for_its_own_page(host, origin, answered, server):
    port = server[0]
    headers = {"Host": host.format(port=port)} | ({} if origin is None else {"Origin": origin.format(port=port)})
    assert _status(port, headers | UPGRADE) == (101 if answered else 403)
    assert (_status(port, headers) == 403) != answered


def test_the_port_that_listens_is_told_where_another_was_asked_for(server):
    port, said = server
    assert f"is taken: the viewer listens on port {port}" in said


def test_on_the_network_any_name_is_its_own_but_no_other_page_is():
    assert refusal("workstation:7007", "http://workstation:7007", "0.0.0.0") is None
    assert refusal("workstation:7007", "http://evil.example", "0.0.0.0") is not None
    assert refusal("x.share.viser.studio", "https://x.share.viser.studio", "127.0.0.1") is None
    assert refusal("[::1]:7007", "http://[::1]:7007", "127.0.0.1") is None
    assert refusal(None, None, "127.0.0.1") is not None


@pytest.mark.parametrize(
    "name", ["../x.json", "/etc/x.json", "a/b.json", "..", ".", "", "a\\b.json", "C:x.json", "\0.json"]
)
def test_names_typed_in_the_render_panel_stay_in_their_folder(name, tmp_path):
    folder = FolderOfPlainNames(tmp_path) / "camera_paths"
    with pytest.raises(UserError, match="not a plain file name"):
        folder / name
    assert (folder / "walk.json") == tmp_path / "camera_paths" / "walk.json"

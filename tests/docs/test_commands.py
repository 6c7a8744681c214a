"""Every command and every snippet in the README and in docs/ is one that works.

Commands are read by the parsers that the programs themselves use; those that need neither data nor time are run. A
renamed flag, a method, an extra or a target that is gone, a script that was moved: each fails here.
"""

import ast
import contextlib
import importlib
import importlib.util
import inspect
import io
import re
import shlex
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import tyro

from nerfstudio_avatars import cli, methods
from nerfstudio_avatars.cli import verbs
from nerfstudio_avatars.errors import UserError
from tests.helpers.documented import PAGES, ROOT, Block, blocks, commands

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
COMMANDS = list(dict.fromkeys(one for block in blocks() if block.language == "bash" for one in commands(block)))
NOT_OURS = {
    "ssh": "a remote machine is needed; the port is the viewer's default, which test_the_port_is_the_viewers checks",
    "export": "sets variables of the shell; test_variables_are_read_somewhere checks their names",
}
"""Commands that cannot be tried here, each with its reason."""
RUN = ("ns-avatar doctor", "ns-avatar inspect walk ")
"""Beginnings of commands that are run, because they need neither data nor time."""


def _parse(parser: object, words: list[str]) -> object:
    """What tyro understands; what it complains of fails the test. Help is understood as well."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return tyro.cli(parser, args=words)  # type: ignore[call-overload]
    except SystemExit as end:
        if end.code:
            pytest.fail(said.getvalue())
        return None


def _ns_avatar(words: list[str]) -> None:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            verbs.parse(words)
    except UserError as error:
        pytest.fail(str(error))
    except SystemExit as end:
        if end.code:
            pytest.fail(said.getvalue())


def _ns_train(words: list[str]) -> None:
    """nerfstudio's parser, of our methods alone: all of them take ten times as long."""
    names = PROJECT["entry-points"]["nerfstudio.method_configs"]
    known = {name: getattr(methods, value.partition(":")[2]).config for name, value in names.items()}
    assert words[0] in known, f"no method is called {words[0]}"
    # Two, because of one tyro makes no subcommand.
    other = next(name for name in known if name != words[0])
    some = {name: deepcopy(known[name]) for name in (words[0], other)}
    union = tyro.extras.subcommand_type_from_defaults(some)
    _parse(tyro.conf.SuppressFixed[tyro.conf.FlagConversionOff[union]], words)


def _ns_render(words: list[str]) -> None:
    from nerfstudio.scripts.render import Commands

    _parse(Commands, words)


def _ns_eval(words: list[str]) -> None:
    from nerfstudio.scripts.eval import ComputePSNR

    _parse(ComputePSNR, words)


def _ns_viewer(words: list[str]) -> None:
    from nerfstudio.scripts.viewer.run_viewer import RunViewer

    _parse(tyro.conf.FlagConversionOff[RunViewer], words)


def _make(words: list[str]) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf8"), re.MULTILINE))
    wanted = [word for word in words if "=" not in word]
    assert wanted and set(wanted) <= targets


def _pip(words: list[str]) -> None:
    assert words[0] == "install"
    rest = iter(words[1:])
    for word in rest:
        if word == "-c":
            assert (ROOT / next(rest)).is_file()
        elif word.startswith("."):
            extras = re.fullmatch(r"\.(?:\[([\w,]+)\])?", word)
            assert extras, word
            declared = set(PROJECT["optional-dependencies"])
            assert set((extras[1] or "").split(",")) - {""} <= declared
        elif word != "-e":
            assert (ROOT / word / "pyproject.toml").is_file(), f"{word}: neither an option nor a folder to install"


def _python(words: list[str]) -> None:
    """A script of ours: it exists, and its own parser knows the options."""
    script = ROOT / words[0]
    assert script.is_file(), f"{script} is not there"
    text = script.read_text("utf8")
    if "argparse" in text:
        assert all(f'"{word}"' in text for word in words[1:] if word.startswith("--"))
    elif "tyro" in text:
        _parse(_options_of(script), words[1:])
    else:
        call = next(node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == "main")
        most = len(call.args.args)
        assert most - len(call.args.defaults) <= len(words) - 1 <= most, f"{script.name} takes {most} words"


def _options_of(script: Path) -> type:
    """The class of a script's options; its main part does not run."""
    name = f"documented_{script.stem}"
    spec = importlib.util.spec_from_file_location(name, script)
    assert spec is not None and spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(script.parent))
    try:
        spec.loader.exec_module(sys.modules[name])
    finally:
        sys.path.remove(str(script.parent))
    return sys.modules[name].Options


PARSERS = {
    "ns-avatar": _ns_avatar,
    "ns-train": _ns_train,
    "ns-render": _ns_render,
    "ns-eval": _ns_eval,
    "ns-viewer": _ns_viewer,
    "make": _make,
    "pip": _pip,
    "python": _python,
}


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_is_understood_by_the_program_it_calls(command):
    program, *words = command.words
    assert program in PARSERS or program in NOT_OURS, f"nothing here understands {program}"
    if program in PARSERS:
        PARSERS[program](words)


@pytest.mark.parametrize(
    "line", sorted({shlex.join(one.words) for one in COMMANDS if str(one).split(": ", 1)[1].startswith(RUN)})
)
def test_what_needs_neither_data_nor_time_is_run(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cli.main(shlex.split(line)[1:])
    assert capsys.readouterr().out


def test_every_verb_and_every_method_is_documented():
    typed = {one.words[:2] for one in COMMANDS}
    assert {("ns-avatar", name) for name in verbs.entries()} - typed <= {
        ("ns-avatar", "demo"),
        ("ns-avatar", "demo-volanim"),
    }
    assert {("ns-train", name) for name in PROJECT["entry-points"]["nerfstudio.method_configs"]} - typed <= {
        ("ns-train", "instant-avatar-paper")
    }
    assert {("make", "demo"), ("make", "demo-volanim"), ("make", "test")} <= typed


def test_every_extra_is_in_the_table_of_extras():
    text = (ROOT / "docs" / "index.md").read_text("utf8")
    assert [name for name in PROJECT["optional-dependencies"] if f"`.[{name}]`" not in text] == ["tcnn"]


@pytest.mark.parametrize(
    "line",
    [
        "ns-avatar animate --load-config RUN --motoin walk",
        "ns-avatar dance --load-config RUN",
        "ns-train instant-avatar-cpu --data D --pipeline.model.no-such-option 3",
        "ns-train instant-avatar-gpu --data D",
        "ns-train instant-avatar --data D people-snapshot --no-such-option 3",
        "ns-render dataset --load-config R --no-such-option x",
        "ns-viewer --load-config R --viewer.no-such-option x",
        "ns-eval --load R",
        "make demos",
        "pip install -e '.[fases]'",
        "python benchmarks/train_stop.py",
        "python examples/04_save_a_mesh.py",
        "python examples/04_save_a_mesh.py RUN me.ply more",
        "python benchmarks/pose_recovery.py --flops 3",
        "python benchmarks/volanim_ablation.py --seed 3",
        "nerf-train x",
    ],
)
def test_a_command_that_does_not_work_is_found(line):
    """The tests above can fail."""
    (command,) = commands(Block("a page", "bash", line))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test_a_command_is_understood_by_the_program_it_calls(command)


def test_loops_variables_and_comments_are_taken_off():
    text = (
        'for x in data/*; do OMP_NUM_THREADS=1 ns-train m --data "$x" && make demo; done  # all\nns-avatar a \\\n  b\n'
    )
    words = [one.words for one in commands(Block("a page", "bash", text))]
    assert words == [("ns-train", "m", "--data", "$x"), ("make", "demo"), ("ns-avatar", "a", "b")]


def test_the_port_is_the_viewers():
    from nerfstudio.configs.base_config import ViewerConfig

    ports = {port for one in COMMANDS if one.words[0] == "ssh" for port in re.findall(r"\b\d{4}\b", str(one))}
    assert ports == {str(ViewerConfig().websocket_port_default)}


def test_variables_are_read_somewhere():
    """By our code, or by OpenMP, which ours sets them for."""
    code = "".join(path.read_text("utf8") for path in (ROOT / "nerfstudio_avatars").rglob("*.py"))
    names = [word.partition("=")[0] for one in COMMANDS if one.words[0] == "export" for word in one.words[1:]]
    assert names and [name for name in names if name not in code] == []


def _check_snippet(text: str) -> None:
    """Imports exist; so do the methods that are called on what was imported, and their keywords."""
    known: dict[str, Any] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            known |= {name.asname or name.name: importlib.import_module(name.name) for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            known |= {name.asname or name.name: getattr(module, name.name) for name in node.names}
    imported = dict(known)
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    for node in ast.walk(ast.parse(text)):  # `avatar = Avatar.load(...)`: one of these.
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            maker = node.value.func.value if isinstance(node.value.func, ast.Attribute) else node.value.func
            if isinstance(maker, ast.Name) and isinstance(imported.get(maker.id), type):
                known[node.targets[0].id] = imported[maker.id]
    for call in calls:
        if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
            called = getattr(known[call.func.value.id], call.func.attr) if call.func.value.id in known else None
        else:
            called = known.get(call.func.id) if isinstance(call.func, ast.Name) else None
        if called is not None:
            taken = inspect.signature(called).parameters
            loose = any(one.kind is one.VAR_KEYWORD for one in taken.values())
            assert loose or {keyword.arg for keyword in call.keywords} <= set(taken), ast.unparse(call)


@pytest.mark.parametrize("block", [one for one in blocks() if one.language == "python"], ids=lambda one: one.page)
def test_a_python_snippet_uses_what_exists(block):
    _check_snippet(block.text)


@pytest.mark.parametrize(
    "text",
    [
        "import nerfstudio_avatars.nothing",
        "from nerfstudio_avatars.errors import NoError",
        "from nerfstudio_avatars.avatars.film import Shot\nShot(motoin='walk')",
        "from nerfstudio_avatars.avatars.film import Shot\nshot = Shot()\nshot.chek()",
        "from nerfstudio_avatars import Avatar\navatar = Avatar.load('RUN')\navatar.render(1, azimut=2)",
    ],
)
def test_a_snippet_that_does_not_work_is_found(text):
    with pytest.raises((ImportError, AttributeError, AssertionError)):
        _check_snippet(text)


def test_every_layout_of_motion_files_is_in_the_table():
    from nerfstudio_avatars.motion.readers import READERS

    page = (ROOT / "docs" / "move.md").read_text("utf8")
    names = [name for reader in READERS for name in re.split(r", | / ", reader.name)]
    assert [name for name in names if name not in page] == []


def test_every_block_says_its_language():
    assert {one.language for one in blocks()} <= {"bash", "python", "text", "bibtex"}


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_and_to_pictures_lead_somewhere(page):
    text = page.read_text("utf8")
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    for link in links:
        if not re.match(r"[a-z]+:", link):
            file, _, anchor = link.partition("#")
            target = page.parent / file if file else page
            assert target.is_file(), link
            assert not anchor or anchor in _anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page):
    """Paths of the package, of benchmarks/ and of scripts/, written as code."""
    text = page.read_text("utf8")
    named = re.findall(r"`((?:[\w.]+/)+(?:[\w.]+\.py)?|\w+\.py)`", text)
    ours = [name for name in named if name.endswith(".py") or name.partition("/")[0] in _rooms()]
    places = (ROOT, ROOT / "nerfstudio_avatars", ROOT / "nerfstudio_avatars" / "unsup_volanim")
    places += (ROOT / "nerfstudio_avatars" / "instant_avatar",)
    assert [name for name in ours if not any((place / name).exists() for place in places)] == []


def _rooms() -> set[str]:
    return {path.name for path in (ROOT / "nerfstudio_avatars").iterdir()} | {"benchmarks", "scripts", "docs"}

"""Help texts: every option is explained in a whole sentence, and what is printed is kept in `help/`.

The files depend on tyro's layout and on nothing else: width and colours are fixed here, and the layout is tyro's own
(not argparse's, which changes with Python's version). With another release of tyro than constraints.txt has, they are
not compared.
"""

import dataclasses
import importlib.metadata
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from nerfstudio_avatars import cli, dataparsers, methods
from nerfstudio_avatars.cli import verbs
from tests.helpers.option_texts import configurations, faults, options

FOLDER = Path(__file__).parent / "help"
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
UPDATE = "UPDATE_HELP"
WIDTH = 100

SPECIFICATIONS = [
    value
    for module in (methods, dataparsers)
    for value in vars(module).values()
    if type(value).__name__ in ("MethodSpecification", "DataParserSpecification")
]
CONFIGURATIONS = {cls for value in SPECIFICATIONS for cls in configurations(value.config)}
VERB_OPTIONS = {entry.load() for entry in verbs.entries().values()}
CLASSES = sorted((cls for cls in CONFIGURATIONS | VERB_OPTIONS if options(cls)), key=lambda cls: cls.__qualname__)


def _printed(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(SystemExit) as end:
        cli.main([*words, "--help"])
    assert end.value.code == 0
    return "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines()) + "\n"


def _pinned(package):
    lines = CONSTRAINTS.read_text("utf8").splitlines()
    return next(line.partition("==")[2].split()[0] for line in lines if line.startswith(f"{package}=="))


@pytest.mark.parametrize(
    "cls", sorted(VERB_OPTIONS, key=lambda cls: cls.__qualname__), ids=lambda cls: cls.__qualname__
)
def test_every_option_is_explained_in_a_whole_sentence(cls):
    wrong = {name: (text, faults(text)) for name, text in options(cls).items() if faults(text)}
    told = [f"{name}: {text!r} {'; '.join(why)}" for name, (text, why) in wrong.items()]
    assert not wrong, f"{cls.__module__}.{cls.__qualname__}:\n" + "\n".join(told)


@pytest.mark.parametrize(
    "torso",
    [
        "Of the training.",
        "Steps.",
        "Length.",
        "How many.",
        "The same in the second.",
        "Somebody new.",
        "Pixels; by default 540, or the camera path's.",
        "Frames a second.",
        "Number of steps to train for",
        "number of steps to train for.",
        "Whether to open a file that\nlies elsewhere.",
        "",
        None,
    ],
)
def test_a_text_that_says_nothing_when_read_alone_is_a_fault(torso):
    assert faults(torso)


@pytest.mark.parametrize(
    "sentence",
    [
        "Number of frames to take, evenly spread over the video.",
        "Whether to create a scene collider to filter rays.",
        "`auto` takes SMPL if its file is found.",
        "Length of the video in seconds.\nBy default it is cut.",
    ],
)
def test_a_whole_sentence_is_none(sentence):
    text = sentence.replace("Length of the video in seconds.", "Length of the rendered video in seconds.")
    assert not faults(text)


def test_the_walk_reaches_both_methods_all_dataparsers_and_all_verbs():
    names = {cls.__name__ for cls in CLASSES}
    assert {
        "CanonicalAvatarConfig",
        "HashFieldConfig",
        "VoxelGeneratorConfig",
        "PoseSearchConfig",
        "DecayScheduleConfig",
        "SurrealDataParserConfig",
        "ImageFoldersDataParserConfig",
    } <= names
    assert {cls.__name__ for cls in VERB_OPTIONS} <= names


def test_an_option_of_nerfstudios_own_is_not_ours_to_explain():
    trainer = type(methods.instant_avatar.config)
    assert "max_num_iterations" not in options(trainer)
    assert "max_num_iterations" in {field.name for field in dataclasses.fields(trainer)}


@pytest.mark.parametrize("name", ["", *verbs.entries()])
def test_help_is_what_the_file_holds(name, capsys, monkeypatch):
    printed = _printed([name] if name else [], capsys, monkeypatch)
    file = FOLDER / f"{name or 'ns-avatar'}.txt"
    if os.environ.get(UPDATE):
        file.write_text(printed, "utf8")
    found = importlib.metadata.version("tyro")
    if found != _pinned("tyro"):
        pytest.skip(f"tyro {found} is not the release in constraints.txt, whose layout the files have")
    kept = file.read_text("utf8") if file.is_file() else ""
    assert printed == kept, (
        f"the help of `ns-avatar {name}` is not what {file.name} holds. If the change is meant, run "
        f"{UPDATE}=1 python -m pytest {Path(__file__).name} and commit the files."
    )


def test_no_file_is_left_of_a_verb_that_is_gone():
    assert {file.stem for file in FOLDER.glob("*.txt")} == {"ns-avatar", *verbs.entries()}


@pytest.mark.parametrize("name", verbs.entries())
def test_the_overview_says_of_a_verb_what_its_own_help_says_first(name):
    entry = verbs.entries()[name]
    first = entry.load().__doc__.strip().split("\n\n")[0]
    assert " ".join(first.split()).startswith(entry.sentence)
    assert not faults(entry.sentence.replace(entry.sentence.split()[0], "Uses", 1))


@pytest.mark.parametrize("name", verbs.entries())
def test_required_options_come_first(name):
    fields = dataclasses.fields(verbs.entries()[name].load())
    required = [
        field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING for field in fields
    ]
    assert required == sorted(required, reverse=True)


@pytest.mark.parametrize("name", verbs.entries())
def test_the_examples_of_a_verb_are_command_lines_that_it_understands(name):
    examples = verbs.entries()[name].examples
    assert 1 <= len(examples) <= 2
    for example in examples:
        program, *words = shlex.split(example)
        assert program == "ns-avatar"
        assert type(verbs.parse(words)) is verbs.entries()[name].load()


def test_help_is_wrapped_at_the_width_of_the_terminal():
    for width in (60, 80, 100):
        assert max(map(len, verbs.overview(width).splitlines())) <= width
    assert verbs.overview(300) == verbs.overview(100)
    assert "\033[1mStart:\033[0m" in verbs.overview(80, coloured=True)


def _imported_by(code):
    program = f"import sys\n{code}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


def test_the_overview_is_printed_without_importing_anything_large():
    code = "from nerfstudio_avatars import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass"
    assert not {"tyro", "numpy", "torch", "nerfstudio", "rich"} & set(_imported_by(code))


def test_the_options_of_all_verbs_are_known_without_torch_and_nerfstudio():
    code = "from nerfstudio_avatars.cli import verbs\nfor entry in verbs.entries().values(): entry.load()"
    assert not {"torch", "nerfstudio", "numba", "cv2", "scipy"} & set(_imported_by(code))

"""A config.yml is read as plain data: what it names is compared, never built."""

import copy
import os
import pathlib
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from nerfstudio_avatars.avatars.run import our_methods
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.config_file import (
    parse_trainer_config,
    read_outline,
    read_trainer_config,
    registered_methods,
)


def parse_config(text, source="the configuration"):
    return parse_trainer_config(text, our_methods(), source)


def read_config(path):
    return read_trainer_config(path, our_methods())


def _method(name):
    from nerfstudio.configs.method_configs import all_methods

    return copy.deepcopy(all_methods[name])


class _NoAliases(yaml.Dumper):
    def ignore_aliases(self, data):
        return True


def _text(name="instant-avatar-cpu", **changes):
    """What ns-train writes, with changes such as `pipeline__model=...`."""
    config = _method(name)
    config.data, config.timestamp = Path("some") / "data", "now"
    for place, value in changes.items():
        *parts, last = place.split("__")
        part = config
        for one in parts:
            part = getattr(part, one)
        setattr(part, last, value)
    return yaml.dump(config)


@pytest.mark.parametrize("name", ["instant-avatar", "instant-avatar-paper", "unsup-volanim-tiny", "unsup-volanim"])
def test_what_ns_train_writes_is_read_as_it_was(name):
    config = _method(name)
    config.data, config.timestamp = Path("some") / "data", "now"
    read = parse_config(yaml.dump(config))
    assert yaml.dump(read, Dumper=_NoAliases) == yaml.dump(config, Dumper=_NoAliases)
    assert type(read) is type(config) and read.pipeline.model == config.pipeline.model


def test_what_is_registered_with_nerfstudio_is_what_the_library_knows():
    assert registered_methods().configs.keys() == our_methods().configs.keys()
    assert registered_methods().classes == our_methods().classes


@pytest.mark.slow
def test_nerfstudios_own_loader_reads_ours_as_plain_data(tmp_path):
    """In a process as `ns-eval` is one: the plugin is imported, nothing else of ours."""
    code = f"""
import yaml
from nerfstudio.utils import eval_utils
text = open({str(tmp_path / "config.yml")!r}).read()
print(type(yaml.load(text, Loader=yaml.Loader)).__name__)
try:
    yaml.load(text + "prompt2: !!python/object/apply:os.mkdir [{tmp_path}/pwned]", Loader=yaml.Loader)
except Exception as error:
    print(type(error).__name__)
"""
    (tmp_path / "config.yml").write_text(_text())
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split()[-2:] == ["AvatarTrainerConfig", "UserError"] and not (tmp_path / "pwned").exists()


def test_a_run_of_windows_is_read_here_and_one_of_here_has_its_names():
    ours = _text().replace("pathlib.PosixPath", "pathlib.WindowsPath")
    old = ours.replace("nerfstudio_glue.trainer", "trainer").replace("instant_avatar.data.", "data.dataparsers.")
    for text in (ours, old):
        read = parse_config(text)
        assert read.data == Path("some/data") and isinstance(read.data, type(pathlib.Path()))
    drive = "!!python/object/apply:pathlib.WindowsPath ['C:\\', users, me]"
    assert parse_config(_text(prompt=None) + f"output_dir: {drive}").output_dir == Path("C:/users/me")


def test_fields_that_an_older_version_did_not_write_take_their_defaults():
    lines = [line for line in _text().splitlines() if "outlier_weight" not in line and "steps_per_save" not in line]
    read = parse_config("\n".join(lines) + "\ncompat: false\n")
    assert read.pipeline.model.outlier_weight == _method("instant-avatar-cpu").pipeline.model.outlier_weight
    with pytest.raises(UserError, match="compat .line"):
        parse_config("\n".join(lines) + "\ncompat: true\n")


def test_fields_are_known_under_the_names_that_they_once_had():
    ours = _text()
    old = ours.replace("hard_accumulation_weight: 0.1", "hard_alpha_weight: 0.7")
    assert old != ours and parse_config(old).pipeline.model.hard_accumulation_weight == 0.7
    # Written beside nerfstudio's own field, which did nothing.
    rays = ours.replace("eval_num_rays_per_chunk: 32768", "eval_num_rays_per_chunk: 4096\n    eval_rays_per_chunk: 77")
    assert rays != ours and parse_config(rays).pipeline.model.eval_num_rays_per_chunk == 77


def test_the_run_that_a_training_went_on_from_is_left_out():
    read = parse_config(_text(load_dir=Path("/etc"), load_step=3, load_checkpoint=Path("/etc/passwd")))
    assert (read.load_dir, read.load_step, read.load_checkpoint) == (None, None, None)


def _outline(path):
    return read_outline(path, (type(_method("instant-avatar").pipeline.model),))


def test_the_outline_has_the_same_values_as_the_whole(tmp_path):
    path = tmp_path / "config.yml"
    path.write_text(_text(experiment_name="me"))
    whole, outline = read_config(path), _outline(path)
    assert outline.model == whole.pipeline.model
    for name in ("method_name", "output_dir", "experiment_name", "timestamp", "relative_model_dir"):
        assert getattr(outline, name) == getattr(whole, name)
    manager = whole.pipeline.datamanager
    assert manager.data is None and outline.data == manager.dataparser.data
    path.write_text(_text(pipeline__datamanager__data=Path("there")))
    assert _outline(path).data == Path("there")


@pytest.mark.parametrize("name", ["relative_model_dir", "timestamp", "experiment_name"])
@pytest.mark.parametrize("value", ["../../elsewhere", "/elsewhere", "a/../../b", "..\\b", "C:\\b"])
def test_names_stay_within_the_runs_folder(name, value):
    with pytest.raises(UserError, match=f"{name}.*leads out"):
        parse_config(_text(**{name: Path(value) if name.startswith("relative") else value}))


WHOLE = {
    "shell": '!!python/object/apply:os.mkdir ["pwned"]',
    "nerfstudio's own shell function": '!!python/object/apply:nerfstudio.utils.scripts.run_command ["mkdir pwned"]',
    "evaluation": """!!python/object/apply:builtins.eval ["__import__('os').mkdir('pwned')"]""",
    "new": "!!python/object/new:subprocess.Popen [[mkdir, pwned]]",
    "state": "!!python/object/new:type {args: [x, !!python/tuple [], {}], state: {}}",
    "look-alike": "!!python/object:nerfstudio_evil.AvatarTrainerConfig {}",
    "look-alike class": "!!python/object:os.AvatarTrainerConfig {}",
    "full tag": '!<tag:yaml.org,2002:python/object/apply:os.mkdir> ["pwned"]',
    "handle": '%TAG !e! tag:yaml.org,2002:python/object/apply:\n---\n!e!os.mkdir ["pwned"]',
    "private tag": "!run {}",
    "module": "!!python/module:antigravity ''",
    "summary writer": "!!python/object/apply:torch.utils.tensorboard.SummaryWriter [pwned]",
    "external method": "!!python/object:nerfstudio.configs.external_methods.ExternalMethodDummyTrainerConfig {}",
    "server": "!!python/object/apply:viser.ViserServer []",
    "another trainer": "!!python/object:nerfstudio.engine.trainer.TrainerConfig {method_name: instant-avatar}",
    "empty": "",
    "a comment": "# nothing",
    "null": "null",
    "a list": "[1, 2]",
    "text": "hello",
    "a number": "7",
    "a dictionary": "method_name: instant-avatar",
    "no yaml": "a: [1",
    "tabs": "\t\t- x",
    "bad alias": "a: *nowhere",
    "itself": "&a [*a]",
    "deep": "[" * 5000 + "]" * 5000,
    "deep block": "".join(f"{' ' * n}a:\n" for n in range(400)),
    "two documents": "a: 1\n---\nb: 2",
    "merge": "<<: {a: 1}",
    "a bomb": "\n".join(
        ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    ),
    "html": "<!DOCTYPE html><html><body>Sign in</body></html>",
    "a pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1",
}
"""Files that are no run's configuration at all."""

VALUES = {
    "shell": "!!python/object/apply:os.mkdir [pwned]",
    "shell through a name": "!!python/name:os.system ''",
    "a function of torch": "!!python/name:torch.load ''",
    "a module": "!!python/module:os ''",
    "another path": "!!python/object/apply:pathlib.Path.home []",
    "a path that is called": "!!python/object/apply:pathlib.Path.unlink [precious]",
    "pickles by nerfstudio": "!!python/object:nerfstudio.data.dataparsers.minimal_dataparser.MinimalDataParserConfig"
    " {}",
    "a writer": "!!python/object/apply:nerfstudio.utils.writer.TensorboardWriter [pwned]",
    "a dummy": "!!python/object:nerfstudio.configs.external_methods.ExternalMethodDummyTrainerConfig {slug: x}",
    "a server": "!!python/object/new:viser.ViserServer {}",
    "an optimizer": "!!python/object/new:torch.optim.SGD {}",
    "an optimizer's class": "!!python/name:torch.optim.SGD ''",
    "an object of numpy": "!!python/object/apply:numpy.core.multiarray.scalar []",
    "one of its own": "&me [*me]",
    "a bomb": "[&a [1,1,1,1,1,1,1,1], &b [*a,*a,*a,*a,*a,*a,*a,*a], &c [*b,*b,*b,*b,*b,*b,*b,*b],"
    " &d [*c,*c,*c,*c,*c,*c,*c,*c], &e [*d,*d,*d,*d,*d,*d,*d,*d], [*e,*e,*e,*e,*e,*e,*e,*e]]",
    "a date": "2001-01-01",
    "bytes": "!!binary aGVsbG8=",
    "a set": "!!set {a}",
    "a timestamp as a key": "{2001-01-01: 1}",
    "not a number": ".nan",
    "infinity": ".inf",
    "a long number": "1" + "0" * 5000,
    "a dictionary": "{a: 1}",
    "nothing in it": "!!python/tuple []",
}
"""Put in the place of a value, of another type each."""

PLACES = {
    "a field": "steps_per_save: 1000",
    "a path": "relative_model_dir:",
    "a nested number": "huber_delta:",
    "a class": "_target: &",
    "a function": "collate_fn:",
}


@pytest.mark.parametrize("name", WHOLE)
def test_files_of_anything_else_are_refused_in_a_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yml").write_text(WHOLE[name])
    for read in (read_config, _outline):
        begin = time.monotonic()
        with pytest.raises(UserError) as error:
            read(tmp_path / "config.yml")
        assert "config.yml" in str(error.value) and time.monotonic() - begin < 5
    assert os.listdir(tmp_path) == ["config.yml"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", VALUES)
def test_a_value_of_anything_else_is_refused_wherever_it_stands(name, place, tmp_path, monkeypatch):
    """Within a configuration that is sound otherwise; the message names the field."""
    monkeypatch.chdir(tmp_path)
    lines = yaml.dump(_method("instant-avatar-cpu"), Dumper=_NoAliases).splitlines()
    start = PLACES[place].partition(":")[0] + ":"
    found = next(number for number, line in enumerate(lines) if line.strip().startswith(start))
    indent = len(lines[found]) - len(lines[found].lstrip())
    after = found + 1
    while after < len(lines) and len(lines[after]) - len(lines[after].lstrip(" -")) > indent:
        after += 1  # What the value went on with.
    text = "\n".join([*lines[:found], " " * indent + f"{start} {VALUES[name]}", *lines[after:]])
    with pytest.raises(UserError) as error:
        parse_config(text, "config.yml")
    assert "config.yml" in str(error.value) and os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("frobnicate: 1", "no such field"),
        ("__class__: 1", "no such field"),
        ("setup: 1", "no such field"),
        ("method_name: nerfacto", "none of this package"),
        ("vis: everywhere", "one of 'viewer'"),
        ("steps_per_save: true", "of type int"),
        ("steps_per_save: 99999999999999999999", "a smaller number"),
        ("1: 2", "a field's name"),
        ("viewer: 3", "a ViewerConfig"),
        ("optimizers: [1]", "typing.Dict"),
    ],
)
def test_fields_and_their_types_are_told(line, told):
    with pytest.raises(UserError, match=told):
        parse_config(_text() + line)


def test_a_folder_or_a_pipe_in_place_of_the_file_is_told(tmp_path):
    (tmp_path / "config.yml").mkdir()
    with pytest.raises(UserError, match="a folder"):
        read_config(tmp_path / "config.yml")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.yml")
        with pytest.raises(UserError, match="a named pipe"):
            read_config(tmp_path / "pipe.yml")
    (tmp_path / "large.yml").write_bytes(b"#" * 10**6)
    (tmp_path / "noise.yml").write_bytes(b"\xff\xfe\x00\x80" * 20)
    for name in ("large.yml", "noise.yml", "gone.yml"):
        with pytest.raises(UserError, match=name):
            read_config(tmp_path / name)


@pytest.mark.parametrize(
    ("method", "field", "value"),
    [
        ("instant-avatar-cpu", "cell_size", 1e-6),
        ("instant-avatar-cpu", "cell_size", 0.0),
        ("instant-avatar-cpu", "cell_size", -1.0),
        ("instant-avatar-cpu", "bin_size", 1e-7),
        ("instant-avatar-cpu", "width", 10**6),
        ("instant-avatar-cpu", "log2_table_size", 40),
        ("instant-avatar-cpu", "per_level_scale", 100.0),
        ("instant-avatar-cpu", "max_samples", 10**9),
        ("instant-avatar-cpu", "paper_resolution", (10**4, 10**4, 10**4)),
        ("unsup-volanim", "image_size", 10**6),
        ("unsup-volanim", "widths", (10**6,) * 5),
        ("unsup-volanim", "widths", (8,) * 20),
        ("unsup-volanim", "parts", 10**6),
        ("unsup-volanim", "code_size", 10**8),
    ],
)
def test_sizes_that_would_take_all_memory_are_refused_by_name(method, field, value):
    text = yaml.dump(_with(_method(method), field, value), Dumper=_NoAliases)
    with pytest.raises(UserError, match=rf"{field} .line \d+.*instead of (a number from|at most 7 values)"):
        parse_config(text)


def _with(config, field, value):
    """Every field of a name in a configuration, with another value."""
    waiting = [config.pipeline]
    changed = 0
    while waiting:
        part = waiting.pop()
        for name, inner in vars(part).items():
            if name == field:
                setattr(part, name, value)
                changed += 1
            elif hasattr(inner, "__dataclass_fields__") and not isinstance(inner, type):
                waiting.append(inner)
    assert changed
    return config


def test_what_is_trained_again_stays_on_this_computer_and_where_the_command_line_says(tmp_path, monkeypatch):
    """`ns-train --load-config` on a file that somebody sent."""
    from nerfstudio.scripts import train

    viewer = _method("instant-avatar-cpu").viewer
    viewer.websocket_host, viewer.make_share_url = "0.0.0.0", True
    sent = tmp_path / "sent.yml"
    sent.write_text(
        _text(
            output_dir=tmp_path / "elsewhere",
            timestamp="over-yours",
            vis="wandb",
            viewer=viewer,
            machine__dist_url="tcp://example.org:1",
            machine__seed=7,
            steps_per_save=123,
        )
    )
    begun = []
    monkeypatch.setattr(train, "launch", lambda **options: begun.append(options["config"]))
    typed = _method("instant-avatar-cpu")
    typed.load_config, typed.output_dir, typed.data = sent, tmp_path / "mine", tmp_path / "data"
    typed.load_dir = tmp_path / "models"
    train.main(typed)
    (config,) = begun
    assert config.steps_per_save == 123 and config.machine.seed == 7, "what is about the method is the file's"
    assert config.output_dir == tmp_path / "mine" and config.timestamp not in ("over-yours", "{timestamp}")
    assert config.pipeline.datamanager.data == tmp_path / "data" and config.load_dir == tmp_path / "models"
    assert (config.viewer.websocket_host, config.viewer.make_share_url) == ("127.0.0.1", False)
    assert config.vis == "viewer+tensorboard" and config.machine.dist_url == "auto"
    assert sorted(os.listdir(tmp_path)) == ["mine", "sent.yml"]

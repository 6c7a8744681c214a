"""What the package holds is used by the package: what only tests or benchmarks need lies with them."""

import ast
import re
from collections import Counter
from pathlib import Path

import nerfstudio_avatars

PACKAGE = Path(nerfstudio_avatars.__file__).parent
ROOT = PACKAGE.parent
OUTWARD = {
    "metrics/face_identity.py:SAME_PERSON": "tells users of the library what a distance means",
}
"""Names that nothing in the package uses, each with its reason."""


def top_level_names(tree):
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            for one in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(one, ast.Name):
                    yield one.id


def unused(sources, elsewhere=""):
    """`file:name` of top-level names that occur nowhere but where they are defined."""
    words = Counter(re.findall(r"\w+", "\n".join([*sources.values(), elsewhere])))
    return {
        f"{file}:{name}"
        for file, text in sources.items()
        for name in top_level_names(ast.parse(text))
        if words[name] == 1
    }


def test_nothing_in_the_package_is_for_tests_alone():
    sources = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf8") for path in PACKAGE.rglob("*.py")}
    entry_points = (ROOT / "pyproject.toml").read_text("utf8")
    found = {name for name in unused(sources, entry_points) if not name.split(":")[1].startswith("__")}
    assert found == set(OUTWARD)


def private_but_for_the_name(sources, elsewhere):
    """`file:name` of constants and functions without underscore that only their own module uses."""
    words = {file: set(re.findall(r"\w+", text)) for file, text in sources.items()}
    outside = set(re.findall(r"\w+", elsewhere))
    return {
        f"{file}:{name}"
        for file, text in sources.items()
        for name in top_level_names(ast.parse(text))
        if not name.startswith("_")
        and (name.isupper() or name.islower())
        and name not in outside
        and not any(name in used for other, used in words.items() if other != file)
    }


def test_an_underscore_says_what_is_not_public():
    """Types are public wherever they are: they come back from public functions."""
    sources = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf8") for path in PACKAGE.rglob("*.py")}
    places = ("tests", "benchmarks", "examples", "docs", "scripts")
    outside = [path for place in places for ending in ("py", "md") for path in (ROOT / place).rglob(f"*.{ending}")]
    elsewhere = [path.read_text("utf8") for path in (*outside, ROOT / "pyproject.toml")]
    assert private_but_for_the_name(sources, "\n".join(elsewhere)) == set()


def test_names_for_one_module_are_found():
    sources = {"a.py": "LOST = 1\n_MINE = 2\ndef used(): pass\nclass Gone: pass\n", "b.py": "used(X)\n"}
    assert private_but_for_the_name(sources, "") == {"a.py:LOST"}
    assert private_but_for_the_name(sources, "LOST") == set()


def test_what_is_unused_is_found():
    sources = {"a.py": "LOST = 1\nX: int = 2\ndef used(): pass\nclass Gone: pass\n", "b.py": "used(X)\n"}
    assert unused(sources) == {"a.py:LOST", "a.py:Gone"}
    assert unused(sources, "Gone") == {"a.py:LOST"}


def test_no_module_is_longer_than_400_lines():
    lengths = {
        path.relative_to(PACKAGE).as_posix(): path.read_text("utf8").count("\n") for path in PACKAGE.rglob("*.py")
    }
    assert {file: length for file, length in lengths.items() if length > 400} == {}


OPENS_PICTURES_BY_NAME = re.compile(
    r"\b(imread|imreadmulti|imwrite)\(|cv2\.(VideoCapture|VideoWriter|FileStorage)|Image\.open\((?!io\.BytesIO\()"
)


def test_all_pictures_go_through_the_one_reader():
    """cv2 ends the process over a path that is not UTF-8: Python opens files, and decoders get bytes."""
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text("utf8").splitlines()
        if OPENS_PICTURES_BY_NAME.search(line)
    ]
    assert found == []


def test_a_reader_by_name_is_found():
    for line in ("cv2.imread(str(path))", "cv2.VideoCapture(name)", "imread(path)", "Image.open(path)"):
        assert OPENS_PICTURES_BY_NAME.search(line), line
    assert not OPENS_PICTURES_BY_NAME.search("Image.open(io.BytesIO(data)); cv2.imdecode(data, flags)")

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
            if isinstance(target, ast.Name):
                yield target.id


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


def test_what_is_unused_is_found():
    sources = {"a.py": "LOST = 1\nX: int = 2\ndef used(): pass\nclass Gone: pass\n", "b.py": "used(X)\n"}
    assert unused(sources) == {"a.py:LOST", "a.py:Gone"}
    assert unused(sources, "Gone") == {"a.py:LOST"}

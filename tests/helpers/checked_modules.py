"""Checks shapes and types at run time, in all of the package but the compiled kernels."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

PACKAGE = "nerfstudio_avatars"
COMPILED = re.compile(r"^\s*(from|import) (numba|triton|nerfstudio_avatars\.kernels)\b", re.MULTILINE)
"""What modules of compiled kernels do."""

AT_ONCE = {f"{PACKAGE}.nerfstudio_glue", f"{PACKAGE}.nerfstudio_glue.known_warnings", f"{PACKAGE}.kernel_cache"}
"""What torch itself imports, by the entry point `torch.backends`, and the package with its name."""
LATE = (PACKAGE, "nerfstudio")
"""Where modules name each other's types: these are looked up when a function is called, not before."""

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""An int is a float, as the type checker has it."""


def install() -> None:
    """Checks every function of the plain modules that are imported from now on."""
    already = {name for name in sys.modules if name.startswith(f"{PACKAGE}.")} - AT_ONCE
    assert not already, f"imported before they could be checked: {sorted(already)}"
    checked = install_import_hook(plain_modules(), f"{__name__}.check").hook
    sys.meta_path.insert(0, _KnowsTypeNames(checked))


def plain_modules() -> list[str]:
    """Names of all modules without compiled kernels: numba and Triton take no checked functions.

    One by one, because the name of a package would stand for all that is in it.
    """
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None and spec.origin is not None
    root = Path(spec.origin).parent
    return [
        ".".join((PACKAGE, *path.relative_to(root).with_suffix("").parts))
        for path in sorted(root.rglob("*.py"))
        if path.name != "__init__.py" and not COMPILED.search(path.read_text("utf8"))
    ]


class _KnowsTypeNames(MetaPathFinder):
    """Lets annotations of checked modules be read, names that are imported under `if TYPE_CHECKING:` included.

    That such a name is not used elsewhere, where it would be missed outside the tests, is ruff's to see (TC004).
    """

    def __init__(self, checked: MetaPathFinder) -> None:
        self._checked = checked

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """The checked module's; None where it is not checked."""
        spec = self._checked.find_spec(fullname, path, target)
        if spec is None:
            return None
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            found = {name: origin for name, *origin in _type_names(Path(str(spec.origin)).read_text("utf8"))}
            late = {name: origin for name, origin in found.items() if origin[0].partition(".")[0] in LATE}
            module.__dict__.update({name: _imported(*found[name]) for name in found.keys() - late.keys()})
            if late:
                module.__dict__["__getattr__"] = _late(module.__name__, late)
            execute(module)

        loader.exec_module = exec_module
        return spec


def _type_names(source: str) -> Iterator[tuple[str, str, str | None]]:
    """Each name that is imported for types alone, its module, and what it is called there (None: the module)."""
    for block in ast.parse(source).body:
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING":
            for line in block.body:
                if isinstance(line, ast.ImportFrom):
                    yield from ((name.asname or name.name, str(line.module), name.name) for name in line.names)
                elif isinstance(line, ast.Import):
                    yield from ((name.asname or name.name, name.name, None) for name in line.names)


def _imported(module: str, name: str | None) -> Any:
    found = importlib.import_module(module)
    return found if name is None else getattr(found, name)


def _late(module: str, names: dict[str, list[Any]]) -> Any:
    def __getattr__(name: str) -> Any:
        if name in names:
            return _imported(*names[name])
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return __getattr__

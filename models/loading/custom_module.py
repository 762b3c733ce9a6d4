# SPDX-License-Identifier: Apache-2.0
"""Code of the user's own that a model needs: a Python file or an installed package that registers Keras classes and functions.

It is imported only where a command names it, in the child process that loads the model.
"""

import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import Sha256, digest, files_below, sha256_of
from edgeferry.models.system.packages import installed_version

OPTION: Final = "--custom-module"
KEY: Final = "model.custom_module"
SOURCE: Final = ".py"
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def custom_module(text: str, folder: Path, said: str) -> str:
    """Return a custom module as it is kept: the absolute path of a file, or the name of a package.

    A relative path starts at ``folder``; ``said`` says where the text is, for errors.

    Raises:
        EdgeError: it is neither.
    """
    if text.endswith(SOURCE):
        return str((folder / Path(text).expanduser()).resolve())
    if not NAME.fullmatch(text):
        raise EdgeError(
            "EF-custom-module-missing",
            f"{said} is {text!r}; expected a Python file, such as my_layers.py, or the name of an installed package.",
        )
    return text


def refuse_absent(module: str) -> None:
    """Refuse a custom module that is not there, without importing anything.

    Raises:
        EdgeError: there is no such file or package.
    """
    if module.endswith(SOURCE) and not Path(module).is_file():
        raise EdgeError("EF-custom-module-missing", f"{OPTION} names {module}, which does not exist; expected a Python file.")
    if not module.endswith(SOURCE) and _package_source(module) is None:
        raise EdgeError(
            "EF-custom-module-missing",
            f"{OPTION} names the package {module}, which {sys.executable} does not find; install it there, or name a Python file "
            f"({module}{SOURCE}).",
        )


def module_digest(module: str, sha256: Sha256 = sha256_of) -> str | None:
    """Return the digest of a custom module's code: a file's bytes, a package's release or, without one, its sources.

    None where there is no such file or package.
    """
    if module.endswith(SOURCE):
        return sha256(Path(module)) if Path(module).is_file() else None
    if (release := installed_version(module)) is not None:
        return digest([module, release])
    source = _package_source(module)
    if source is None:
        return None
    files = files_below(source.parent) if source.name == "__init__.py" else [source]
    return digest([[str(each), sha256(each)] for each in files if each.suffix == SOURCE])


def said_of(module: str) -> str:
    """Return the sentence about a custom module that is printed each time one is imported."""
    return f"{module} is code that runs: it is imported to load the model, with your rights"


def imported_classes(module: str) -> dict[str, Any]:
    """Return the Keras classes that a custom module holds by their own names, once it is imported and has registered the rest.

    Raises:
        EdgeError: importing it raised an exception; the message names the line.
    """
    import keras

    found = _imported(module)
    kinds = (keras.Layer, keras.initializers.Initializer, keras.regularizers.Regularizer, keras.constraints.Constraint)
    return {
        name: each
        for name, each in vars(found).items()
        if inspect.isclass(each) and issubclass(each, kinds) and not each.__module__.startswith("keras.")
    }


def _package_source(name: str) -> Path | None:
    """Return the file that importing a package would run first, without importing it."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(found.origin) if found is not None and found.origin and found.has_location else None


def _imported(module: str) -> ModuleType:
    try:
        return _from_file(Path(module)) if module.endswith(SOURCE) else importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise EdgeError(
            "EF-custom-module-import",
            f"{_where(error, module)}: {type(error).__name__}: {_first_line(error)}; {module} cannot be imported. "
            f"{_advice(error)}",
        ) from error


def _from_file(file: Path) -> ModuleType:
    """Import a file under its own name, or under another where that is taken by another module."""
    # The last place: what is next to the file is found, and hides no other module.
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    source = _package_source(file.stem)
    name = file.stem if source is not None and source.resolve() == file else f"custom_module_{file.stem}"
    if (known := sys.modules.get(name)) is not None and known.__file__ == str(file):
        return known
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    found = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(found)
    except BaseException:
        del sys.modules[name]
        raise
    return found


def _where(error: BaseException, module: str) -> str:
    """Return the file and line that an exception comes from: of the module's own file where that is on the way."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if each.filename == module]
    last = (own or [each for each in frames if not each.filename.startswith("<")] or frames)[-1]
    return f"{last.filename}, line {last.lineno}"


def _advice(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"Install the package that brings {error.name}, where edgeferry runs: {sys.executable}."
    return "Expected a module that defines and registers Keras classes and does nothing else when it is imported."


def _first_line(error: BaseException) -> str:
    lines = (error.msg if isinstance(error, SyntaxError) else str(error)).strip().splitlines()
    return lines[0].rstrip(".") if lines else "no message"

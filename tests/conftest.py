# SPDX-License-Identifier: Apache-2.0
"""Two classifiers that are really trained, each once: gray digits, and colours that a channel swap confuses.

What was trained and exported is kept for later runs, by a digest of what it follows from (support/fixture_cache.py), in
pytest's cache or in the folder that EDGEFERRY_TEST_CACHE names.
"""

import gc
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from alone import one_at_a_time
from fixture_cache import FixtureCache, digests_of, versions
from order import dealt

from edgeferry.exporters.export import export_all
from edgeferry.exporters.format import formats
from edgeferry.models.config.spec import ModelSpec, read_spec
from edgeferry.models.exports import Export
from edgeferry.models.image_labels import read_labels
from edgeferry.models.images import find_images, read_pixels
from edgeferry.models.preprocessing import normalise
from edgeferry.models.reference import FACTS, REFERENCE
from edgeferry.models.system.child import Child
from edgeferry.models.system.files import digest, sha256_of
from edgeferry.models.system.places import ROOT

if TYPE_CHECKING:
    import keras

# Swapping the first channel for the last turns each colour into another of the four.
COLOURS: Final = {"red": (1.0, 0.1, 0.1), "blue": (0.1, 0.1, 1.0), "yellow": (1.0, 0.9, 0.1), "cyan": (0.1, 0.9, 1.0)}
COLOURS_TOML: Final = """\
[model]
name = "colours"
file = "colours.keras"
labels = ["red", "blue", "yellow", "cyan"]

[input]
shape = [24, 20, 3]
colour = "bgr"
mean = [40, 45, 50]
std = [60, 70, 80]
resize = "bicubic"
fit = "crop"

[data]
golden = "golden"
calibration = "calibration"
"""

# What only a trained network can give; every other such fixture is made of one of these.
TRAINED: Final = {"digits", "colours", "exported_digits", "exported_colours"}

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark as slow what needs a trained network, by its fixtures or by the name of one as its parameter, and sort."""
    for item in items:
        if _names(item) & TRAINED:
            item.add_marker(pytest.mark.slow)
    modules = [list(module) for _, module in groupby(items, key=lambda item: item.path)]
    items[:] = dealt(modules, getattr(config, "workerinput", {}).get("workercount", 1), _group)


@pytest.fixture(scope="module", autouse=True)
def _quick_garbage_collection() -> None:
    """Look at nothing again that was there before this module: coremltools collects at every conversion, a second each time."""
    gc.collect()
    gc.freeze()


def _names(item: pytest.Item) -> set[str]:
    """Return the names of an item's fixtures, and its parameters, which may be names of fixtures."""
    parameters = getattr(item, "callspec", None)
    return {*getattr(item, "fixturenames", ()), *map(str, parameters.params.values() if parameters else ())}


def _group(module: Sequence[pytest.Item]) -> int | None:
    """Return a number for modules that begin with the same expensive fixtures, None of a module that has none."""
    names = set[str]().union(*map(_names, module))
    digits, colours = ("digits" in names or "exported_digits" in names, "colours" in names or "exported_colours" in names)
    if any(item.get_closest_marker("early") for item in module):
        return 0
    if digits or colours:
        return 3 if digits and colours else 1 if digits else 2
    return 4 if any(item.get_closest_marker("slow") for item in module) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """Let a test that times something run while no other worker runs one."""
    worker = getattr(item.config, "workerinput", None)
    if worker is None:
        return (yield)
    with one_at_a_time(worker["testrunuid"], alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.fixture(scope="session")
def fixture_cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FixtureCache:
    """Return what keeps expensive fixtures."""
    if named := os.environ.get("EDGEFERRY_TEST_CACHE"):
        return FixtureCache(Path(named).absolute())
    cache = getattr(request.config, "cache", None)
    return FixtureCache(cache.mkdir("fixtures") if cache else tmp_path_factory.getbasetemp().parent / "fixtures")


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    """Return a child process that the tests of a module may share."""
    with Child(with_keras=True) as child:
        yield child


@pytest.fixture(scope="session")
def trained_kept(fixture_cache: FixtureCache, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ModelSpec]:
    """Return ``trained_kept(name, train, sources)``: the config of a classifier, ``name.toml``, trained now or by an earlier run.

    ``train(folder)`` writes the config, the images and the network. It follows from ``sources``, from how images become tensors
    and from what is installed.
    """
    parts = ("config", "digits.py", "digits.toml", "images.py", "preprocessing.py")
    code, installed = digests_of(*(ROOT / "models" / part for part in parts)), versions()

    def kept(name: str, train: Callable[[Path], None], sources: Sequence[object]) -> ModelSpec:
        follows_from = {"code": code, "versions": installed, "sources": list(sources)}
        return read_spec(fixture_cache.copy(name, follows_from, train, tmp_path_factory.mktemp(name)) / f"{name}.toml")

    return kept


@pytest.fixture(scope="session")
def digits(trained_kept: Callable[..., ModelSpec]) -> ModelSpec:
    """Return the config of the default classifier, trained as a user trains it."""
    return trained_kept("digits", _train_digits, ())


def _train_digits(folder: Path) -> None:
    toml = folder / "digits.toml"
    config = (ROOT / "models" / "digits.toml").read_text(encoding="utf-8")
    toml.write_text(config.replace("../build/digits/source/", "source/"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "edgeferry", "train", str(toml)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def colours(trained_kept: Callable[..., ModelSpec]) -> ModelSpec:
    """Return the config of a trained BGR classifier of 24x20 images, with golden and calibration images."""
    sources = map(inspect.getsource, (_train_colours, _write_tinted_digits, _colour_classifier))
    return trained_kept("colours", _train_colours, [COLOURS_TOML, COLOURS, *sources])


def _train_colours(folder: Path) -> None:
    (folder / "colours.toml").write_text(COLOURS_TOML, encoding="utf-8")
    spec = read_spec(folder / "colours.toml")
    _write_tinted_digits(folder)
    _colour_classifier(folder / "train", spec).save(spec.model)


def _write_tinted_digits(folder: Path) -> None:
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    images, rng = load_digits().images, np.random.default_rng(11)
    parts = {"golden": range(160), "calibration": range(160, 240), "train": range(240, 880)}
    for part, numbers in parts.items():
        for number in numbers:
            name, tint = list(COLOURS.items())[number % len(COLOURS)]
            wide = np.pad(images[number] / 16, ((0, 0), (2, 2)))
            light = np.asarray(tint) * rng.uniform(0.7, 1.0) + rng.uniform(0, 0.1, 3)
            file = folder / part / name / f"{number:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((np.clip(wide[..., None] * light, 0, 1) * 255).astype(np.uint8)).save(file)


def _colour_classifier(images: Path, spec: ModelSpec) -> "keras.Model":
    import keras
    from keras import layers

    # The names of layers count on from those of other networks of this process.
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    how, found = spec.preprocessing, find_images(images)
    model = keras.Sequential(
        [
            keras.Input((how.height, how.width, how.channels), name="image"),
            layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.8),
            layers.ReLU(6.0),
            layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(spec.labels), activation="softmax"),
        ],
        name="colours",
    )
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy")
    inputs, classes = normalise(read_pixels(found, how), how), read_labels(found, spec.labels)
    model.fit(inputs, classes, batch_size=32, epochs=8, verbose=0)
    return model


class Exported(NamedTuple):
    """A classifier, the folder it was exported to, and what became of each format."""

    spec: ModelSpec
    build: Path
    exports: dict[str, Export]


@pytest.fixture(scope="session")
def export_digests() -> dict[str, Any]:
    """Return what every export follows from, its model apart: all code and data that writes it, and what is installed."""
    folders = (ROOT / name for name in ("models", "exporters"))
    missing = {name: form.missing() for name, form in formats().items()}
    programs = {name: form.identity() for name, form in formats().items() if not missing[name]}
    return {"code": digests_of(*folders), "versions": versions(), "missing": missing, "programs": programs}


# Another process's tests of some formats need no others.
NAMES: Final = tuple(filter(None, os.environ.get("EDGEFERRY_TEST_FORMATS", "").split(","))) or tuple(formats())


@pytest.fixture(scope="session")
def export_kept(
    fixture_cache: FixtureCache, export_digests: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Exported]:
    """Return ``export_kept(spec, names)``: a classifier exported to some formats, or to all, by this code or kept by it."""

    def export(spec: ModelSpec, names: tuple[str, ...] = NAMES) -> Exported:
        build = tmp_path_factory.mktemp("build") / spec.name
        follows_from = {**export_digests, "names": names, "model": sha256_of(spec.model), "config": sha256_of(spec.path)}
        entry = f"exported-{spec.name}-{digest(names)[:6]}"
        fixture_cache.copy(entry, follows_from, lambda folder: _export(spec, folder, names), build)
        _adopt(build, spec)
        # What is in place is kept; what failed, as when memory ran out, is tried again.
        return Exported(spec, build, _export(spec, build, names))

    return export


def _adopt(build: Path, spec: ModelSpec) -> None:
    """Name this worker's config in a build folder that may be another worker's copy: two configs of one name are refused."""
    facts = build / REFERENCE / FACTS
    if facts.is_file():
        fields = json.loads(facts.read_text(encoding="utf-8"))
        facts.write_text(json.dumps({**fields, "config": str(spec.path.resolve())}), encoding="utf-8")


def _export(spec: ModelSpec, build: Path, names: tuple[str, ...]) -> dict[str, Export]:
    return {export.format: export for export in export_all(spec, build, names, lambda *_: None)}


@pytest.fixture(scope="session")
def exported_digits(digits: ModelSpec, export_kept: Callable[..., Exported]) -> Exported:
    """Return the default classifier in every format that can be written here."""
    return export_kept(digits)


@pytest.fixture(scope="session")
def exported_colours(colours: ModelSpec, export_kept: Callable[..., Exported]) -> Exported:
    """Return the colour classifier in every format that can be written here."""
    return export_kept(colours)

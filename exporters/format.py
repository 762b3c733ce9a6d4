# SPDX-License-Identifier: Apache-2.0
"""What a format is, and which there are: the folder is the registry."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import edgeferry.exporters
from edgeferry.exporters.options import NoOptions, read_options
from edgeferry.models.artifact import Tensor, Tolerance
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.registry import did_you_mean, records_in, refuse_unknown

if TYPE_CHECKING:
    from pathlib import Path

    from edgeferry.exporters.graph.source import Source

# The fields of ExportOptions that a format follows from: folding changes the graph, the others go into the file's metadata.
FOLDED: Final = frozenset({"fold_batchnorm"})
WITH_AUTHOR: Final = frozenset({"fold_batchnorm", "author", "licence", "version"})


@dataclass(frozen=True)
class Written:
    """What an exporter reports of the file it wrote, all of it read back from that file.

    ``output`` is set where the file returns something else than the model: 'probabilities' of a model of logits.
    """

    main_file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    notes: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    output: str | None = None


def _always() -> str | None:
    return None


@dataclass(frozen=True)
class Format:
    """One form a classifier is exported to.

    ``write(source, folder)``, or ``write(source, folder, options)`` where the format has options, writes the files into an empty
    folder; the framework is imported inside it. ``kind`` says which targets read it, ``tools`` which distributions it follows
    from, ``uses`` which fields of ExportOptions. ``missing()`` says why it cannot be written here and how to get what it needs,
    or None. ``after`` names the format whose artifact it starts from. ``identity()`` is a digest of a program outside Python that
    writes it, or None; another one makes the artifact stale. ``options`` is a frozen dataclass, read from ``[export.<format>]``.
    A format that is not ``by_default`` is opt-in. ``precision`` names what its difference from the Keras model is compared with
    (``edgeferry.models.yardstick``), or is a function from the format's options to that name; a format without one has its
    parent's. ``module`` is set by the registry.
    """

    name: str
    kind: str
    summary: str
    tolerance: Tolerance
    write: Callable[..., Written]
    tools: tuple[str, ...]
    calibrated: bool = False
    after: str | None = None
    missing: Callable[[], str | None] = _always
    identity: Callable[[], str | None] = _always
    by_default: bool = True
    options: type = NoOptions
    uses: frozenset[str] = FOLDED
    precision: str | Callable[[Any], str] | None = None
    module: str = ""


@cache
def formats() -> Mapping[str, Format]:
    """Return every format by name, in the order they are made; imports no framework."""
    found = [replace(record, module=module) for module, record in records_in(edgeferry.exporters, "FORMATS")]
    return {form.name: form for form in sorted(found, key=lambda form: (form.after is not None, form.name))}


def choose(names: tuple[str, ...] | None) -> tuple[Format, ...]:
    """Return the formats named, or all that are not opt-in, in the order they are made.

    Raises:
        EdgeError: a name is not a format.
    """
    known = formats()
    refuse_unknown(names or (), known, "format")
    return tuple(form for form in known.values() if (form.by_default if names is None else form.name in names))


def tolerance_of(form: Format, own: Mapping[str, float], config: str) -> Tolerance:
    """Return a format's tolerance, with what a config of that file name sets itself, by key."""
    return replace(form.tolerance, **dict(own), reason=f"set in {config}") if own else form.tolerance


def options_of(form: Format, spec: ModelSpec) -> Any:
    """Return a format's options: those of ``[export.<format>]``, then those of ``[export.<kind>]``, then the defaults.

    Raises:
        EdgeError: a value is wrong; names the file and the key.
    """
    own = {each.name for each in fields(form.options)}
    of_kind = {key: value for key, value in spec.export_table(form.kind).items() if key in own and form.kind != form.name}
    of_format = spec.export_table(form.name)
    read_options(form.options, of_kind, spec.path, f"export.{form.kind}")
    return read_options(form.options, of_kind | of_format, spec.path, f"export.{form.name if of_format else form.kind}")


def precision_of(form: Format, spec: ModelSpec) -> str | None:
    """Return the name of the precision that explains a format's difference from the Keras model, or None where none does."""
    if form.precision is None:
        parent = formats().get(form.after) if form.after else None
        return precision_of(parent, spec) if parent else None
    return form.precision if isinstance(form.precision, str) else form.precision(options_of(form, spec))


def write_format(form: Format, source: "Source", folder: "Path") -> Written:
    """Write a format into an empty folder, with the options that the config sets.

    Raises:
        EdgeError: the format cannot be written; says why.
    """
    own = () if form.options is NoOptions else (options_of(form, source.spec),)
    return form.write(source, folder, *own)


def check_options(spec: ModelSpec) -> None:
    """Refuse a config with options of a format that does not exist, an option that it does not have, or a value that is wrong.

    Raises:
        EdgeError: names the file, the table and the key.
    """
    known = formats()
    keys = {name: {each.name for each in fields(form.options)} for name, form in known.items()}
    for kind in {form.kind for form in known.values()} - set(known):
        keys[kind] = set().union(*(keys[form.name] for form in known.values() if form.kind == kind))
    for table, _ in spec.format_options:
        if table not in keys:
            raise EdgeError(
                "EF-option-table",
                f"{spec.path}: [export.{table}] is not a format or a kind of formats{did_you_mean(table, keys)}.",
            )
        for key in _unknown(spec.export_table(table), keys[table]):
            raise EdgeError(
                "EF-option-unknown",
                f"{spec.path}: export.{table}.{key} is not an option of {table}{did_you_mean(key, keys[table])}.",
            )
    for form in known.values():
        options_of(form, spec)


def _unknown(table: Mapping[str, Any], known: set[str]) -> Iterator[str]:
    return (key for key in table if key not in known)

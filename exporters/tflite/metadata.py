# SPDX-License-Identifier: Apache-2.0
"""Labels and preprocessing inside a .tflite file, as TF Lite Metadata.

The format is TensorFlow's metadata_schema.fbs: a flatbuffer "M001" in the model's metadata "TFLITE_METADATA", and labels.txt in
a zip archive that follows the model. The package that writes it has no wheel for TensorFlow's Python versions; the few tables
that a classifier needs are built here, each field by its number in that schema.
"""

import io
import zipfile
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.readers.tflite import IDENTIFIER
from edgeferry.exporters.readers.tflite_metadata import (
    COLOUR_SPACES,
    IMAGE_PROPERTIES,
    LABELS_FILE,
    METADATA_IDENTIFIER,
    NAME,
    NORMALIZATION_OPTIONS,
)
from edgeferry.exporters.readers.tflite_schema import tflite_schema

if TYPE_CHECKING:
    import flatbuffers

    from edgeferry.models.config.spec import ExportOptions, ModelSpec

# An enumeration of metadata_schema.fbs.
TENSOR_AXIS_LABELS: Final = 2
# A date that the zip format can hold; the real one would make every export differ.
EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def with_metadata(model: bytes, spec: "ModelSpec") -> bytes:
    """Return a .tflite model with the labels and preprocessing inside; any TF Lite runtime still reads it."""
    import flatbuffers
    import numpy as np

    schema = tflite_schema()
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(model), 0))
    tree.description = f"{spec.name}, exported by edgeferry".encode()
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(_metadata(spec), dtype=np.uint8)
    entry.name, entry.buffer = NAME, len(tree.buffers)
    tree.buffers.append(buffer)
    tree.metadata = [*(each for each in tree.metadata or [] if each.name != NAME), entry]
    builder = flatbuffers.Builder(len(model) + 4096)
    builder.Finish(tree.Pack(builder), IDENTIFIER)
    return bytes(builder.Output()) + zip_of_labels(spec.labels)


def _metadata(spec: "ModelSpec") -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    image = _image_tensor(builder, spec)
    scores = _scores_tensor(builder)
    inputs, outputs = _vector(builder, [image]), _vector(builder, [scores])
    graph = _table(builder, 9, {2: inputs, 3: outputs})
    graphs, name, description = (
        _vector(builder, [graph]),
        builder.CreateString(spec.name),
        builder.CreateString("Image classifier"),
    )
    least_parser = builder.CreateString("1.0.0")
    made_by = _made_by(builder, spec.options)
    builder.Finish(_table(builder, 8, {0: name, 1: description, 3: graphs, 7: least_parser} | made_by), METADATA_IDENTIFIER)
    return bytes(builder.Output())


def _made_by(builder: "flatbuffers.Builder", options: "ExportOptions") -> dict[int, int]:
    texts = {2: options.version, 4: options.author, 5: options.licence}
    return {field: builder.CreateString(text) for field, text in texts.items() if text}


def _image_tensor(builder: "flatbuffers.Builder", spec: "ModelSpec") -> int:
    how = spec.preprocessing
    mean, std = _floats(builder, how.mean), _floats(builder, how.std)
    options = _table(builder, 2, {0: mean, 1: std})
    unit = _union(builder, NORMALIZATION_OPTIONS, options)
    builder.StartObject(2)
    builder.PrependInt8Slot(0, COLOUR_SPACES[how.colour], 0)
    properties = builder.EndObject()
    content, units = _union(builder, IMAGE_PROPERTIES, properties), _vector(builder, [unit])
    described = f"{how.width} x {how.height} pixels, {how.colour}; each channel (pixel - mean) / std"
    name, description = builder.CreateString("image"), builder.CreateString(described)
    return _table(builder, 7, {0: name, 1: description, 3: content, 4: units})


def _scores_tensor(builder: "flatbuffers.Builder") -> int:
    file_name = builder.CreateString(LABELS_FILE)
    builder.StartObject(5)
    builder.PrependUOffsetTRelativeSlot(0, file_name, 0)
    builder.PrependInt8Slot(2, TENSOR_AXIS_LABELS, 0)
    files = _vector(builder, [builder.EndObject()])
    name, description = builder.CreateString("scores"), builder.CreateString("One score per label")
    return _table(builder, 7, {0: name, 1: description, 6: files})


def _table(builder: "flatbuffers.Builder", fields: int, offsets: dict[int, int]) -> int:
    builder.StartObject(fields)
    for number, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(number, offset, 0)
    return int(builder.EndObject())


def _union(builder: "flatbuffers.Builder", kind: int, table: int) -> int:
    builder.StartObject(3)
    builder.PrependUint8Slot(0, kind, 0)
    builder.PrependUOffsetTRelativeSlot(1, table, 0)
    return int(builder.EndObject())


def _vector(builder: "flatbuffers.Builder", offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _floats(builder: "flatbuffers.Builder", values: tuple[float, ...]) -> int:
    import numpy as np

    return int(builder.CreateNumpyVector(np.asarray(values, dtype=np.float32)))


def zip_of_labels(labels: tuple[str, ...]) -> bytes:
    """Return the archive that follows the model in the file."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as writer:
        entry: Any = zipfile.ZipInfo(LABELS_FILE, date_time=EPOCH)
        writer.writestr(entry, "".join(f"{label}\n" for label in labels))
    return archive.getvalue()

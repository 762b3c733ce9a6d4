# SPDX-License-Identifier: Apache-2.0
"""Images that are none, that never end, or that declare more than they hold: refused before memory is allocated for them."""

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from edgeferry.models.images import find_images, read_pixels
from edgeferry.models.preprocessing import Preprocessing, opened
from edgeferry.models.system.errors import EdgeError

HOW = Preprocessing(8, 6, "rgb", (0.0,) * 3, (1.0,) * 3)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
WMF = struct.pack("<IHhhhhHIH", 0x9AC6CDD7, 0, 0, 0, 99, 99, 72, 0, 0) + b"\x01\x00\t\x00" + bytes(60)


def png(width: int, height: int) -> bytes:
    """Return a PNG file without pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def chunk(kind: bytes, held: bytes) -> bytes:
    return struct.pack(">I", len(held)) + kind + held + struct.pack(">I", zlib.crc32(kind + held))


def jpeg_2000() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG2000")
    return file.getvalue()


def npz(path: Path, member: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", member)
    return path


def npy(shape: tuple[int, ...], held: bytes) -> bytes:
    """Return an .npy file of bytes that declares a shape and holds something else."""
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + held


@pytest.mark.parametrize("data", [EPS, WMF, b"%PDF-1.4\n", jpeg_2000()], ids=["eps", "wmf", "pdf", "jpeg-2000"])
def test_a_format_that_is_not_in_the_list_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("a program was started"))
    (tmp_path / "1.png").write_bytes(data)
    with pytest.raises(EdgeError, match="expected BMP, GIF, JPEG, PNG") as caught:
        opened(tmp_path / "1.png", "1.png")
    assert caught.value.code == "EF-image-damaged"


@pytest.mark.parametrize("size", [(50_000_000, 1), (1, 65_536), (13_000, 13_000)])
def test_an_image_with_too_many_pixels_or_on_a_side_is_refused_by_its_header(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "1.png").write_bytes(png(*size))
    with pytest.raises(EdgeError, match=rf"has {size[0]} x {size[1]} pixels"):
        opened(tmp_path / "1.png", "1.png")


def test_a_pipe_among_the_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    os.mkfifo(tmp_path / "cat" / "1.png")
    with pytest.raises(EdgeError, match=r"cat/1\.png: is a pipe"):
        find_images(tmp_path)


def test_a_link_to_a_device_among_the_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1.png").symlink_to("/dev/zero")
    with pytest.raises(EdgeError, match="a device"):
        find_images(tmp_path)


def test_folders_that_contain_each_other_are_walked_once(tmp_path: Path) -> None:
    Image.new("RGB", (6, 8)).save(tmp_path / "1.png")
    (tmp_path / "again").symlink_to(tmp_path)
    assert len(find_images(tmp_path).files) == 1


@pytest.mark.parametrize(
    "member",
    [
        npy((10**15, 8, 6, 3), b""),
        npy((2, 8, 6, 3), bytes(10)),
        npy((-1, 8, 6, 3), bytes(10)),
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 10**9) + b" " * 1000,
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 60_000) + b"(" * 60_000,
        b"",
    ],
    ids=["huge", "cut-short", "negative", "long-header", "nested-header", "empty"],
)
def test_an_array_that_is_not_what_it_declares_is_refused(tmp_path: Path, member: bytes) -> None:
    with pytest.raises(EdgeError) as caught:
        read_pixels(find_images(npz(tmp_path / "golden.npz", member)), HOW)
    assert caught.value.code == "EF-npz"


def test_arrays_that_unpack_to_much_more_than_they_take_are_refused(tmp_path: Path) -> None:
    path = npz(tmp_path / "golden.npz", npy((500_000, 8, 6, 3), bytes(500_000 * 144)))
    with pytest.raises(EdgeError, match="at most 100 times") as caught:
        read_pixels(find_images(path), HOW)
    assert caught.value.code == "EF-npz-too-large"


def test_a_pickle_in_an_npz_file_is_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "golden.npz", images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(EdgeError, match="allow_pickle=False"):
        read_pixels(find_images(tmp_path / "golden.npz"), HOW)

# SPDX-License-Identifier: Apache-2.0
"""``python mutate.py KIND COUNT SEED FOLDER``: damaged files of a kind through the functions that read them; prints JSON.

Everything is imported once, then each file is read in a forked process under limits. Python's audit events report the processes
that it starts and the files that it writes outside of its folder.
"""

import io
import json
import os
import random
import re
import shutil
import signal
import sys
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil

from edgeferry.models.system.errors import EdgeError

LONGEST_S: Final = 10
STARTS: Final = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty"}
WRITES: Final = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "shutil.rmtree"}
CONFIG: Final = """\
[model]
name = "pets"
file = "my.keras"
labels = ["cat", "dog"]
[input]
shape = [8, 6, 3]
range = [0, 1]
resize = "bilinear"
[data]
golden = "golden"
expected_accuracy = 0.5
[export]
formats = ["tflite-float32"]
[parity.tflite-float32]
top1_agreement = 0.5
"""
WORDS: Final = (
    *(b"\x00", b"\xff\xfe", b"-1", b"1e999", b"nan", b"null", b"true", b"[]", b"{}", b'""', b"9" * 4400, b"[" * 2000, b"../../x"),
    *(b"/dev/zero", b"Lambda", b"\x1b[2J", b"<script>", b"10000000000", b"1.5", b"\n", b"tensorflow", b"__import__"),
)
TEXT: Final = re.compile(rb'"[^"]*"|-?\d+(?:\.\d+)?|true|false|null|\[|\]|\{|\}')


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Return bytes with one to four changes: of bytes, of a value in text, cut short, repeated, exchanged."""
    for _ in range(dice.randint(1, 4)):
        at, length = dice.randrange(len(data) + 1), dice.choice((1, 2, 8, 64, 512))
        change = dice.randrange(6)
        if change == 0 and (values := list(TEXT.finditer(data))):
            one = dice.choice(values)
            data = data[: one.start()] + dice.choice((*WORDS, dice.choice(values)[0])) + data[one.end() :]
        elif change == 1:
            data = data[:at]
        elif change == 2:
            data = data[:at] + dice.randbytes(length) + data[at + length :]
        elif change == 3:
            data = data[:at] + data[at : at + length] * dice.choice((0, 2, 9)) + data[at + length :]
        elif change == 4:
            data = data[:at] + dice.choice(WORDS) + data[at:]
        else:
            data = data[:at] + dice.choice((0, 1, 0x7F, 0x80, 0xFF)).to_bytes(1, "big") * length + data[at + length :]
    return data


def damaged_zip(data: bytes, dice: random.Random) -> bytes:
    """Return a zip file one of whose members is damaged and whose checksums are right; sometimes the file itself is damaged."""
    if dice.random() < 0.2:
        return damaged(data, dice)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = dice.choice(list(members))
    members[name] = damaged(members[name], dice)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, held in members.items():
            archive.writestr(each if dice.random() > 0.02 else f"../{each}", held)
    return file.getvalue()


def folder_of_images(folder: Path) -> None:
    """Write twelve small images."""
    import numpy as np
    from PIL import Image

    for number in range(12):
        place = folder / ("cat", "dog")[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 6, 3), number * 20, np.uint8)).save(place)


def keras_model(suffix: str, folder: Path) -> tuple[bytes, Callable[[Path], object]]:
    """Return a model's file, and what reads one."""
    import keras

    from edgeferry.models.keras_loader import load

    # Made in a process of its own: this one must not have begun to compute when it forks.
    if not (reader := os.fork()):
        layers = [keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(), keras.layers.GlobalAveragePooling2D()]
        model = keras.Sequential([keras.Input((8, 6, 3)), *layers, keras.layers.Dense(2, activation="softmax")])
        model.save(folder / f"whole{suffix}")
        os._exit(0)
    os.waitpid(reader, 0)
    return (folder / f"whole{suffix}").read_bytes(), load


def config(folder: Path) -> tuple[bytes, Callable[[Path], object]]:
    """Return a config, and what reads one."""
    from edgeferry.models.config.locate import find_config
    from edgeferry.models.reference import config_digests

    folder_of_images(folder / "golden")
    (folder / "my.keras").touch()
    return CONFIG.encode(), lambda path: config_digests(find_config(str(path), lambda _: None))


def image(folder: Path) -> tuple[bytes, Callable[[Path], object]]:
    """Return an image file; each is read under all suffixes alike."""
    from PIL import Image

    from edgeferry.models.preprocessing import Preprocessing, opened, pixels_of

    files = []
    picture = Image.effect_noise((40, 30), 50).convert("RGB")
    for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        file = io.BytesIO()
        picture.save(file, form)
        files.append(file.getvalue())
    how = Preprocessing(8, 6, "rgb", (0.0,) * 3, (1.0,) * 3, "tf-bilinear", "crop")
    # The first byte chooses the format.
    (folder / "kinds").write_bytes(b"\x00".join(files))
    return files, lambda path: pixels_of(opened(path, str(path)), how)  # type: ignore[return-value]


def npz(folder: Path) -> tuple[bytes, Callable[[Path], object]]:
    """Return an .npz file, and what reads one."""
    import numpy as np

    from edgeferry.models.image_labels import read_labels
    from edgeferry.models.images import find_images, read_pixels
    from edgeferry.models.preprocessing import Preprocessing

    how = Preprocessing(8, 6, "rgb", (0.0,) * 3, (1.0,) * 3)
    np.savez_compressed(folder / "whole.npz", images=np.zeros((9, 8, 6, 3), np.uint8), labels=np.array(["cat", "dog", "cat"] * 3))

    def read(path: Path) -> None:
        found = find_images(path)
        read_pixels(found, how)
        read_labels(found, ("cat", "dog"))

    return (folder / "whole.npz").read_bytes(), read


def manifest(folder: Path) -> tuple[bytes, Callable[[Path], object]]:
    """Return a manifest of the build folder that BUILD names, and what reads one before an artifact runs."""
    from edgeferry.benchmarks.parity.bench import exported, open_bench
    from edgeferry.exporters.inspect.inspection import inspect
    from edgeferry.models.exports import read_exports
    from edgeferry.models.system.files import sha256_of, write_json
    from edgeferry.targets.target import targets

    build = folder / "build"
    shutil.copytree(os.environ["BUILD"], build)
    artifact = build / "tflite-float32"

    def read(path: Path) -> None:
        shutil.copyfile(path, artifact / "manifest.json")
        # With the digest of the damaged one recorded, all of it is read.
        recorded = json.loads((build / "exports.json").read_text(encoding="utf-8"))
        recorded["manifests"]["tflite-float32"] = sha256_of(path)
        write_json(build / "exports.json", recorded)
        bench = open_bench(build, tuple(targets().values()), lambda *_: None, reuse=False)
        for export in read_exports(build).formats:
            exported(bench, export)
        inspect(artifact)

    return (artifact / "manifest.json").read_bytes(), read


KINDS: Final[dict[str, tuple[Callable[[Path], Any], Callable[[bytes, random.Random], bytes], str]]] = {
    "keras": (lambda folder: keras_model(".keras", folder), damaged_zip, ".keras"),
    "h5": (lambda folder: keras_model(".h5", folder), damaged, ".h5"),
    "config": (config, damaged, ".toml"),
    "manifest": (manifest, damaged, ".json"),
    "image": (image, damaged, ".png"),
    "npz": (npz, damaged_zip, ".npz"),
}


def outcome_of(read: Callable[[Path], object], path: Path, report: int) -> None:
    """Read a file and write what came of it to a pipe; never returns."""
    watched = path.parent.resolve()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LONGEST_S)

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event in STARTS:
            os.write(report, f"process: {event}\n".encode())
        wrote = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (wrote or event in WRITES) and not str(arguments[0]).startswith((str(watched), "/dev/null")):
            os.write(report, f"outside: {event} {arguments[0]}\n".encode(errors="replace"))

    sys.addaudithook(heard)
    try:
        read(path)
        found = "read"
    except EdgeError as error:
        found = f"refused {error.code}"
        if any(not letter.isprintable() for letter in error.code):
            found = "crash: code"
    except BaseException as error:  # noqa: BLE001 - that is what is counted
        found = f"crash: {type(error).__name__}: {error}"[:300]
    os.write(report, found.replace("\n", " ").encode(errors="replace") + b"\n")
    os._exit(0)


def main(kind: str, count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Return how many files of a kind were read, refused, and what else came of them."""
    warnings.simplefilter("ignore")
    prepare, damage, suffix = KINDS[kind]
    folder.mkdir(parents=True, exist_ok=True)
    whole, read = prepare(folder)
    found: Counter[str] = Counter()
    wrong, peak, begun = [], 0, time.monotonic()
    for number in range(count):
        dice = random.Random(f"{kind} {seed} {number}")  # noqa: S311 - to be repeated
        path = folder / f"damaged{suffix}"
        path.write_bytes(damage(dice.choice(whole) if isinstance(whole, list) else whole, dice))
        reading, report = os.pipe()
        if not (process := os.fork()):
            outcome_of(read, path, report)
        os.close(report)
        with os.fdopen(reading, encoding="utf-8") as lines:
            said = lines.read().splitlines()
        _, status, used = os.wait4(process, 0)
        if status:
            said.append("hang" if os.WTERMSIG(status) == signal.SIGALRM else f"crash: signal {os.WTERMSIG(status)}")
        peak = max(peak, used.ru_maxrss)
        for each in said:
            found[each.partition(":")[0].partition(" ")[0]] += 1
            if not each.startswith(("read", "refused")):
                wrong.append(f"{number}: {each}")
                shutil.copyfile(path, folder / f"wrong-{number}{suffix}")
    # Not getrusage's: that begins with the memory of the process that started this one.
    own = psutil.Process().memory_info().rss // 1024
    facts = {
        "kind": kind,
        "files": count,
        "seconds": round(time.monotonic() - begun, 1),
        **found,
        "peak MiB": max(peak, own) // 1024,
    }
    return facts | {"wrong": wrong[:40]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))) + "\n")

# SPDX-License-Identifier: Apache-2.0
"""The demo page: its address, its errors, its preprocessing to the bit, and what clicking shows."""

import base64
import dataclasses
import errno
import io
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest

from edgeferry.models.artifact import files_of, read_artifact, write_manifest
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.images import find_images
from edgeferry.models.preprocessing import Preprocessing, normalise, pixels_of
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.targets.web.chromium import CHROMIUM
from edgeferry.targets.web.javascript import TFJS
from edgeferry.targets.web.serve import demo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from playwright.sync_api import Browser, Page

# Software-rendered GPUs, where there is no other.
FLAGS: Final = ("--enable-unsafe-webgpu", "--enable-unsafe-swiftshader")
# Returns, for each picture and each config, pixels and tensor, all bytes in base64.
PREPARE: Final = """async ([pictures, configs]) => {
  const { decoded } = await import('./picture.js');
  const { normalise, pixelsOf } = await import('./preprocess.js');
  const encoded = (array) => {
    const bytes = new Uint8Array(array.buffer);
    let text = '';
    for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
    return btoa(text);
  };
  const made = [];
  for (const picture of pictures) {
    const found = await decoded(new Blob([Uint8Array.from(atob(picture), (each) => each.charCodeAt(0))]));
    made.push(configs.map((config) => {
      const pixels = pixelsOf(found, config);
      return [encoded(pixels), encoded(normalise(pixels, config))];
    }));
  }
  return made;
}"""
Spoil = Callable[[Path], None]


@pytest.fixture(scope="module")
def exported(exported_digits: Any) -> tuple[ModelSpec, Path]:
    """Return the default classifier's config and the folder that holds its build."""
    if why := TFJS.missing():
        pytest.skip(why)
    return exported_digits.spec, exported_digits.build.parent


@pytest.fixture
def copy(exported: tuple[ModelSpec, Path], tmp_path: Path) -> tuple[ModelSpec, Path]:
    """Return the same, with a copy of the artifact to spoil."""
    spec, build = exported
    for folder in ("reference", "tfjs-float32", "tfjs-uint8"):
        shutil.copytree(build / spec.name / folder, tmp_path / spec.name / folder)
    return spec, tmp_path


def refusal(spec: ModelSpec, build: Path, form: str = "tfjs-float32", port: int = 0) -> EdgeError:
    with pytest.raises(EdgeError) as caught, demo(spec, build, form, port):
        pass
    return caught.value


def test_the_command_prints_the_address_and_ends_quietly(exported: tuple[ModelSpec, Path]) -> None:
    spec, build = exported
    command = [sys.executable, "-m", "edgeferry", "demo", str(spec.path), "--build", str(build)]
    served = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert served.stdout is not None
    address = served.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{22}/web/demo/index\.html\?model=digits", address)
    assert served.stdout.readline() == "Ctrl-C ends it.\n"
    with urllib.request.urlopen(address, timeout=10) as page:  # noqa: S310 - an address of this machine
        assert b"demo.js" in page.read()
    served.send_signal(signal.SIGINT)
    assert served.communicate(timeout=30) == ("", "")
    assert served.returncode == 0


def test_serving_imports_no_framework(exported: tuple[ModelSpec, Path]) -> None:
    spec, build = exported
    script = (
        "import sys; from pathlib import Path; from edgeferry.targets.web.serve import demo\n"
        "from edgeferry.models.config.spec import read_spec\n"
        f"spec = read_spec(Path({str(spec.path)!r}))\n"
        f"with demo(spec, Path({str(build)!r})): print(sorted({{'tensorflow', 'keras'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_where_nothing_is_exported_the_error_says_how_to_export(exported: tuple[ModelSpec, Path], tmp_path: Path) -> None:
    spec, _ = exported
    error = refusal(spec, tmp_path)
    assert error.code == "EF-artifact-missing"
    assert str(error).startswith(f"{tmp_path / 'digits'} ")
    assert f"`edgeferry export-all {spec.path}`" in str(error)


def test_an_unknown_format_is_refused_with_the_known_ones(copy: tuple[ModelSpec, Path]) -> None:
    error = refusal(*copy, "tfjs-int3")
    assert error.code == "EF-artifact-missing"
    assert "no tfjs-int3; --format can be tfjs-float32, tfjs-uint8." in str(error)


def test_a_format_for_another_runtime_is_refused(exported: tuple[ModelSpec, Path]) -> None:
    error = refusal(*exported, "onnx-float32")
    assert error.code == "EF-artifact-kind"
    assert str(error).startswith("onnx-float32 ")
    assert "--format can be tfjs-" in str(error)


def _cut_manifest(folder: Path) -> None:
    (folder / "tfjs-float32" / "manifest.json").write_text('{"schema": 1', encoding="utf-8")


def _change_weights(folder: Path) -> None:
    (folder / "tfjs-float32" / "group1-shard1of1.bin").write_bytes(bytes(8))


def _lose_scores(folder: Path) -> None:
    (folder / "reference" / "scores.npy").unlink()


def _rewrite(folder: Path, **changes: Any) -> None:
    place = folder / "tfjs-float32"
    write_manifest(dataclasses.replace(read_artifact(place), files=files_of(place), **changes), place)


@pytest.mark.parametrize(
    ("spoil", "code", "value"),
    [
        # The artifact's own module names what is wrong with a manifest.
        (_cut_manifest, None, "manifest.json"),
        (_change_weights, "EF-artifact-changed", "group1-shard1of1.bin"),
        (_lose_scores, "EF-reference-missing", "reference"),
        (lambda folder: _rewrite(folder, source_sha256="0" * 64), "EF-artifact-stale", "tfjs-float32"),
        (lambda folder: _rewrite(folder, labels=tuple("abcdefghij")), "EF-config-changed", "model.labels"),
    ],
)
def test_what_is_not_sound_is_not_shown(copy: tuple[ModelSpec, Path], spoil: Spoil, code: str | None, value: str) -> None:
    spec, build = copy
    spoil(build / spec.name)
    error = refusal(spec, build)
    assert code in {None, error.code}
    assert value in str(error)


def test_packages_that_are_not_installed_are_reported(exported: tuple[ModelSpec, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "edgeferry.targets.web.serve.TFJS", SimpleNamespace(missing=lambda: "the npm package x is not installed: `make install`")
    )
    error = refusal(*exported)
    assert (error.code, str(error)) == ("EF-npm-package-missing", "the npm package x is not installed: `make install`.")


def test_a_port_in_use_is_reported(exported: tuple[ModelSpec, Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = refusal(*exported, port=port)
    assert error.code == "EF-port-unavailable"
    assert str(error).startswith(f"port {port}: {os.strerror(errno.EADDRINUSE)}")


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    if why := CHROMIUM.missing() or TFJS.missing():
        pytest.skip(why)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM.program(), channel=CHROMIUM.channel(), args=[*CHROMIUM.flags, *FLAGS]
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(exported: tuple[ModelSpec, Path]) -> Iterator[str]:
    spec, build = exported
    with demo(spec, build) as address:
        yield address


@contextmanager
def watched(browser: "Browser", address: str) -> Iterator["Page"]:
    """Yield the loaded page; nothing done in it may make it request other addresses or print errors."""
    page = browser.new_page(viewport={"width": 1280, "height": 1300})
    requested: list[str] = []
    printed: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("console", lambda message: printed.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: printed.append(str(error)))
    _go(page, address)
    yield page
    page.close()
    here = address.partition("/web/")[0]
    assert requested
    assert [url for url in requested if not url.startswith((here, "data:", f"blob:{here.rpartition('/')[0]}/"))] == []
    assert printed == []


@pytest.fixture(scope="module")
def page(browser: "Browser", address: str) -> Iterator["Page"]:
    """Yield a page that tests share."""
    with watched(browser, address) as opened:
        yield opened


@pytest.fixture
def new_page(browser: "Browser", address: str) -> Iterator["Page"]:
    """Yield a page that no other test uses."""
    with watched(browser, address) as opened:
        yield opened


@pytest.fixture(scope="module")
def open_page(browser: "Browser", address: str) -> Iterator["Page"]:
    """Yield the page with its own scripts accessible to a test, which its content security policy forbids."""
    context = browser.new_context(bypass_csp=True)
    opened = context.new_page()
    _go(opened, address)
    yield opened
    context.close()


def _go(page: "Page", address: str) -> None:
    page.goto(address)
    page.wait_for_selector("html[data-ready]", timeout=60_000)


def _text(page: "Page", name: str) -> str:
    return page.locator(f"#{name}").inner_text()


def _percent(value: float) -> str:
    return f"{value * 100:.1f} %"


def _scores(exported: tuple[ModelSpec, Path]) -> "NDArray[np.float32]":
    import numpy as np

    scores: NDArray[np.float32] = np.load(exported[1] / exported[0].name / "reference" / "scores.npy")
    return scores


def _bytes_of(picture: "Image.Image", form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def _random(size: tuple[int, int], mode: str = "RGB") -> "Image.Image":
    import numpy as np
    from PIL import Image

    channels = 4 if mode == "RGBA" else 3
    noise = np.random.default_rng(size).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def _prepared(page: "Page", pictures: list[bytes], configs: list[Preprocessing]) -> list[list[tuple[bytes, bytes]]]:
    passed = [[base64.b64encode(each).decode() for each in pictures], [dataclasses.asdict(each) for each in configs]]
    prepared = page.evaluate(PREPARE, passed)
    return [[(base64.b64decode(pixels), base64.b64decode(tensor)) for pixels, tensor in row] for row in prepared]


def _expected(picture: bytes, config: Preprocessing) -> tuple[bytes, bytes]:
    from PIL import Image

    pixels = pixels_of(Image.open(io.BytesIO(picture)), config)
    return pixels.tobytes(), normalise(pixels, config).tobytes()


@pytest.mark.browser
@pytest.mark.filterwarnings("ignore:Palette images with Transparency:UserWarning")
@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "1"])
def test_a_png_of_any_kind_is_read_as_pillow_reads_it(open_page: "Page", mode: str) -> None:
    picture = _bytes_of(_random((21, 13), "RGBA").convert(mode))
    configs = [Preprocessing(13, 21, colour, (0.0,), (1.0,)) for colour in ("gray", "rgb")]
    assert _prepared(open_page, [picture], configs)[0] == [_expected(picture, config) for config in configs]


@pytest.mark.browser
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_rotated_by_its_exif_orientation(open_page: "Page", orientation: int) -> None:
    from PIL import Image

    note = Image.Exif()
    note[0x0112] = orientation
    picture = _bytes_of(_random((7, 5)), exif=note)
    config = Preprocessing(6, 8, "rgb", (0.0,), (1.0,), "nearest", "pad")
    assert _prepared(open_page, [picture], [config])[0] == [_expected(picture, config)]


@pytest.mark.browser
def test_all_golden_files_become_the_references_pixels_and_tensors(open_page: "Page", exported: tuple[ModelSpec, Path]) -> None:
    import numpy as np

    spec, build = exported
    pixels = np.load(build / spec.name / "reference" / "pixels.npy")
    files = [file.read_bytes() for file in find_images(spec.golden).files]
    made = [row[0] for row in _prepared(open_page, files, [spec.preprocessing])]
    assert made == [(image.tobytes(), normalise(image, spec.preprocessing).tobytes()) for image in pixels]


@pytest.mark.browser
def test_a_clicked_golden_image_shows_both_predictions(page: "Page", exported: tuple[ModelSpec, Path]) -> None:
    scores = _scores(exported)
    button = page.get_by_role("button", name=re.compile("^golden image 121, labelled "))
    button.click()
    page.locator("#source", has_text="golden image 121").wait_for()
    labels, reference = exported[0].labels, scores[120]
    assert _text(page, "top") == labels[int(reference.argmax())]
    assert _text(page, "top-probability") == _percent(float(reference.max()))
    assert _text(page, "verdict").startswith("= Same prediction as the Keras model; largest probability difference ")
    assert button.get_attribute("aria-pressed") == "true"
    rows = [row.split() for row in page.locator("#classes").get_by_role("row").all_inner_texts()]
    assert {row[0]: row[3] for row in rows} == {label: f"{reference[labels.index(label)] * 100:.1f}" for label, *_ in rows}


@pytest.mark.browser
def test_a_chosen_file_is_predicted_as_the_keras_model_predicts_it(open_page: "Page", exported: tuple[ModelSpec, Path]) -> None:
    import numpy as np

    spec, _ = exported
    file = find_images(spec.golden).files[200]
    open_page.get_by_label("Drop an image here, or choose a file").set_input_files(file)
    open_page.locator("#source", has_text=file.name).wait_for()
    assert _text(open_page, "top") == spec.labels[int(_scores(exported)[200].argmax())]
    assert "only for the golden images" in _text(open_page, "verdict")
    shown = open_page.locator("#given").evaluate(
        "(canvas) => Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data)"
    )
    expected = np.load(exported[1] / spec.name / "reference" / "pixels.npy")[200]
    assert np.array_equal(np.array(shown).reshape(32, 32, 4)[..., :1], expected)


@pytest.mark.browser
def test_a_dropped_file_is_predicted(open_page: "Page", exported: tuple[ModelSpec, Path]) -> None:
    file = find_images(exported[0].golden).files[100]
    transfer = open_page.evaluate_handle(
        """([text, name]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([Uint8Array.from(atob(text), (each) => each.charCodeAt(0))], name));
          return transfer;
        }""",
        [base64.b64encode(file.read_bytes()).decode(), file.name],
    )
    open_page.locator("#drop").dispatch_event("drop", {"dataTransfer": transfer})
    open_page.locator("#source", has_text=file.name).wait_for()
    assert _text(open_page, "top") == exported[0].labels[int(_scores(exported)[100].argmax())]


@pytest.mark.browser
def test_a_file_that_is_not_an_image_is_reported_and_the_page_goes_on(page: "Page", tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    page.locator("#file").set_input_files(tmp_path / "notes.txt")
    page.get_by_role("alert").filter(has_text="notes.txt: not an image that this browser can decode").wait_for()
    page.get_by_role("button", name=re.compile("^golden image 1,")).click()
    page.locator("#source", has_text="golden image 1,").wait_for()
    page.locator("#trouble").wait_for(state="hidden")


def _circle(right: float, down: float, wide: float, tall: float) -> list[tuple[float, float]]:
    turns = [math.radians(at * 15) for at in range(25)]
    return [(right + wide * math.sin(turn), down - tall * math.cos(turn)) for turn in turns]


@pytest.mark.browser
@pytest.mark.parametrize(
    ("digit", "strokes"),
    [
        ("0", [_circle(0.5, 0.5, 0.35, 0.42)]),
        ("1", [[(0.2, 0.35), (0.5, 0.08), (0.5, 0.95)]]),
        ("4", [[(0.55, 0.08), (0.12, 0.6), (0.9, 0.6)], [(0.62, 0.35), (0.62, 0.95)]]),
    ],
)
def test_a_digit_drawn_in_the_frame_is_recognised(page: "Page", digit: str, strokes: list[list[tuple[float, float]]]) -> None:
    page.get_by_role("button", name="Clear the drawing").click()
    frame = page.locator("#guide").bounding_box()
    assert frame is not None
    for stroke in strokes:
        places = [(frame["x"] + right * frame["width"], frame["y"] + down * frame["height"]) for right, down in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=3)
        page.mouse.up()
    page.locator("#spoken", has_text=f"your drawing: {digit}, ").wait_for()
    assert _text(page, "top") == digit


@pytest.mark.browser
def test_the_keyboard_alone_reaches_a_golden_image_and_draws(page: "Page") -> None:
    page.locator("#file").focus()
    focused = page.locator(":focus")
    passed = []
    for _ in range(30):
        page.keyboard.press("Tab")
        passed.append(focused.get_attribute("aria-label") or "")
        if passed[-1] == "drawing area":
            page.keyboard.press("Space")
            for _ in range(8):
                page.keyboard.press("ArrowDown")
            page.keyboard.press("Space")
            page.locator("#spoken", has_text="your drawing: ").wait_for()
        if passed[-1].startswith("golden image 61,"):
            break
    assert "drawing area" in passed
    page.keyboard.press("Enter")
    page.locator("#spoken", has_text="golden image 61, labelled").wait_for()


@pytest.mark.browser
def test_every_control_has_a_name(page: "Page") -> None:
    tree = page.locator("body").aria_snapshot()
    controls = re.findall(r"- (button|radio|application|progressbar|img|group|radiogroup)\b(.*)", tree)
    assert {role for role, _ in controls} >= {"button", "radio", "application", "img", "group"}
    assert [control for control in controls if not re.match(r' "[^"]+"', control[1])] == []
    assert 'button "golden image 1, labelled ' in tree
    assert 'radio "wasm" [checked]' in tree
    assert page.get_by_label("Drop an image here, or choose a file").count() == 1


@pytest.mark.browser
def test_all_golden_images_agree(new_page: "Page") -> None:
    new_page.get_by_role("button", name="Check all golden images").click()
    new_page.locator("#checked", has_text="= All predictions agree: 100 % agreement, 360 of 360 images").wait_for(timeout=60_000)
    assert _text(new_page, "checked").endswith("Measured in this page on wasm.")
    assert float(re.findall(r"largest difference ([\de.-]+)\.", _text(new_page, "checked"))[0]) < 1e-4
    assert _text(new_page, "median-text") == "median of 360"


@pytest.mark.browser
def test_a_spoiled_artifact_disagrees(browser: "Browser", copy: tuple[ModelSpec, Path]) -> None:
    import numpy as np

    spec, build = copy
    shard = build / spec.name / "tfjs-float32" / "group1-shard1of1.bin"
    weights = np.frombuffer(shard.read_bytes(), "<f4").copy()
    weights[: len(weights) // 2] *= -1
    shard.write_bytes(weights.tobytes())
    _rewrite(build / spec.name)
    page = browser.new_page()
    with demo(spec, build) as address:
        _go(page, address)
        page.get_by_role("button", name="Check all golden images").click()
        page.locator("#checked", has_text=re.compile(r"≠ \d+ predicted differently")).wait_for(timeout=60_000)
        page.locator("#differing").get_by_role("button").first.click()
        page.locator("#verdict", has_text="≠ Different prediction: the Keras model predicts ").wait_for()
        page.close()


@pytest.mark.browser
@pytest.mark.parametrize("backend", ["cpu", "webgl", "webgpu"])
def test_another_backend_runs_and_predicts_the_same(new_page: "Page", backend: str) -> None:
    choice = new_page.get_by_role("radio", name=backend, exact=True)
    if choice.is_disabled():
        pytest.skip(new_page.locator(f"#note-{backend}").inner_text())
    choice.check()
    new_page.locator("#ran", has_text=f" on {backend}").wait_for(timeout=60_000)
    assert _text(new_page, "verdict").startswith("= Same prediction")
    assert re.fullmatch(r"[\d.]+ ms", _text(new_page, "first"))
    assert _text(new_page, "last") == "\N{EN DASH}"
    assert ("SwiftShader" in _text(new_page, "ran")) <= (
        "A software-rendered GPU: its latency is not representative." in _text(new_page, "ran")
    )
    new_page.get_by_role("radio", name="wasm", exact=True).check()
    new_page.locator("#ran", has_text=" on wasm").wait_for()


@pytest.mark.browser
def test_a_backend_that_does_not_start_is_reported_and_never_replaced_silently(new_page: "Page") -> None:
    new_page.route("**/tf-backend-cpu.min.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    # A click, not a check: the page takes it back as soon as the backend fails.
    new_page.get_by_role("radio", name="cpu", exact=True).click()
    new_page.get_by_role("alert").filter(has_text="cpu cannot be used: ").wait_for()
    assert new_page.get_by_role("radio", name="wasm", exact=True).is_checked()
    assert new_page.get_by_role("radio", name="cpu", exact=True).is_disabled()
    assert " on wasm" in _text(new_page, "ran")


@pytest.mark.browser
def test_fifty_runs_are_timed_separately_from_the_first(new_page: "Page") -> None:
    new_page.get_by_role("button", name="Time 50 runs").click()
    new_page.locator("#timed", has_text=" ms to ").wait_for(timeout=60_000)
    assert _text(new_page, "median-text") == "median of 50"


@pytest.mark.browser
@pytest.mark.parametrize("width", [375, 1280])
def test_nothing_jumps_and_nothing_overflows(page: "Page", width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    places = []
    for number in (1, 121):
        page.get_by_role("button", name=re.compile(f"^golden image {number},")).click()
        page.locator("#source", has_text=f"golden image {number},").wait_for()
        boxes = [page.locator(name).bounding_box() for name in ("body", "#strip", "#classes", "#recent")]
        places.append([(box["x"], box["y"] - boxes[0]["y"], box["width"]) for box in boxes if box and boxes[0]])
    assert places[0] == places[1]
    assert [place for place in places[0] if place[0] < 0 or place[0] + place[2] > width] == []


@pytest.mark.browser
def test_a_classifier_of_colours_predicts_a_file(browser: "Browser", colours: ModelSpec, build: Path, tmp_path: Path) -> None:
    import numpy as np

    (tmp_path / colours.name).symlink_to(build)
    scores = np.load(build / "reference" / "scores.npy")
    page = browser.new_page()
    with demo(colours, tmp_path) as address:
        _go(page, address)
        for at in (0, 60, 140):
            file = find_images(colours.golden).files[at]
            page.locator("#file").set_input_files(file)
            page.locator("#source", has_text=file.name).wait_for()
            assert _text(page, "top") == colours.labels[int(scores[at].argmax())]
            assert _text(page, "top-probability") == _percent(float(scores[at].max()))
        page.close()


@pytest.mark.browser
def test_a_server_that_has_ended_is_reported(browser: "Browser", address: str) -> None:
    page = browser.new_page()
    _go(page, address)
    page.route("**/*.npy", lambda route: route.abort())
    page.get_by_role("button", name=re.compile("^golden image 121,")).click()
    page.get_by_role("alert").filter(has_text="the server of this page has ended").wait_for()
    page.close()


def test_the_page_requests_nothing_from_other_servers() -> None:
    for file in sorted((ROOT / "targets" / "web" / "demo").iterdir()):
        found = re.findall(r"""(?:https?:)?//[\w.-]+\.\w+[^\s"'`]*""", file.read_text(encoding="utf-8"))
        assert [address for address in found if not address.startswith("http://www.w3.org/")] == [], file.name


def test_the_manifest_has_what_the_page_reads(exported: tuple[ModelSpec, Path]) -> None:
    spec, build = exported
    manifest = json.loads((build / spec.name / "tfjs-float32" / "manifest.json").read_text(encoding="utf-8"))
    assert {"main_file", "labels", "preprocessing", "output", "files", "format"} <= set(manifest)

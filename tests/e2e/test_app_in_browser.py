"""The app as people meet it: a real server, a real Chromium, desktop and phone.

    DIGITS_SCREENSHOTS=docs/images pytest "tests/e2e/test_app_in_browser.py::test_it_fits[app]"

makes the README's picture anew; without ``[app]`` dark and phone-sized ones too.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import struct
import sys
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from digits.registry import bundle
from infra.local.processes import Processes
from streamlit_app.samples.paint import MNIST, Scene, paint
from tests.conftest import require
from tests.served import free_port

ROOT = Path(__file__).parents[2]
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
PARAMETERS = f"{bundle.load().manifest.training.parameters:,}"
PATIENCE = 120_000  # milliseconds; the machine may be busy with other tests


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """Where the app is served; its server stops whatever becomes of the tests."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "streamlit", "run", str(ROOT / "streamlit_app/app.py")),
        *("--server.port", str(port), "--server.address", "127.0.0.1"),
        *("--server.headless", "true", "--server.fileWatcherType", "none"),
    ]
    logs = tmp_path_factory.mktemp("app")
    with Processes(logs) as processes:
        processes.start("app", command, env=os.environ, is_up=lambda: is_healthy(url), within=60)
        yield url
    # Whatever the tests did to it, no session ended in an error that nobody thought of.
    assert "Traceback" not in "".join(log.read_text() for log in logs.iterdir())


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    # Module-scoped: Playwright keeps an event loop running, which no other test should meet.
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
    require(chromium)
    expect.set_options(timeout=PATIENCE)
    camera = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    camera.write_bytes(photo(4, size=(640, 480))[1] * 2)
    flags = [*FLAGS, *CAMERA, f"--use-file-for-fake-video-capture={camera}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, address: str, size: dict, scheme: str = "light") -> Iterator[Page]:
    """The app's first page, its first answer there; fails if the browser complained meanwhile."""
    complaints = []
    context = browser.new_context(viewport=size, color_scheme=scheme, device_scale_factor=1.5)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda m: m.type == "error" and complaints.append(f"{m.text} {m.location}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda r: r.url.startswith("http") and not_ours(r.url, address, complaints))
    page.goto(address)
    see(page, "7")
    yield page
    context.close()
    assert not complaints


def not_ours(url: str, address: str, complaints: list[str]) -> None:
    if not url.startswith(address):
        complaints.append(f"The page asks a stranger: {url}")


def see(page: Page, text: str) -> None:
    expect(page.locator(".card .text").first).to_have_text(text)


def is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1) as response:
            return response.status == 200
    except OSError:
        return False


def photo(index: int, size: tuple[int, int] = (400, 520)) -> tuple[str, bytes]:
    """The true digit of one of MNIST's test images, and the image as ink on paper."""
    with np.load(MNIST, allow_pickle=False) as arrays:
        images, truth = arrays["x_test"], str(arrays["y_test"][index])
    scene = Scene((index,), ground=(240, 238, 230), ink=(30, 60, 50), size=size, height=0.4)
    buffer = io.BytesIO()
    paint(scene, images, np.random.default_rng(index)).save(buffer, "JPEG", quality=85)
    return truth, buffer.getvalue()


def upload(page: Page, *files: tuple[str, bytes]) -> None:
    page.get_by_text("Upload", exact=True).first.click()
    drop(page, *files)


def drop(page: Page, *files: tuple[str, bytes]) -> None:
    page.locator("input[type=file]").set_input_files(
        [{"name": name, "mimeType": "image/jpeg", "buffer": data} for name, data in files]
    )


@SIZES
def test_an_uploaded_photo_is_read(browser, address, size):
    truth, data = photo(4)

    with opened(browser, address, size) as page:
        upload(page, ("my photo.jpg", data))

        expect(page.locator(".card")).to_have_attribute(
            "aria-label", f"my photo.jpg: read as {truth}"
        )
        see(page, truth)
        expect(page.locator(".card .bars")).to_have_attribute(
            "aria-label", re.compile(f"{truth}: (over )?99")
        )
        for picture in page.locator(".card img").all():
            assert picture.evaluate("image => image.complete && image.naturalWidth > 0")


@SIZES
def test_nothing_jumps_when_another_way_is_chosen(browser, address, size):
    with opened(browser, address, size) as page:
        before = samples_below_ways(page)
        for way, there in (
            ("Upload", "input[type=file]"),
            ("Camera", "button:enabled:text('Take photo')"),
        ):
            page.get_by_text(way, exact=True).first.click()
            page.locator(there).wait_for(state="attached")
            assert abs(samples_below_ways(page) - before) < 8, way


def samples_below_ways(page: Page) -> float:
    """By how many pixels the samples lie below the choice of ways."""
    samples, ways = (
        page.locator(f".st-key-{key}").bounding_box()["y"] for key in ("samples", "ways")
    )
    return float(samples - ways)


@SIZES
def test_what_the_camera_sees_is_read(browser, address, size):
    truth, _ = photo(4)

    with opened(browser, address, size) as page:
        page.get_by_text("Camera", exact=True).click()
        page.get_by_role("button", name="Take photo").click()

        expect(page.locator(".card")).to_have_attribute(
            "aria-label", f"Your photo: read as {truth}"
        )
        assert overflow(page) == 0


def test_the_camera_is_asked_for_what_writing_needs(browser, address):
    """The back of a phone first, more than it is shown with, and as the paper is: not mirrored."""
    with opened(browser, address, PHONE) as page:
        page.evaluate(
            """() => {
              const devices = navigator.mediaDevices, real = devices.getUserMedia.bind(devices);
              devices.getUserMedia = (asked) => ((window.asked = asked), real(asked));
            }"""
        )
        page.get_by_text("Camera", exact=True).click()
        shutter = page.get_by_role("button", name="Take photo")
        expect(shutter).to_be_enabled()
        asked = page.evaluate("window.asked.video")
        assert asked["facingMode"] == {"ideal": "environment"}
        assert min(asked["width"]["ideal"], asked["height"]["ideal"]) >= 1080
        transform = "getComputedStyle(document.querySelector('.camera video')).transform"
        assert page.evaluate(transform) == "none"

        shutter.click()
        expect(page.locator(".card")).to_contain_text("640 × 480 JPEG")
        page.get_by_role("button", name="Take another").click()
        expect(shutter).to_be_enabled()


def test_a_camera_that_may_not_be_used_gets_words(browser, address):
    with opened(browser, address, DESKTOP) as page:
        page.evaluate(
            "() => { navigator.mediaDevices.getUserMedia = () =>"
            " Promise.reject(new DOMException('', 'NotAllowedError')) }"
        )
        page.get_by_text("Camera", exact=True).click()
        expect(page.locator(".camera .hint")).to_contain_text("may not use the camera")
        expect(page.get_by_role("button", name="Take photo")).to_be_disabled()


def test_hostile_files_get_words_beside_the_answers(browser, address):
    truth, data = photo(4)
    hostile = {
        "bomb.png": huge_png(60_000),
        "cut.jpg": data[: len(data) // 2],
        "letter.png": b"Dear Sir or Madam",
        "empty.png": b"",
        "bomb.zip": zipped(("zeros.png", b"\0" * (64 * 2**20))),
        "nested.zip": zipped(("inner.png", zipped(("photo.jpg", data)))),
        "cut.zip": zipped(("photo.jpg", data))[:-40],
    }

    with opened(browser, address, DESKTOP) as page:
        page.get_by_role("link", name="Many at once").click()
        drop(page, *hostile.items(), ("photo.jpg", data))

        expect(page.locator(".readings tbody tr")).to_have_count(len(hostile) + 1)
        expect(page.locator(".readings .failed")).to_have_count(len(hostile))
        expect(page.get_by_label("What photo.jpg says")).to_have_value(truth)
        for words in ("pixels", "cut short", "convert it", "20 MB", "zip in a zip", "broken"):
            expect(page.locator(".readings")).to_contain_text(words)
        expect(page.locator("body")).not_to_contain_text("Traceback")


def huge_png(side: int) -> bytes:
    """A PNG of a few bytes that unpacks to `side` × `side` pixels."""
    buffer = io.BytesIO()
    Image.new("1", (8, 8)).save(buffer, "PNG")
    header = b"IHDR" + struct.pack(">2I", side, side) + buffer.getvalue()[24:29]
    return (
        buffer.getvalue()[:12]
        + header
        + struct.pack(">I", zlib.crc32(header))
        + buffer.getvalue()[33:]
    )


def zipped(*files: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as folder:
        for name, data in files:
            folder.writestr(name, data)
    return packed.getvalue()


def test_two_piles_of_a_hundred_do_not_meet_and_a_third_may_be_left(browser, address):
    piles = {}
    # The pile that is left takes seconds to read, so that a busy browser sees it in the middle: its
    # pictures are large, because an upload of many files takes a busy browser minutes.
    small, large = (120, 160), (1500, 2000)
    for name, index, count, size in (
        ("mine", 4, 100, small), ("yours", 7, 100, small), ("left", 12, 120, large)
    ):  # fmt: skip
        truth, data = photo(index, size=size)
        piles[name] = truth, [(f"{name}-{number}.jpg", data) for number in range(count)]

    with opened(browser, address, DESKTOP) as left:
        left.get_by_role("link", name="Many at once").click()
        drop(left, *piles["left"][1])
        expect(left.get_by_text(re.compile(r"^\d+ read$"))).to_be_visible()
    # Its session is gone, in the middle of its work.
    with opened(browser, address, DESKTOP) as mine, opened(browser, address, PHONE) as yours:
        for page, name in ((mine, "mine"), (yours, "yours")):
            page.get_by_role("link", name="Many at once").click()
            drop(page, *piles[name][1])
        for page, name in ((mine, "mine"), (yours, "yours")):
            expect(page.locator(".figures").first).to_contain_text("100pictures")
            with page.expect_download() as download:
                page.get_by_role("button", name="CSV").click()
            rows = list(
                csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8-sig")))
            )
            truth, files = piles[name]
            assert [(row["file"], row["text"]) for row in rows] == [(f, truth) for f, _ in files]


def test_what_is_no_picture_gets_words_beside_the_answers(browser, address):
    truth, data = photo(4)

    with opened(browser, address, DESKTOP) as page:
        upload(page, ("letter.png", b"Dear Sir or Madam"), ("photo.jpg", data))

        see(page, truth)
        failed = page.get_by_role("alert")
        expect(failed).to_contain_text("This file could not be read")
        expect(failed).to_contain_text("convert it to PNG")
        expect(page.locator("body")).not_to_contain_text("Traceback")


@SIZES
def test_what_is_drawn_is_read_and_can_be_undone(browser, address, size):
    with opened(browser, address, size) as page:
        undo, clear = (page.get_by_role("button", name=name) for name in ("Undo", "Clear"))
        expect(undo).to_be_disabled()
        before = page.locator(".sheet").bounding_box()

        draw(page, [(0.4, 0.1), (0.25, 0.5), (0.6, 0.5)], [(0.5, 0.3), (0.5, 0.9)])
        see(page, "4")
        expect(page.locator(".card")).to_have_attribute("aria-label", "Your drawing: read as 4")
        assert page.locator(".sheet").bounding_box() == before  # nothing jumps

        undo.focus()
        page.keyboard.press("Enter")
        expect(page.locator(".card")).not_to_have_attribute("aria-label", re.compile("read as 4"))
        clear.click()
        expect(page.locator(".card")).to_have_attribute("aria-label", "Sample: pen: read as 7")
        expect(undo).to_be_disabled()


def ink(page: Page) -> int:
    """Pixels of the sheet that are drawn on."""
    count = (
        "(sheet) => sheet.getContext('2d').getImageData(0, 0, sheet.width, sheet.height)"
        ".data.filter((it, at) => at % 4 === 3 && it > 127).length"
    )
    return int(page.locator(".sheet canvas").evaluate(count))


def test_the_pen_has_a_width_and_what_is_drawn_can_be_erased(browser, address):
    stroke = [(0.3, 0.5), (0.7, 0.5)]
    with opened(browser, address, DESKTOP) as page:
        width, eraser = (
            page.get_by_label("Width of the pen"),
            page.get_by_role("button", name="Eraser"),
        )
        expect(eraser).to_be_disabled()
        drawn = {}
        for pen in ("10", "40"):
            width.fill(pen)
            draw(page, stroke)
            drawn[pen] = ink(page)
            page.get_by_role("button", name="Clear").click()
        assert drawn["40"] > 3 * drawn["10"] > 0

        draw(page, [(0.5, 0.1), (0.5, 0.9)], stroke)
        before = ink(page)
        eraser.click()
        expect(eraser).to_have_attribute("aria-pressed", "true")
        draw(page, stroke)
        assert 0 < ink(page) < before - drawn["40"] / 2
        page.get_by_role("button", name="Undo").click()
        assert ink(page) == before


def draw(page: Page, *strokes: list[tuple[float, float]]) -> None:
    """Draw lines from point to point of the sheet, in shares of its sides, with the mouse."""
    sheet = page.locator(".sheet canvas")
    expect(sheet).to_be_visible()
    box = sheet.bounding_box()
    for stroke in strokes:
        (first, *rest) = [
            (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke
        ]
        page.mouse.move(*first)
        page.mouse.down()
        for point in rest:
            page.mouse.move(*point, steps=8)
        page.mouse.up()


def test_the_inside_of_the_network_is_seen(browser, address):
    with opened(browser, address, PHONE) as page:
        page.get_by_text("See inside").click()

        expect(page.locator(".flow > li")).to_have_count(6)
        for picture in page.locator(".inside img").all():
            assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
        frame, glow = (
            page.locator(f".mattered {part}").bounding_box() for part in (".canvas", ".glow")
        )
        assert abs(middle(frame) - middle(glow)) < frame["width"] / 4
        assert overflow(page) == 0


def middle(box: dict) -> float:
    return float(box["x"] + box["width"] / 2)


@SIZES
def test_a_zip_becomes_a_table_and_the_table_a_file(browser, address, size):
    truths, pictures = zip(*(photo(index) for index in (4, 7, 12)), strict=True)
    loose = [(f"photos/{place}.jpg", data) for place, data in enumerate(pictures)]
    packed = zipped(*loose, ("letter.txt", b"Dear Sir or Madam"))

    with opened(browser, address, size) as page:
        page.get_by_role("link", name="Many at once").click()
        drop(page, ("all.zip", packed))

        expect(page.locator(".readings tbody tr")).to_have_count(4)
        page.get_by_text("Not readable (1)").click()
        expect(page.locator(".readings tbody tr")).to_have_count(1)
        with page.expect_download() as download:
            page.get_by_role("button", name="CSV").click()
        assert overflow(page) == 0

        rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8-sig"))))
        assert [row["text"] for row in rows] == [*truths, ""]
        assert "convert it" in rows[3]["error"]


def test_an_answer_in_the_table_is_corrected_by_writing_over_it(browser, address):
    pictures = [(f"{index}.jpg", photo(index)[1]) for index in (4, 7)]
    truths = [photo(index)[0] for index in (4, 7)]
    with opened(browser, address, DESKTOP) as page:
        page.get_by_role("link", name="Many at once").click()
        drop(page, *pictures)
        first, second = (page.get_by_label(f"What {name} says") for name, _ in pictures)
        expect(first).to_have_value(truths[0])

        first.fill("no 3")
        page.keyboard.press("Enter")

        expect(page.locator("body")).to_contain_text("1 answer corrected")
        expect(first).to_have_value("3")
        expect(second).to_be_focused()  # though the table was told anew
        expect(second).to_have_value(truths[1])
        with page.expect_download() as download:
            page.get_by_role("button", name="CSV").click()
        rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8-sig"))))
        assert [(row["text"], row["truth"]) for row in rows] == [(truths[0], "3"), (truths[1], "")]
        with page.expect_download() as download:
            page.get_by_role("button", name="Download for training").click()
        with zipfile.ZipFile(download.value.path()) as folder:
            (line,) = csv.DictReader(io.StringIO(folder.read("labels.csv").decode()))
            assert line["truth"] == "3"
            assert line["file"] in folder.namelist()

        second.fill("about -1/2?")
        page.keyboard.press("Enter")

        expect(second).to_have_value("-1/2?")


def test_a_correction_is_downloaded_for_training(browser, address):
    with opened(browser, address, DESKTOP) as page:
        page.get_by_role("button", name="Not right?").click()
        page.get_by_role("textbox", name="What does it say?").fill("1")
        page.keyboard.press("Enter")
        with page.expect_download() as download:
            page.get_by_role("button", name="Download for training").click()

        with zipfile.ZipFile(download.value.path()) as folder:
            (line,) = csv.DictReader(io.StringIO(folder.read("labels.csv").decode()))
            assert line["truth"] == "1"
            assert line["file"] in folder.namelist()


def test_two_visitors_do_not_see_each_others_pictures(browser, address):
    truth, data = photo(4)
    with opened(browser, address, DESKTOP) as one, opened(browser, address, PHONE) as other:
        upload(one, ("mine.jpg", data))
        see(one, truth)

        other.get_by_role("button", name="Chalk", exact=True).click()
        see(other, "5")
        see(one, truth)
        expect(other.locator("body")).not_to_contain_text("mine.jpg")


def test_the_keyboard_reaches_the_samples(browser, address):
    with opened(browser, address, DESKTOP) as page:
        page.get_by_role("button", name="Pen", exact=True).focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")

        see(page, "5")


def test_a_file_that_is_no_picture_by_its_name_is_refused_in_words(browser, address):
    with opened(browser, address, DESKTOP) as page:
        upload(page, ("letter.txt", b"Dear Sir or Madam"))

        expect(page.get_by_test_id("stFileUploader")).to_contain_text("not allowed")


def test_the_model_introduces_itself(browser, address):
    with opened(browser, address, PHONE) as page:
        page.get_by_role("link", name="The model").click()

        expect(page.locator(".lead")).to_contain_text(PARAMETERS)
        expect(page.locator(".plots img")).to_have_count(9)
        expect(page.get_by_role("table").first).to_contain_text("MNIST")
        assert overflow(page) == 0


@pytest.mark.parametrize(
    ("name", "size", "scheme"),
    [
        pytest.param("app", DESKTOP, "light", id="app"),
        pytest.param("app-dark", DESKTOP, "dark", id="app-dark"),
        pytest.param("app-phone", PHONE, "light", id="app-phone"),
        pytest.param("app-phone-dark", PHONE, "dark", id="app-phone-dark"),
    ],
)
def test_it_fits(browser, address, name, size, scheme):
    with opened(browser, address, size, scheme) as page:
        page.get_by_role("button", name="Number", exact=True).click()
        see(page, "1998")
        expect(page.locator(".tile")).to_have_count(4)
        page.mouse.move(0, 0)

        assert overflow(page) == 0
        answer = page.locator(".card .text").bounding_box()
        assert answer["y"] + answer["height"] < size["height"]  # seen without scrolling
        if folder := os.environ.get("DIGITS_SCREENSHOTS"):
            page.wait_for_timeout(1000)  # for what fades in
            page.screenshot(path=Path(folder) / f"{name}.png")


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the screen."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")

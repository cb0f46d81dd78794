"""The page holds everything it shows, and shows the pixels as they are."""

import base64
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from unlearn.errors import PictureError
from unlearn.pictures.decoded import Picture, to_image
from unlearn.pictures.preview import show
from unlearn.pictures.preview_page import preview_page


def shown_of(name, size=(40, 30)):
    rng = np.random.default_rng(0)
    pixels = rng.integers(20, 236, (size[1], size[0], 3), dtype=np.uint8)
    return show(Picture(to_image(pixels)), Picture(to_image(pixels + np.uint8(3))), name)


def page_of(tmp_path, *names):
    preview_page([shown_of(name) for name in names], "out", tmp_path / "page.html")
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def pictures_in(page):
    return [
        np.asarray(Image.open(BytesIO(base64.b64decode(data))))
        for data in re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", page)
    ]


def test_the_crops_are_in_the_page_pixel_by_pixel(tmp_path):
    shown = shown_of("a.png")
    whole, original, protected, noise = pictures_in(page_of(tmp_path, "a.png"))
    assert (original == shown.original).all()
    assert (protected == shown.protected).all()
    assert (noise == 158).all()
    assert max(whole.shape) == 200


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    page = page_of(tmp_path, "a.png", "b.png")
    assert "default-src 'none'" in page
    links = re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"')\s>]+)", page)
    assert len(links) == 8
    assert all(link.startswith("data:image/webp;base64,") for link in links)
    assert not re.search(r"https?:|@import|<link", page)


def test_each_picture_has_a_slider_that_says_its_name(tmp_path):
    page = page_of(tmp_path, "a.png", "b.png")
    assert re.findall(r'type="range"[^>]*aria-label="([^"]*)"', page) == [
        f"{name}: how much of the original is shown" for name in ("a.png", "b.png")
    ]


def test_names_are_text_and_not_markup(tmp_path):
    page = page_of(tmp_path, '<img src=x onerror="alert(1)">.png')
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;.png" in page


def test_it_says_that_it_is_not_for_others(tmp_path):
    assert "do not publish it" in page_of(tmp_path, "a.png")


def test_a_page_that_cannot_be_written_is_a_picture_error(tmp_path):
    with pytest.raises(PictureError, match="cannot be written"):
        preview_page([shown_of("a")], "out", tmp_path / "none" / "page.html")

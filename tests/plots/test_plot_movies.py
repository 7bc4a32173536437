"""Films: their pictures, their scale, and what is there when one fails."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.animation import FFMpegWriter
from PIL import Image
from plotted import wave

import ringnb as rn
from ringnb.plots import movies


@pytest.fixture
def history(stored):
    return [stored(n, u=wave(n)) for n in (1, 2, 3)]


def pictures(path):
    with Image.open(path) as film:
        for i in range(film.n_frames):
            film.seek(i)
            yield film.info["duration"], np.asarray(film.convert("RGB"))


def test_a_film_has_a_picture_per_checkpoint(history, tmp_path):
    path = rn.plots.movie(history, tmp_path / "film.gif", fps=20)
    shown = list(pictures(path))
    assert [ms for ms, _ in shown] == [50, 50, 50]
    assert not np.array_equal(shown[0][1], shown[1][1])
    assert [p.name for p in tmp_path.iterdir()] == ["film.gif"]
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode  # others may read it


def test_all_pictures_have_one_scale(history, tmp_path, monkeypatch):
    limits = []
    monkeypatch.setattr(
        movies, "field", lambda one, name, *, ax, **how: limits.append(how["limits"])
    )
    rn.plots.movie(history, tmp_path / "film.gif")
    largest = float(np.abs(wave(3)).max())
    assert limits == [pytest.approx((-largest, largest))] * 3


def test_a_field_of_two_values_keeps_its_two_colours(stored, tmp_path, monkeypatch):
    limits = []
    monkeypatch.setattr(
        movies, "field", lambda one, name, *, ax, **how: limits.append(how["limits"])
    )
    cells = np.eye(5, dtype=np.uint8)
    rn.plots.movie([stored(n, u=cells * n) for n in (0, 1)], tmp_path / "film.gif")
    assert limits == [None, None]


def test_pictures_of_ones_own(history, tmp_path):
    seen = []
    path = rn.plots.movie(
        history,
        tmp_path / "film.gif",
        draw=lambda c, ax: (seen.append(c.step), ax.plot([0, c.step])),
    )
    assert seen == [1, 2, 3]
    assert len(list(pictures(path))) == 3


@pytest.mark.parametrize("step", [1, 2])  # before the first picture, and after it
def test_a_film_that_fails_leaves_the_one_before(history, tmp_path, step):
    path = rn.plots.movie(history[:1], tmp_path / "film.gif")
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        rn.plots.movie(history, path, draw=lambda c, ax: 1 / (c.step - step))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["film.gif"]


def test_what_cannot_be_made_is_said(history, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"\.gif or \.mp4"):
        rn.plots.movie(history, tmp_path / "film.avi")
    with pytest.raises(ValueError, match="fps"):
        rn.plots.movie(history, tmp_path / "film.gif", fps=1000)
    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    with pytest.raises(RuntimeError, match=r"ffmpeg.*\.gif"):
        rn.plots.movie(history, tmp_path / "film.mp4")


@pytest.mark.skipif(not FFMpegWriter.isAvailable(), reason="no ffmpeg here")
def test_ffmpeg_makes_mp4(history, tmp_path):
    assert rn.plots.movie(history, tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"

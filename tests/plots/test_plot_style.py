"""What all figures share: colours, notebooks, and what is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from plotted import life, wave

import ringnb as rn
from ringnb._support.children import run_python
from ringnb.messages.events import Event


def test_the_colour_maps_are_uniform_in_lightness_and_differ_without_colour():
    """Lightness rises steadily in the sequential map, and towards the middle in the diverging one."""
    import matplotlib
    from matplotlib.colors import to_rgb

    from ringnb.plots.style import DIVERGING, SEQUENTIAL

    def lightness(name):
        rgb = np.array([to_rgb(c) for c in matplotlib.colormaps[name](np.linspace(0, 1, 65))])
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        y = linear @ [0.2126, 0.7152, 0.0722]
        return 116 * np.cbrt(y) - 16  # CIE L*

    rises = np.diff(lightness(SEQUENTIAL))
    assert (rises > 0).all()
    assert rises.std() / rises.mean() < 0.2
    both = lightness(DIVERGING)
    assert (np.diff(both[:33]) > 0).all()
    assert (np.diff(both[32:]) < 0).all()


def test_every_figure_shows_itself_in_a_notebook(stored):
    axes = rn.plots.field(stored(u=wave()))
    figure = axes.figure
    assert axes._repr_png_().startswith(b"\x89PNG")  # as does the cell that ends with the call
    assert figure._repr_png_().startswith(b"\x89PNG")
    out = io.BytesIO()
    figure.savefig(out, format="svg")
    assert b"</svg>" in out.getvalue()


def test_pyplot_is_left_alone(stored):
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    rn.plots.field(stored(u=wave()))
    rn.plots.timeline(life(0, 1, 0))
    assert pyplot.get_fignums() == before


def test_matplotlib_is_imported_when_plots_are_first_used():
    look = "print('matplotlib' in sys.modules)"
    code = f"import sys, ringnb; {look}; ringnb.plots; {look}"
    done = run_python("-c", code, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda c: rn.plots.field("c"), TypeError, "a Checkpoint is needed"),
        (lambda c: rn.plots.field(c, "v"), KeyError, "has no field 'v'"),
        (lambda c: rn.plots.field(c, ax=3), TypeError, "ax must be a matplotlib Axes"),
        (lambda c: rn.plots.field(c, limits=(1, 1)), ValueError, "two rising finite numbers"),
        (lambda c: rn.plots.field(c, limits=(0, float("nan"))), ValueError, "rising"),
        (lambda c: rn.plots.film([]), ValueError, "no checkpoint to draw"),
        (lambda c: rn.plots.film([c, 1]), TypeError, "a Checkpoint is needed"),
        (lambda c: rn.plots.film("abc"), TypeError, "several Checkpoint objects"),
        (lambda c: rn.plots.film([c], columns=0), ValueError, "columns"),
        (lambda c: rn.plots.difference(c, None), TypeError, "a Checkpoint is needed"),
        (lambda c: rn.plots.series([c], "energy"), ValueError, "'energy' is not known"),
        (lambda c: rn.plots.series([c], []), TypeError, "scalar must be"),
        (lambda c: rn.plots.series([c], 5), TypeError, "scalar|iterable"),
        (lambda c: rn.plots.timeline([]), ValueError, "no event to draw"),
        (lambda c: rn.plots.timeline([1]), TypeError, "session.events"),
        (lambda c: rn.plots.timeline(life(0, 1, 0), last=0), ValueError, "positive integer"),
        (
            lambda c: rn.plots.timeline([Event("restored", 0)], aligned=True),
            ValueError,
            "no request to draw",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(stored, draw, error, message):
    checkpoint = stored(u=wave())
    with pytest.raises(error, match=message):
        draw(checkpoint)

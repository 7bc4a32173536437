"""A number per checkpoint, drawn over a history."""

from __future__ import annotations

import numpy as np
from plotted import PARAMS, wave

import ringnb as rn
from ringnb.messages.simulated_time import SimulatedTime


def test_a_series_over_time_breaks_where_the_history_does(stored):
    history = [
        stored(10, u=wave(1), params=PARAMS),
        stored(20, u=wave(2), params=PARAMS, parent="checkpoint_0_step_10"),
        stored(15, u=wave(3), params=PARAMS, parent="checkpoint_0_step_10"),
    ]
    ax = rn.plots.series(history, "max")
    assert [list(line.get_xdata()) for line in ax.lines] == [[0.02, 0.04], [0.03]]
    drawn = np.concatenate([line.get_ydata() for line in ax.lines])
    np.testing.assert_allclose(drawn, [c["u"][...].max() for c in history])
    assert ax.get_xlabel() == "simulated time (s)"
    assert ax.get_ylabel() == "max of pressure (Pa)"
    assert "2 lines" in ax.get_title()


def test_a_series_is_drawn_over_the_time_that_each_state_has(stored):
    history = [
        stored(10, u=wave(1), params={"dt": 0.5}, clock=SimulatedTime(dt=0.5)),
        stored(20, u=wave(2), params={"dt": 0.25}, clock=SimulatedTime(5.0, 10, 0.25)),
    ]
    ax = rn.plots.series(history, "max")
    assert [x for line in ax.lines for x in line.get_xdata()] == [5.0, 7.5]
    assert rn.plots.field(history[1]).get_title().endswith("step 20, t = 7.5 s")
    own_units = stored(30, u=wave(3), params={"dt": 1.0}, clock=SimulatedTime(4.0, 25, 1.0))
    assert rn.plots.field(own_units).get_title().endswith("step 30, t = 9")


def test_the_energy_of_an_undamped_wave_is_constant(storage):
    with rn.Session(rn.actors.Wave2D((48, 48)), storage=storage) as session:
        history = []
        for _ in range(5):
            session.run_steps(0, 40)
            history.append(session.snapshot(0))
    (line,) = rn.plots.series(history, "energy").lines
    energy = line.get_ydata()
    assert energy.min() > 0
    np.testing.assert_allclose(energy, energy[0], rtol=1e-4)


def test_the_energy_of_spins_all_alike_is_minus_two_per_spin(storage):
    start = np.ones((16, 16), np.int8)
    with rn.Session(rn.actors.Ising2D((16, 16), start=start), storage=storage) as session:
        checkpoint = session.snapshot(0)
    (line,) = rn.plots.series([checkpoint], "energy").lines
    assert line.get_ydata().tolist() == [-2.0]


def test_a_series_of_ones_own_function(stored):
    history = [stored(n, u=wave(n)) for n in (1, 2)]

    def cells(checkpoint):
        return checkpoint["u"].size * checkpoint.step

    ax = rn.plots.series(history, [cells, "mean"])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["cells", "mean"]
    assert ax.lines[0].get_ydata().tolist() == [54.0]

"""Every actor against something known, for any width of the team."""

from __future__ import annotations

import math

import numpy as np
import pytest

import ringnb as rn
from ringnb.actors.ising import four_words, highest_word
from ringnb.actors.random import philox
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.messages.commands import Command
from ringnb.testing.kernels import captured, running


def step(client, steps):
    target = client.call(0, Command.RUN_STEPS, (steps,)).value
    assert client.wait_until(lambda: client.kernel.counters(0).step >= target, 120)


def after(actor, steps, **options):
    """State of an actor after some steps, ``(levels * fields, *grid)``."""
    with running(CpuKernel([actor], **options)) as client:
        step(client, steps)
        return captured(client, 0)[0]


# -- waves ---------------------------------------------------------------------------------------


def standing_wave_error(cls, ndim, n):
    """Error of the lowest standing wave after half a period, on a grid of n cells per axis."""
    # Walls lie one cell outside the grid, at 0 and 1, so dx = 1 / (n + 1). Refining at a fixed
    # Courant number refines dt with dx.
    courant2 = 0.5 / ndim
    dx = 1 / (n + 1)
    dt = math.sqrt(courant2) * dx
    omega = math.pi * math.sqrt(ndim)
    axis = np.sin(math.pi * np.arange(1, n + 1) * dx)
    mode = axis
    for _ in range(ndim - 1):
        mode = np.multiply.outer(mode, axis)
    steps = round(0.37 / dt)
    start = np.stack([mode, mode * math.cos(omega * dt)])  # u(0) and u(-dt)
    actor = cls((n,) * ndim, courant2=courant2, dx=dx, c=1.0, start=start)
    assert actor.dt_s == pytest.approx(dt)
    got = after(actor, steps)[0].astype(float)
    return np.abs(got - mode * math.cos(omega * steps * dt)).max()


@pytest.mark.parametrize(
    ("cls", "ndim", "sizes"),
    [
        (rn.actors.Wave2D, 2, (15, 31, 63)),
        (rn.actors.Wave3D, 3, (9, 17, 33)),
    ],
)
def test_waves_converge_at_second_order_to_the_standing_wave(cls, ndim, sizes):
    errors = [standing_wave_error(cls, ndim, n) for n in sizes]
    orders = [
        math.log(a / b) / math.log((m + 1) / (n + 1))
        for a, b, n, m in zip(errors, errors[1:], sizes, sizes[1:], strict=False)
    ]
    assert errors[-1] < 2e-3
    assert orders == pytest.approx([2.0, 2.0], abs=0.3)


def test_damping_decays_as_its_equation_says():
    """A mode of u_tt + g u_t = -w^2 u loses exp(-g t / 2) of its amplitude."""
    n, per_step, courant2 = 40, 0.002, 0.25
    k = 8 * math.sin(math.pi / (2 * (n + 1))) ** 2  # the mode's eigenvalue of the Laplacian
    per_period = 2 * math.pi / (2 * math.asin(math.sqrt(courant2 * k) / 2))
    steps = round(15 * per_period)  # whole periods: within one, friction acts unevenly
    axis = np.sin(math.pi * np.arange(1, n + 1) / (n + 1))
    mode = np.outer(axis, axis)
    with running(CpuKernel([rn.actors.Wave2D((n, n), damping=per_step, start=mode)])) as client:
        energies = []
        for _ in range(2):
            step(client, steps)
            u, before = captured(client, 0)[0].astype(float)
            # What the scheme conserves exactly when there is no damping.
            energies.append(((u - before) ** 2).sum() + courant2 * k * (u * before).sum())
    assert energies[1] / energies[0] == pytest.approx(math.exp(-per_step * steps), rel=0.01)


def test_an_injected_pulse_stays_symmetric():
    with running(CpuKernel([rn.actors.Wave2D((33, 33), start=np.zeros((33, 33)))])) as client:
        bits = int(np.float64(1.0).view(np.int64))
        client.call(0, Command.INJECT, (0, 16, 16, bits))
        step(client, 30)
        u = captured(client, 0)[0][0]
    assert np.abs(u).max() > 0
    np.testing.assert_array_equal(u, u[::-1])
    np.testing.assert_array_equal(u, u[:, ::-1])


# -- heat ----------------------------------------------------------------------------------------


def test_heat_decays_as_its_mode_does():
    n = 63
    axis = np.sin(math.pi * np.arange(1, n + 1) / (n + 1))
    mode = 100 * np.outer(axis, axis)
    actor = rn.actors.Heat2D((n, n), 0.2, start=mode)
    steps = 2000
    alpha, dx, dt = (actor.params[k] for k in ("alpha", "dx", "dt"))
    length = (n + 1) * dx
    expected = mode * math.exp(-2 * alpha * (math.pi / length) ** 2 * steps * dt)
    got = after(actor, steps)[0]
    assert expected.max() < 40  # most of it has gone
    np.testing.assert_allclose(got, expected, atol=0.1)


# -- Gray-Scott ----------------------------------------------------------------------------------


def test_gray_scott_is_the_step_written_in_numpy():
    actor = rn.actors.GrayScott((40, 37))
    u, v = actor.start(0)
    feed, kill, du, dv, dt = np.array(list(actor.params.values()), np.float32)
    four, one = np.float32(4), np.float32(1)

    def laplacian(a):
        vertical = np.roll(a, 1, 0) + np.roll(a, -1, 0)
        return vertical + (np.roll(a, 1, 1) + np.roll(a, -1, 1)) - four * a

    for _ in range(200):
        uvv = u * v * v
        u, v = (
            u + dt * (du * laplacian(u) - uvv + feed * (one - u)),
            v + dt * (dv * laplacian(v) + uvv - (feed + kill) * v),
        )
    got = after(actor, 200)
    assert 0.1 < v.max() < 1
    np.testing.assert_allclose(got[0], u, rtol=0, atol=2e-6)
    np.testing.assert_allclose(got[1], v, rtol=0, atol=2e-6)


# -- Life ----------------------------------------------------------------------------------------


def life(shape, cells, at=(0, 0)):
    field = np.zeros(shape, np.uint8)
    for y, x in cells:
        field[at[0] + y, at[1] + x] = 1
    return rn.actors.Life(shape, start=field), field


def test_a_blinker_blinks():
    actor, field = life((9, 9), [(4, 3), (4, 4), (4, 5)])
    np.testing.assert_array_equal(after(actor, 1)[0], field.T)
    np.testing.assert_array_equal(after(actor, 2)[0], field)


def test_a_glider_glides_across_the_edge_of_the_torus():
    actor, field = life((12, 16), [(0, 1), (1, 2), (2, 0), (2, 1), (2, 2)], at=(9, 13))
    for quarter in (1, 3, 12):
        moved = np.roll(field, (quarter, quarter), (0, 1))
        np.testing.assert_array_equal(after(actor, 4 * quarter)[0], moved)


def test_the_r_pentomino_settles_at_generation_1103_with_116_cells():
    shape = (700, 700)  # its six gliders do not come round in 1103 generations
    actor, _ = life(shape, [(0, 1), (0, 2), (1, 0), (1, 1), (2, 1)], at=(350, 350))
    with running(CpuKernel([actor])) as client:
        populations = {}
        for generation in (1102, 1103, 1104, 1120, 1121):
            step(client, generation - client.kernel.counters(0).step)
            populations[generation] = int(captured(client, 0)[0].sum())
    assert populations[1103] == 116
    assert populations[1102] != 116
    assert {populations[g] for g in (1103, 1104, 1120, 1121)} == {116}


# -- Ising ---------------------------------------------------------------------------------------


def onsager_energy(temperature):
    """Energy per spin of the infinite square lattice, L. Onsager, Phys. Rev. 65 (1944) 117."""
    k = 1 / temperature
    kappa = 2 * math.sinh(2 * k) / math.cosh(2 * k) ** 2
    a, b = 1.0, math.sqrt(max(0.0, 1 - kappa**2))
    while abs(a - b) > 1e-15:
        a, b = (a + b) / 2, math.sqrt(a * b)  # the elliptic integral is pi / (2 agm)
    integral = math.pi / (2 * a)
    tail = (2 * math.tanh(2 * k) ** 2 - 1) * 2 / math.pi * integral
    return -(1 / math.tanh(2 * k)) * (1 + tail)


def yang_magnetisation(temperature):
    """Mean spin of the infinite lattice that orders, C. N. Yang, Phys. Rev. 85 (1952) 808."""
    return (1 - math.sinh(2 / temperature) ** -4) ** (1 / 8)


@pytest.mark.parametrize(
    ("temperature", "hot"), [pytest.param(1.8, False, marks=pytest.mark.slow), (3.2, True)]
)
def test_ising_energy_and_magnetisation_are_those_of_the_exact_solution(temperature, hot):
    shape, blocks, per_block = (96, 96), 24, 60
    actor = rn.actors.Ising2D(shape, temperature, seed=7, hot=hot)
    with running(CpuKernel([actor])) as client:
        step(client, 1000)
        means = []
        for _ in range(blocks):
            samples = []
            for _ in range(per_block // 10):
                step(client, 20)
                s = captured(client, 0)[0][0].astype(int)
                bonds = (s * np.roll(s, 1, 0)).sum() + (s * np.roll(s, 1, 1)).sum()
                samples.append((-bonds / s.size, s.mean()))
            means.append(np.mean(samples, axis=0))
    errors = np.std(means, axis=0, ddof=1) / math.sqrt(blocks)
    assert max(errors) < 0.005
    expected = onsager_energy(temperature), 0 if hot else yang_magnetisation(temperature)
    assert (abs(np.mean(means, axis=0) - expected) < 4 * errors + 1e-4).all()


class CellByCell(rn.actors.Ising2D):
    """Steps spins by the function of one, as a GPU does."""

    rows = None


@pytest.mark.parametrize("shape", [(4, 6), (6, 66), (8, 64), (10, 130)])
@pytest.mark.parametrize("params", [(2.2, 0.0), (0.01, 0.3), (1e9, -0.7), (1.7, 5.5)])
def test_a_row_of_spins_is_computed_as_its_cells_are(shape, params):
    kinds = (rn.actors.Ising2D, CellByCell)
    actors = [kind(shape, *params, seed=2**40 + 9, start_step=2**33 - 5) for kind in kinds]
    ours, theirs = [after(actor, 11) for actor in actors]
    np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(ours, actors[0].start(0))


@pytest.mark.parametrize("field", [0.0, 0.4])
def test_a_flip_is_accepted_as_detailed_balance_wants_it(field):
    """Each way up in energy is as much rarer than the way down as Boltzmann's factor says."""
    temperature, shape = 2.5, (512, 512)
    actor = rn.actors.Ising2D(shape, temperature, field, seed=3)
    s = actor.start(0)[0].astype(int)
    flipped = after(actor, 1)[0] != s
    offered = np.add.outer(*map(np.arange, shape)) % 2 == 0
    assert not flipped[~offered].any()
    total = sum(np.roll(s, by, axis) for by in (1, -1) for axis in (0, 1))
    for spin in (1, -1):
        for neighbours in (-4, -2, 0, 2, 4):
            those = flipped[offered & (s == spin) & (total == neighbours)]
            chance = min(1.0, math.exp(-2 * spin * (neighbours + field) / temperature))
            error = math.sqrt(chance * (1 - chance) / those.size)
            assert abs(those.mean() - chance) <= 4 * error, (spin, neighbours)
    for rise in (0.5, 4.0, 8.0):
        up, down = (int(highest_word(by, temperature)) + 1 for by in (rise, -rise))
        assert up / down == pytest.approx(math.exp(-rise / temperature), abs=2**-32)


def test_the_spins_of_a_step_draw_words_of_their_own():
    """Of 48 x 128 cells, two steps and two seeds, no two random words are the same call's same word."""
    calls = [
        tuple(map(int, four_words(seed, step, y, call)))
        for seed in (0, 1)
        for step in (0, 2**32)
        for y in range(48)
        for call in range(16)
    ]
    words = np.array(calls).ravel()
    assert len(set(calls)) == len(calls) == 3072
    assert abs(words.mean() / 2**32 - 0.5) < 4 * (1 / 12 / words.size) ** 0.5


def test_onsager_at_the_critical_point():
    critical = 2 / math.log(1 + math.sqrt(2))
    assert onsager_energy(critical * (1 + 1e-7)) == pytest.approx(-math.sqrt(2), abs=1e-5)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_words(counter, key, words):
    arguments = [np.uint64(v) for v in (*counter, *key)]
    assert tuple(int(w) for w in philox(*arguments)) == words


def test_slots_draw_their_own_numbers():
    actor = rn.actors.Ising2D((16, 16), seed=5)
    assert [actor.start_params(slot)["seed"] for slot in (0, 3)] == [5, 8]
    assert not np.array_equal(actor.start(0), actor.start(1))


# -- all -----------------------------------------------------------------------------------------

EVERY = [
    rn.actors.Wave2D((23, 19), damping=0.01),
    rn.actors.Wave3D((7, 9, 11)),
    rn.actors.Heat2D((23, 19)),
    rn.actors.GrayScott((23, 19)),
    rn.actors.Life((23, 19)),
    rn.actors.Ising2D((22, 18)),
    rn.actors.Ising2D((22, 150), field=0.1),
]


@pytest.mark.parametrize("actor", EVERY, ids=lambda a: a.kernel_type)
def test_the_result_does_not_depend_on_the_team(actor):
    first, *others = [after(actor, 41, width=width).tobytes() for width in (1, 2, 5)]
    assert others == [first, first]


@pytest.mark.parametrize("actor", EVERY, ids=lambda a: a.kernel_type)
def test_starts_are_fit_and_differ_by_slot(actor):
    for slot in (0, 1):
        state = actor.start(slot)
        assert state.shape == actor.state_shape
        assert state.dtype == actor.dtype
        assert np.isfinite(state).all()
        assert len(np.unique(state)) > 1
    assert not np.array_equal(actor.start(0), actor.start(1))
    assert actor.check_params(actor.start_params(1)) == actor.start_params(1)


def copied_wave(now, before, params, step, y, x):
    f = np.float32
    ny, nx = now.shape[1], now.shape[2]
    u = now[0, y, x]
    north = now[0, y - 1, x] if y > 0 else f(0)
    south = now[0, y + 1, x] if y < ny - 1 else f(0)
    west = now[0, y, x - 1] if x > 0 else f(0)
    east = now[0, y, x + 1] if x < nx - 1 else f(0)
    d = f(0.5 * params[1])
    scale = f(1.0 / (1.0 + 0.5 * params[1]))
    lap = (north + south) + (west + east) - f(4) * u
    before[0, y, x] = scale * (f(2) * u - (f(1) - d) * before[0, y, x] + f(params[0]) * lap)


def test_an_actor_of_ones_own_computes_the_same_as_the_built_in_one():
    wave = rn.actors.Wave2D((31, 45), damping=0.01)
    mine = rn.actors.CellActor(
        copied_wave,
        (31, 45),
        fields=("pressure",),
        params={"courant2": 0.25, "damping": 0.01},
        start=wave.start(0),
        levels=2,
    )
    assert after(mine, 101).tobytes() == after(wave, 101).tobytes()


def test_actors_of_one_and_three_axes():
    def right(now, before, params, step, x):
        before[0, x] = now[0, x - 1] if x > 0 else now[0, now.shape[1] - 1]

    def up(now, before, params, step, z, y, x):
        before[0, z, y, x] = now[0, z - 1, y, x] if z > 0 else now[0, now.shape[1] - 1, y, x]

    line = np.arange(17, dtype=np.int32)
    actor = rn.actors.CellActor(right, (17,), dtype="int32", start=line)
    np.testing.assert_array_equal(after(actor, 5, width=3)[0], np.roll(line, 5))
    cube = np.arange(5 * 6 * 7, dtype=np.int64).reshape(5, 6, 7)
    actor = rn.actors.CellActor(up, (5, 6, 7), dtype="int64", start=cube)
    np.testing.assert_array_equal(after(actor, 3, width=2)[0], np.roll(cube, 3, 0))


def test_an_edited_function_is_not_found_in_the_cache_of_the_old_one():
    def make(factor):
        def scaled(now, before, params, step, x):
            before[0, x] = now[0, x] * factor

        return rn.actors.CellActor(scaled, (8,), dtype="int64", start=np.arange(8))

    for factor in (2, 3):
        np.testing.assert_array_equal(after(make(factor), 2)[0], np.arange(8) * factor**2)

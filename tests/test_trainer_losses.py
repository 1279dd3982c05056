"""Each term and rule against numbers worked by hand, and against a slow, obvious reference."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from trainer.errors import InputError
from trainer.losses import RULES, TERMS, Scene, Spectrum, Terms
from trainer.losses.bands import BANDS, continuum
from trainer.losses.lens import magnification, separation
from trainer.spectral_config import CompositeConfig, LossConfig, SymbolicConfig

S = 1e-4
WAVELENGTHS_UM = [0.705, *np.linspace(1.95, 3.90, 282)]
SCENE = Scene.of(S, WAVELENGTHS_UM, "2025", 0.25)
FORMULAS = TERMS | RULES


def spectrum(*shape: int, seed: int = 0, double: bool = False) -> Spectrum:
    """A batch (…, batch) of spectra that differ from their truth by about s."""
    random = np.random.default_rng(seed)

    def around(mean: float, scale: float) -> torch.Tensor:
        values = mean + scale * random.standard_normal((*shape, 283))
        return torch.from_numpy(values).to(torch.float64 if double else torch.float32)

    mu = around(2e-3, S)
    return Spectrum(
        mu=mu,
        sigma=around(S, 0.1 * S),
        star=around(1e-3, S).abs(),
        truth=around(2e-3, S),
        mirrored=mu + around(0, S),
    )


def planet(mu: torch.Tensor | None = None, **others: torch.Tensor) -> Spectrum:
    """One planet (1, 283): what is not given is zero, σ is s, and the truth is μ."""
    mu = torch.zeros(1, 283) if mu is None else mu
    rest = {"sigma": torch.full((1, 283), S), "star": torch.zeros(1, 283)}
    return Spectrum(mu=mu, **rest | {"truth": mu, "mirrored": mu} | others)


def with_values(values: dict[int, float], base: float = 0.0) -> torch.Tensor:
    """(1, 283) of `base`, in units of s, but for some columns."""
    row = torch.full((1, 283), base)
    for column, value in values.items():
        row[0, column] = value
    return row * S


def terms(symbolic: SymbolicConfig | None = None, **weights: float) -> Terms:
    """The loss with these weights and no others."""
    composite = {name: {"weight": weights.get(name, 0.0)} for name in TERMS}
    loss = LossConfig(composite=CompositeConfig.model_validate(composite))
    return Terms(loss, symbolic or SymbolicConfig(), S, WAVELENGTHS_UM)


def value(name: str, given: Spectrum) -> float:
    (found,) = FORMULAS[name](given, SCENE).tolist()
    return float(found)


def test_every_setting_has_its_formula() -> None:
    assert list(TERMS) == list(CompositeConfig.model_fields)
    assert list(RULES) == list(SymbolicConfig.model_fields)


def test_gll_by_hand() -> None:
    # z = 2 at FGS1 with σ = s, z = 1/2 at each wavelength of AIRS with σ = 2 s; ½ ln 2π = 0.918939.
    mu, sigma = with_values({0: 2}, base=1), with_values({0: 1}, base=2)
    given = planet(mu, sigma=sigma, truth=torch.zeros(1, 283))
    fgs1, airs = 2 + 0.918939, 0.125 + 0.693147 + 0.918939
    expected = (57.846 * fgs1 + 282 * airs) / (57.846 + 282)
    assert value("gll", given) == pytest.approx(expected, rel=1e-5)
    plain = Scene.of(S, WAVELENGTHS_UM, "2024", 0.25)
    assert float(TERMS["gll"](given, plain)) == pytest.approx((fgs1 + 282 * airs) / 283, rel=1e-5)


def test_smoothness_by_hand() -> None:
    # One neighbour 1 s higher: second differences 1, −2, 1 among the 280 of AIRS.
    assert value("smoothness", planet(with_values({100: 1}))) == pytest.approx(6 / 280, rel=1e-5)
    # At the edge only one of them sees it, and beside FGS1 none but that.
    assert value("smoothness", planet(with_values({1: 1}))) == pytest.approx(1 / 280, rel=1e-5)
    assert value("smoothness", planet(with_values({0: 50}))) == 0
    line = torch.arange(283).float()[None] * S
    assert value("smoothness", planet(line)) == pytest.approx(0, abs=1e-6)


def test_fft_by_hand() -> None:
    step = torch.arange(282).double()

    def wave(k: int) -> torch.Tensor:
        return torch.cos(2 * math.pi * k * step / 282)

    def share(airs: torch.Tensor) -> float:
        return value("fft", planet(torch.cat([torch.tensor([9.0]), airs])[None].float() * S))

    # A Hann window spreads a wave over k − 1, k, k + 1; a quarter of Nyquist, 141, is 35.25.
    assert share(wave(20)) == pytest.approx(0, abs=1e-6)
    assert share(wave(60)) == pytest.approx(1, abs=1e-6)
    assert share(wave(20) + wave(60)) == pytest.approx(1 / 2, abs=1e-5)
    assert share(1000 + 3 * wave(20) + wave(60)) == pytest.approx(1 / 10, abs=1e-3)
    # Amplitudes 1/2, 1, 1/2 at 34, 35, 36: only the last is above, (1/4) / (1/4 + 1 + 1/4).
    assert share(wave(35)) == pytest.approx(1 / 6, abs=1e-5)
    # The highest, ±1 in turn, has no twin: 3/8 of power, and 3/16 of a wave that has.
    assert share(wave(141) + wave(20)) == pytest.approx(2 / 3, abs=1e-5)


def test_of_a_flat_spectrum_rounding_has_no_colour() -> None:
    flattest = torch.full((1, 283), 2.5e-3)
    flattest[0, 150] += 2e-9  # 2e-5 s
    assert value("fft", planet(flattest)) < 1e-4
    assert value("fft", planet(torch.zeros(1, 283))) == 0


def test_nonnegativity_by_hand() -> None:
    mu = with_values({0: -2, 7: -1}, base=5)
    assert value("nonnegativity", planet(mu)) == pytest.approx((4 + 1) / 283, rel=1e-5)
    assert value("nonnegativity", planet(with_values({}, base=5))) == 0


def test_asymmetry_by_hand() -> None:
    mirrored = with_values({0: 8, 9: 4}, base=5)
    given = planet(with_values({}, base=5), mirrored=mirrored)
    assert value("asymmetry", given) == pytest.approx((9 + 1) / 283, rel=1e-5)


def test_molecular_fingerprint_by_hand() -> None:
    um = np.array(WAVELENGTHS_UM)
    inside = {name: np.flatnonzero((um >= a) & (um <= b)) for name, (a, b) in BANDS.items()}
    n = sum(len(columns) for columns in inside.values())
    # 3 s below the continuum at one wavelength of water, 1 s at one of methane, above at CO2.
    dip = {int(inside["H2O"][5]): 7.0, int(inside["CH4"][0]): 9.0, int(inside["CO2"][3]): 40.0}
    given = planet(with_values(dip, base=10))
    assert value("molecular_fingerprint", given) == pytest.approx((3 + 1) / n, rel=1e-4)
    # Along a slope in µm the continuum is the slope itself, whatever FGS1 is.
    slope = torch.tensor(um).float()[None] * S
    slope[0, 0] = 1.0
    assert value("molecular_fingerprint", planet(slope)) == pytest.approx(0, abs=1e-5)
    for band in SCENE.bands:
        first, behind = band.columns
        assert [first, behind - 1] == [inside[band.molecule][0], inside[band.molecule][-1]]
        found = continuum(slope.double(), band)[0].tolist()
        assert found == pytest.approx((um[first:behind] * S).tolist(), rel=1e-5)


def test_gravitational_lensing_by_hand() -> None:
    assert value(
        "gravitational_lensing", planet(star=torch.full((1, 283), 0.3416))
    ) == pytest.approx(0, abs=1e-6)
    # A − 1 is 283 s at FGS1 and 0 elsewhere: its mean is s, (282² + 282 · 1²) / 283 = 282.
    star = with_values({0: 283})
    assert value("gravitational_lensing", planet(star=star)) == pytest.approx(282, rel=1e-5)


def test_magnification_by_hand() -> None:
    u = torch.tensor([1.0, 2.0, 0.1, 10.0], dtype=torch.float64)
    # 3/√5, 6/(2√8), 2.01/(0.1 √4.01), 102/(10 √104)
    expected = [1.3416408, 1.0606602, 10.0374610, 1.0001923]
    assert magnification(u).tolist() == pytest.approx(expected, rel=1e-7)
    assert separation(torch.tensor([3 / math.sqrt(5)])).tolist() == pytest.approx([1.0], rel=1e-6)
    assert separation(torch.tensor([1.0])).tolist() == [math.inf]
    assert magnification(torch.tensor([0.0])).tolist() == [math.inf]
    with pytest.raises(ValueError, match=r"got 0\.9, expected at least 1"):
        separation(torch.tensor([2.0, 0.9]))


@given(u=st.floats(1e-6, 50))
def test_a_separation_magnifies_and_back(u: float) -> None:
    exact = torch.tensor(u, dtype=torch.float64)
    magnified = magnification(exact)
    assert float(magnified) > 1
    # A − 1 is about 2 / u⁴, of which fp64 keeps what 1 leaves.
    assert float(separation(magnified)) == pytest.approx(u, rel=1e-8)


def slow(name: str, given: Spectrum, row: int) -> float:
    """A formula of one planet, a value at a time, in float64."""
    mu = [x / S for x in given.mu[row].double().tolist()]
    truth = [x / S for x in given.truth[row].double().tolist()]
    sigma = [x / S for x in given.sigma[row].double().tolist()]
    star = [x / S for x in given.star[row].double().tolist()]
    assert given.mirrored is not None
    mirrored = [x / S for x in given.mirrored[row].double().tolist()]
    airs = mu[1:]
    if name == "gll":
        weights = [57.846] + [1.0] * 282
        nats = [
            0.5 * ((y - m) / e) ** 2 + math.log(e * math.sqrt(2 * math.pi))
            for y, m, e in zip(truth, mu, sigma, strict=True)
        ]
        return sum(w * x for w, x in zip(weights, nats, strict=True)) / sum(weights)
    if name == "smoothness":
        return sum((airs[k - 1] - 2 * airs[k] + airs[k + 1]) ** 2 for k in range(1, 281)) / 280
    if name == "fft":
        mean = sum(airs) / 282
        seen = [
            (x - mean) * (0.5 - 0.5 * math.cos(2 * math.pi * t / 282)) for t, x in enumerate(airs)
        ]
        turn = [cmath.exp(-2j * math.pi * k / 282) for k in range(282)]
        power = [
            abs(sum(x * turn[k * t % 282] for t, x in enumerate(seen))) ** 2 for k in range(282)
        ]
        return sum(p for k, p in enumerate(power) if min(k, 282 - k) > 0.25 * 141) / sum(power)
    if name == "nonnegativity":
        return sum(min(m, 0) ** 2 for m in mu) / 283
    if name == "asymmetry":
        return sum((a - b) ** 2 for a, b in zip(mu, mirrored, strict=True)) / 283
    if name == "gravitational_lensing":
        mean = sum(star) / 283
        return sum((a - mean) ** 2 for a in star) / 283
    below = []
    for low, high in BANDS.values():
        columns = [k for k in range(1, 283) if low <= WAVELENGTHS_UM[k] <= high]
        sides = [range(columns[0] - 3, columns[0]), range(columns[-1] + 1, columns[-1] + 4)]
        (x0, y0), (x1, y1) = (
            (sum(WAVELENGTHS_UM[k] for k in side) / 3, sum(mu[k] for k in side) / 3)
            for side in sides
        )
        for k in columns:
            line = y0 + (y1 - y0) * (WAVELENGTHS_UM[k] - x0) / (x1 - x0)
            below.append(max(line - mu[k], 0))
    return sum(below) / len(below)


@pytest.mark.parametrize("name", FORMULAS)
@settings(max_examples=8)
@given(
    seed=st.integers(0, 10_000),
    depth=st.sampled_from([-1e-3, 0.0, 1e-5, 8e-3]),
    roughness=st.sampled_from([0.03, 1.0, 30.0]),
)
def test_a_formula_is_its_slow_reference(
    name: str, seed: int, depth: float, roughness: float
) -> None:
    random = np.random.default_rng(seed)

    def values() -> torch.Tensor:
        return torch.from_numpy(depth + roughness * S * random.standard_normal((2, 283))).float()

    sigma = torch.from_numpy(S * random.uniform(0.1, 10, (2, 283))).float()
    given = Spectrum(values(), sigma, values().abs(), values(), values())
    found = FORMULAS[name](given, SCENE).tolist()
    expected = [slow(name, given, row) for row in range(2)]
    assert found == pytest.approx(expected, rel=2e-4, abs=1e-6)


def test_each_is_of_order_1_where_the_errors_are_of_the_size_of_s() -> None:
    found = terms(gll=1).each(spectrum(64))
    assert set(found) == set(FORMULAS)
    assert float(found.pop("nonnegativity")) == 0
    for name, term in found.items():
        assert 0.1 < float(term) < 10, name


def test_the_total_is_the_weighted_sum_of_what_is_on() -> None:
    given = spectrum(5)
    symbolic = SymbolicConfig.model_validate(
        {
            "molecular_fingerprint": {"enabled": True, "weight": 0.7},
            "gravitational_lensing": {"weight": 9.0},  # off: its weight does not matter
        }
    )
    loss = terms(symbolic, gll=1.0, smoothness=0.1, fft=0.5)
    each = {name: float(term) for name, term in loss.each(given).items()}
    expected = (
        each["gll"]
        + 0.1 * each["smoothness"]
        + 0.5 * each["fft"]
        + 0.7 * each["molecular_fingerprint"]
    )
    assert float(loss.total(given)) == pytest.approx(expected, rel=1e-6)
    assert loss.weights == {
        "gll": 1.0,
        "smoothness": 0.1,
        "fft": 0.5,
        "molecular_fingerprint": 0.7,
    }


@pytest.mark.parametrize("name", FORMULAS)
def test_each_toggle_changes_the_gradient(name: str) -> None:
    """What training follows; all weights but one are the same."""

    def gradients(loss: Terms) -> list[torch.Tensor]:
        given = spectrum(3)
        leaves = [given.mu, given.sigma, given.star, given.mirrored]
        if name == "nonnegativity":
            given.mu.sub_(2e-3)
        for leaf in leaves:
            assert leaf is not None
            leaf.requires_grad_()
        loss.total(given).backward()
        return [torch.zeros(3, 283) if x is None or x.grad is None else x.grad for x in leaves]

    if name in RULES:
        rule = SymbolicConfig.model_validate({name: {"enabled": True}})
        off, on = terms(gll=1), terms(rule, gll=1)
    else:
        others = {"smoothness" if name == "gll" else "gll": 1.0}
        off, on = terms(**others), terms(**others, **{name: 0.1})
    pairs = list(zip(gradients(off), gradients(on), strict=True))
    assert all(torch.isfinite(g).all() for pair in pairs for g in pair)
    assert any(not torch.equal(a, b) for a, b in pairs)


def test_asymmetry_needs_the_mirrored_pass_and_the_rest_does_not() -> None:
    whole = spectrum(2)
    without = Spectrum(whole.mu, whole.sigma, whole.star, whole.truth)
    assert terms(gll=1).needs_mirrored is False and terms(asymmetry=1).needs_mirrored is True
    assert "asymmetry" not in terms(gll=1).each(without)
    assert torch.isfinite(terms(gll=1).total(without))
    with pytest.raises(AssertionError, match="reversed curves"):
        terms(asymmetry=1).total(without)


@pytest.mark.parametrize("name", FORMULAS)
def test_micro_batches_add_up(name: str) -> None:
    whole = spectrum(6, double=True)
    formula = FORMULAS[name]
    parts = [formula(of(whole, lambda x, k=k: x[k : k + 2]), SCENE).mean(-1) for k in (0, 2, 4)]
    expected = formula(whole, SCENE).mean(-1)
    assert float(sum(parts) / 3) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("members", [1, 2, 5])
def test_a_member_does_not_see_its_neighbours(members: int) -> None:
    together = spectrum(members, 7)
    symbolic = SymbolicConfig.model_validate({name: {"enabled": True} for name in RULES})
    loss = terms(symbolic, gll=1, smoothness=0.1, fft=0.1, nonnegativity=0.05, asymmetry=0.05)
    total, each = loss.total(together), loss.each(together)
    assert total.shape == (members,) and total.dtype == torch.float32
    for member in range(members):
        alone = of(together, lambda x, k=member: x[k])
        assert torch.equal(total[member], loss.total(alone))
        for name, term in loss.each(alone).items():
            assert torch.equal(each[name][member], term), name


def test_half_precision_is_computed_in_fp32() -> None:
    given = spectrum(3)
    rounded = of(given, lambda x: x.bfloat16())
    loss = terms(gll=1, smoothness=0.1, fft=0.1, asymmetry=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, same = loss.total(rounded), loss.total(given)
    assert total.dtype == torch.float32
    assert torch.equal(total, loss.total(of(rounded, lambda x: x.float())))
    assert torch.equal(same, loss.total(given))


@pytest.mark.parametrize(
    "given",
    [
        planet(torch.zeros(1, 283)),
        planet(torch.zeros(1, 283), sigma=torch.zeros(1, 283)),
        planet(torch.full((1, 283), 2.5e-3)),
        planet(torch.full((1, 283), 1.0), truth=torch.zeros(1, 283), sigma=torch.zeros(1, 283)),
        planet(torch.full((1, 283), -1.0), star=torch.full((1, 283), 5.0)),
    ],
    ids=["nothing", "no sigma", "flat", "far off and sure of it", "below zero"],
)
def test_gradients_are_finite_at_zeros_and_ties(given: Spectrum) -> None:
    symbolic = SymbolicConfig.model_validate({name: {"enabled": True} for name in RULES})
    loss = terms(symbolic, gll=1, smoothness=1, fft=1, nonnegativity=1, asymmetry=1)
    leaf = of(given, lambda x: x.clone().requires_grad_())
    total = loss.total(leaf)
    total.backward()
    assert torch.isfinite(total)
    for tensor in (leaf.mu, leaf.sigma, leaf.star, leaf.mirrored):
        assert tensor is not None and tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize("name", FORMULAS)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    given = of(spectrum(1, double=True), lambda x: x / S)  # in units of s, so that steps are fair
    if name == "nonnegativity":
        given = of(given, lambda x: x - 20)
    unit = Scene.of(1.0, WAVELENGTHS_UM, "2025", 0.25)
    assert given.mirrored is not None
    others = given.truth, given.mirrored

    def formula(mu: torch.Tensor, sigma: torch.Tensor, star: torch.Tensor) -> torch.Tensor:
        return FORMULAS[name](Spectrum(mu, sigma, star, *others), unit)

    leaves = [x.clone().requires_grad_() for x in (given.mu, given.sigma.abs(), given.star)]
    assert torch.autograd.gradcheck(formula, leaves, fast_mode=True, atol=1e-4, rtol=1e-3)


def test_nothing_of_one_device_or_mode_stays_in_another() -> None:
    symbolic = SymbolicConfig.model_validate({name: {"enabled": True} for name in RULES})
    loss = terms(symbolic, gll=1, smoothness=1, fft=1, nonnegativity=1, asymmetry=1)
    before = loss.total(spectrum(2))
    elsewhere = of(spectrum(4, 2), lambda x: x.to("meta"))
    assert loss.total(elsewhere).device.type == "meta"
    with FakeTensorMode():
        empty = torch.empty(4, 2, 283)
        assert loss.total(Spectrum(empty, empty, empty, empty, empty)).shape == (4,)
    with torch.inference_mode():
        loss.each(spectrum(2))
    learned = of(spectrum(2), lambda x: x.requires_grad_())
    loss.total(learned).backward()
    assert torch.equal(loss.total(spectrum(2)), before)


def test_what_is_no_scene_is_refused() -> None:
    for scale in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match=f"scale of the spectra: got {scale:g}"):
            Scene.of(scale, WAVELENGTHS_UM, "2025", 0.25)
    with pytest.raises(InputError, match="wavelengths: got 282, expected 283"):
        Scene.of(S, WAVELENGTHS_UM[1:], "2025", 0.25)
    with pytest.raises(InputError, match="those of AIRS ascending"):
        Scene.of(S, [0.7, *WAVELENGTHS_UM[:0:-1]], "2025", 0.25)
    with pytest.raises(InputError, match=r"got 2 to 3\.9 µm, expected the band of CO2, 1\.98"):
        Scene.of(S, [0.7, *np.linspace(2.0, 3.9, 282)], "2025", 0.25)
    with pytest.raises(InputError, match=r"expected the band of CH4, 3\.25 to 3\.38 µm, and 3"):
        Scene.of(S, [0.7, *np.linspace(1.95, 3.38, 282)], "2025", 0.25)


def of(given: Spectrum, change: Callable[[torch.Tensor], torch.Tensor]) -> Spectrum:
    """The spectrum with each of its tensors changed."""
    assert given.mirrored is not None
    return Spectrum(
        change(given.mu),
        change(given.sigma),
        change(given.star),
        change(given.truth),
        change(given.mirrored),
    )

"""The power spectrum of residuals over wavelength, by variant, beside the physical baseline's."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.diagnostics.figure import (
    PHYSICAL,
    PHYSICAL_NAME,
    SOFT,
    Figure,
    Key,
    Panel,
    Sheet,
    Table,
    axis,
    keys_of,
    line,
    plot,
    variant_line,
)
from orchestrator.diagnostics.held_out import Judgements
from orchestrator.diagnostics.loss_curves import grey_note
from orchestrator.diagnostics.power import AIRS, FREQUENCIES, Power
from orchestrator.diagnostics.variants import Variant


def figure(variants: Sequence[Variant], judged: Judgements) -> Figure | None:
    """Return the page; None where no trial has a prediction."""
    powers = {
        variant: Power.mean(judged.trials[t.id].power for t in seeds)
        for variant in variants
        if (seeds := judged.seeds_of(variant))
    }
    if not powers:
        return None
    physical = Power.mean(one.power for one in judged.physical)
    named = [(PHYSICAL_NAME, physical), *((v.name, power) for v, power in powers.items())]
    cutoff = judged.cutoff_frac
    traces = [
        line(PHYSICAL, PHYSICAL_NAME, FREQUENCIES, physical.power, colour=None, dash="dash"),
        *(variant_line(v, FREQUENCIES, power.power) for v, power in reversed(powers.items())),
    ]
    drawn = plot(
        traces,
        "frequency / Nyquist frequency",
        "power [ppm²]",
        xaxis=axis(
            "frequency / Nyquist frequency (1: a period of 2 wavelengths)",
            type="log",
            tickvals=[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1],
        ),
        yaxis=axis("power [ppm²]", type="log", dtick=1, hoverformat=".4~g"),
    )
    if cutoff is not None:
        drawn.add_vline(
            x=cutoff,
            line={"color": SOFT, "width": 1, "dash": "dot"},
            annotation={
                "text": "cut-off of the term fft",
                "x": math.log10(cutoff),
                "y": 1,
                "yref": "paper",
                "xanchor": "center",
                "yanchor": "bottom",
                "font": {"color": SOFT, "size": 11.5},
            },
        )
    above = [] if cutoff is None else [f"power above {cutoff:g} Nyquist"]
    return Figure(
        name="residual_power",
        title="Residual power spectrum",
        said="At which scales over wavelength spectra are wrong: power of μ − truth about its mean"
        f" over the {AIRS} wavelengths of AIRS, under a Hann window; mean over test planets and"
        " seeds. To the left broad features, to the right noise from one wavelength to the next.",
        panels=(Panel("Power by frequency over wavelength", drawn, height_px=460, wide=True),),
        legend=(Key(PHYSICAL, PHYSICAL_NAME, None, "dash"), *keys_of(list(powers))),
        tables=(
            Table(
                "Residuals over AIRS, root mean square",
                ("variant", "of the mean [ppm]", "about the mean [ppm]", *above, "planets × seeds"),
                tuple(
                    (
                        name,
                        f"{math.sqrt(power.offset):.1f}",
                        f"{math.sqrt(power.shape):.1f}",
                        *([] if cutoff is None else [f"{power.share_above(cutoff):.1%}"]),
                        str(power.planets),
                    )
                    for name, power in named
                ),
            ),
        ),
        sheets=(
            Sheet(
                "residual_power",
                ("variant", "frequency_nyquist", "power_ppm2"),
                [
                    (name, float(frequency), float(value))
                    for name, power in named
                    for frequency, value in zip(FREQUENCIES, power.power, strict=True)
                ],
            ),
        ),
        notes=grey_note(list(powers)),
    )

"""Which planets train, which validate, which test: by planet, never by visit or frame."""

from __future__ import annotations

from collections.abc import Iterable

from trainer.errors import InputError


def split_planets(
    planets: Iterable[int], folds: int, fold: int, seed: int
) -> dict[str, tuple[int, ...]]:
    """Deal the planets out to folds; one tests, the next one validates, the others train.

    The folds are scikit-learn's `GroupKFold(shuffle=True)` with the planet as the group. They do not
    depend on the order in which planets are given, nor on how many visits each has. Over `fold` = 0
    … `folds` − 1 every planet is tested once.

    Args:
        planets: Their ids; one that was visited twice may be there twice.
        folds: From 3 to the number of planets.
        fold: The one that tests, 0 to `folds` − 1.
        seed: Of the deal, 0 to 2³² − 1.

    Returns:
        "train", "val" and "test", each in ascending order.

    Raises:
        InputError: There are fewer planets than folds.
    """
    import numpy as np
    from sklearn.model_selection import GroupKFold

    ids = np.unique(np.fromiter(planets, dtype=np.int64))
    train_planets(len(ids), folds, fold)
    dealt = GroupKFold(folds, shuffle=True, random_state=seed).split(ids, groups=ids)
    parts = [tuple(ids[held_out].tolist()) for _, held_out in dealt]
    test, val = parts[fold], parts[(fold + 1) % folds]
    held_out = {*test, *val}
    return {"train": tuple(p for p in ids.tolist() if p not in held_out), "val": val, "test": test}


def train_planets(planets: int, folds: int, fold: int) -> int:
    """Return how many planets train, without dealing them out.

    Args:
        planets: How many there are.
        folds: From 3 to `planets`. The first `planets` mod `folds` of them have one planet more.
        fold: The one that tests, 0 to `folds` − 1.

    Raises:
        InputError: There are fewer planets than folds.
    """
    assert folds >= 3 and 0 <= fold < folds  # ArielData refuses others
    if planets < folds:
        raise InputError(
            f"data.folds: {folds} folds of {planets} planets leave one of them empty, expected at"
            f" most as many folds as planets",
            hint=f"data.folds={planets}" if planets >= 3 else "a data set of at least 3 planets",
        )
    each, larger = divmod(planets, folds)
    held_out = sum(each + (part < larger) for part in (fold, (fold + 1) % folds))
    return planets - held_out

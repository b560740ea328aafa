"""Sparse tables whose indices lie: refused in words by every entry, where SciPy itself would end the process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import sparse

from gossamer.errors import MemoryShortage, ShapeError
from gossamer.estimators import SparseMLPClassifier
from gossamer.estimators.structure import check_structure

if TYPE_CHECKING:
    from collections.abc import Callable

FORMATS = ("csr", "csc", "bsr", "coo", "lil", "dok", "dia")


def table(kind: str, *, array: bool = True) -> Any:
    """[20, 12], sparse."""
    made = sparse.random_array((20, 12), density=0.3, format="coo", random_state=0)
    return (made if array else sparse.coo_matrix(made)).asformat(kind)


def put(name: str, place: int, value: int) -> Callable[[Any], None]:
    """A damage: one number of an array is another."""

    def damage(spoilt: Any) -> None:
        array = getattr(spoilt, name).copy()
        array[place] = value
        setattr(spoilt, name, array)

    return damage


def coordinate(axis: int, value: int) -> Callable[[Any], None]:
    """A damage: one row or column of a COO table is another."""

    def damage(spoilt: Any) -> None:
        places = [part.copy() for part in spoilt.coords]
        places[axis][2] = value
        spoilt.coords = tuple(places)

    return damage


def cut(name: str) -> Callable[[Any], None]:
    """A damage: the end of an array is missing."""
    return lambda spoilt: setattr(spoilt, name, getattr(spoilt, name)[:-1])


def key(spoilt: Any) -> None:
    """A damage: a key out of the table."""
    spoilt._dict[(3, 12)] = 1.0


def longer(spoilt: Any) -> None:
    """A damage: a column without an entry."""
    spoilt.rows[0] = [*spoilt.rows[0], 3]


def far(spoilt: Any) -> None:
    """A damage: a column out of the table."""
    spoilt.rows[0], spoilt.data[0] = [99], [1.0]


DAMAGES = [
    *[(kind, put("indices", 3, value)) for kind in ("csr", "csc", "bsr") for value in (2**31 - 1, -1, 20)],
    *[(kind, put("indptr", 2, value)) for kind in ("csr", "csc", "bsr") for value in (2**30, -5)],
    *[(kind, put("indptr", -1, 10**6)) for kind in ("csr", "csc", "bsr")],
    *[(kind, put("indptr", 0, 1)) for kind in ("csr", "csc")],
    *[(kind, cut(name)) for kind in ("csr", "csc", "bsr") for name in ("indices", "indptr", "data")],
    *[("coo", coordinate(axis, value)) for axis in (0, 1) for value in (-1, 20)],
    ("coo", cut("data")),
    ("csr", lambda spoilt: setattr(spoilt, "indices", spoilt.indices.astype(np.float64))),
    ("dok", key), ("lil", longer), ("lil", far), ("dia", cut("offsets")),
]  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("array", [True, False])
def test_sound_tables_pass(kind: str, array: bool) -> None:
    """Full, empty, of every format and both of SciPy's interfaces; what is no sparse table passes too."""
    check_structure(table(kind, array=array))
    check_structure(sparse.coo_array((20, 12)).asformat(kind))
    check_structure([[1.0]])


def test_room_behind_the_last_entry_is_allowed() -> None:
    """SciPy may keep more indices than there are entries; they are not read."""
    roomy = table("csr")
    roomy.indices = np.append(roomy.indices, 99)
    roomy.data = np.append(roomy.data, 1.0)
    check_structure(roomy)


@pytest.mark.parametrize(("kind", "damage"), DAMAGES, ids=lambda part: part if isinstance(part, str) else "")
def test_every_entry_refuses_a_damaged_table(kind: str, damage: Callable[[Any], None]) -> None:
    """Nothing of SciPy is called before."""
    spoilt, labels = table(kind), np.arange(20) % 2
    model = SparseMLPClassifier((4,), max_iter=1).fit(table("csr"), labels)
    damage(spoilt)
    calls = (
        lambda: SparseMLPClassifier((4,)).fit(spoilt, labels),
        lambda: SparseMLPClassifier((4,)).partial_fit(spoilt, labels, classes=[0, 1]),
        lambda: model.predict(spoilt),
        lambda: model.score(spoilt, labels),
    )
    for call in calls:
        with pytest.raises(ShapeError, match=f"table of {kind} format: expected"):
            call()


def test_a_table_that_claims_more_rows_than_fit_is_refused() -> None:
    """Before they are allocated."""
    tall = sparse.coo_array(([1.0], ([3], [7])), shape=(2**45, 12))
    with pytest.raises(MemoryShortage, match="more rows than fit"):
        SparseMLPClassifier((4,)).fit(tall, [0, 1])
    with pytest.raises(ShapeError, match="a table of two dimensions"):
        check_structure(sparse.coo_array(np.arange(3)))

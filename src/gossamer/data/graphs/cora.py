"""Cora: papers that cite each other."""

from __future__ import annotations

from gossamer.data.graph import GraphRecipe, register_graph


@register_graph
def cora() -> GraphRecipe:
    """Cora: 2708 papers on machine learning, their words, and 5278 pairs of which one cites the other.

    Returns:
        GraphRecipe - with the fixed split of Planetoid; some of the 5429 citations are of the same pair.

    Source: Sen et al. 2008, "Collective Classification in Network Data"; Yang, Cohen, Salakhutdinov 2016.

    Example:
        >>> cora().edges // 2
        5278
    """
    return GraphRecipe(
        name="cora",
        nodes=2708,
        edges=10556,
        features=1433,
        entries=49216,
        splits=(140, 500, 1000),
        classes=(
            "Theory",
            "Reinforcement Learning",
            "Genetic Algorithms",
            "Neural Networks",
            "Probabilistic Methods",
            "Case Based",
            "Rule Learning",
        ),
        licence="none stated; cite Sen et al. 2008",
    )

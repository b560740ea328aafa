"""CiteSeer: papers that cite each other."""

from __future__ import annotations

from gossamer.data.graph import GraphRecipe, register_graph


@register_graph
def citeseer() -> GraphRecipe:
    """CiteSeer: 3327 papers on computer science, their words, and 4552 pairs of which one cites the other.

    Returns:
        GraphRecipe - with the fixed split of Planetoid; 48 papers have no citation, 15 others no words and no class.

    Source: Sen et al. 2008, "Collective Classification in Network Data"; Yang, Cohen, Salakhutdinov 2016.

    Example:
        >>> len(citeseer().classes)
        6
    """
    return GraphRecipe(
        name="citeseer",
        nodes=3327,
        edges=9104,
        features=3703,
        entries=105165,
        splits=(120, 500, 1000),
        classes=("AI", "ML", "IR", "DB", "Agents", "HCI"),
        licence="none stated; cite Sen et al. 2008",
    )

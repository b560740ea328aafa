"""The views of ``render_results.py`` that show estimators on wide tables."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

from typing import Any

from result_tables import size, table, view

SOURCE, COMMAND = "wide_tables", "python benchmarks/wide_tables.py"


def models(result: dict[str, Any], name: str, says: str) -> str:
    """Every model on one table."""
    rows = [
        [
            model,
            f"{100 * got['accuracy_mean']:.1f} ± {100 * got['accuracy_std']:.1f}",
            f"{got['parameters']:,}",
            f"{got['seconds']:.1f} s",
            f"{got['epochs']:.0f}" if got["epochs"] else "—",
            size(got["peak_bytes_above_two_columns"]),
        ]
        for model, got in result["tables"][name].items()
    ]
    head = ["model", "accuracy", "weights or nodes", "training", "epochs", "extra memory"]
    fits = next(iter(result["tables"][name].values()))["fits"]
    return (
        f"{says} Accuracy in per cent, mean and standard deviation of {fits} fits; processor seconds of one fit, one "
        "thread; peak memory above that of the same model on two of the columns, the table in memory."
        f"\n\n{table(head, rows)}"
    )


@view("leukemia", SOURCE, COMMAND)
def leukemia(result: dict[str, Any]) -> str:
    """Few rows, many columns."""
    says = (
        f"Leukemia (Golub 1999), 72 rows x 7,129 genes: five folds, {result['seeds']} seeds; the networks are the "
        "defaults, in batches of 8."
    )
    return models(result, "leukemia", says)


@view("madelon", SOURCE, COMMAND)
def madelon(result: dict[str, Any]) -> str:
    """Twenty columns of 500 say anything, and none of them alone."""
    says = (
        f"Madelon, 2,000 rows x 500 columns of which 20 matter: 600 test rows, {result['seeds']} seeds; MLP 400-100, "
        "AdamW with weight decay 0.3."
    )
    return models(result, "madelon", says)

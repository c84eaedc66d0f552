"""Tables and figure of the stopping benchmark, from its lines of results."""

from __future__ import annotations

from collections import defaultdict

from scipy.stats import beta

WAYS = ("audit", "equal", "lemma")


def pooled(rows):
    """Sums over blocks, by (case, size, gamma)."""
    found = defaultdict(lambda: defaultdict(float))
    for row in rows:
        n = int(row["campaigns"])
        cell = found[row["case"], int(row["size"]), float(row["gamma"])]
        for name, value in row.items():
            if name not in ("case", "size", "gamma", "block"):
                cell[name] += float(value) * (n if name.endswith("wells") else 1)
    return found


def upper(false, campaigns):
    """95% upper limit of a rate (Clopper and Pearson)."""
    return 1.0 if false == campaigns else float(beta.ppf(0.95, false + 1, campaigns - false))


def tables(rows):
    """Validity by cell, then the cost, as Markdown."""
    found = pooled(rows)
    lines = [
        "| case | N | γ | campaigns | audit certified / false | false as measured | lemma certified / false |",
        "|" + "---|" * 7,
    ]
    for (case, size, gamma), cell in found.items():
        n = int(cell["campaigns"])
        audit, lemma = (f"{int(cell[f'{way}_certified'])} / {int(cell[f'{way}_false'])}" for way in ("audit", "lemma"))
        lines.append(f"| {case} | {size:,} | {gamma} | {n} | {audit} | {int(cell['audit_false_measured'])} | {lemma} |")
    worst = max(found.values(), key=lambda cell: cell["audit_false"] / cell["campaigns"])
    limit = upper(int(worst["audit_false"]), int(worst["campaigns"]))
    lines += [
        "",
        f"Worst cell of the audit: {worst['audit_false'] / worst['campaigns']:.1%} false (upper limit {limit:.1%}).",
        "",
        "| case | N | γ | oracle, % of N | audit costs more by | with equal shares of the risk | lemma |",
        "|" + "---|" * 7,
    ]
    for (case, size, gamma), cell in found.items():
        scale = 100 / (cell["campaigns"] * size)
        extra = (f"{(cell[f'{way}_wells'] - cell['oracle_wells']) * scale:.1f}" for way in WAYS)
        lines.append(f"| {case} | {size:,} | {gamma} | {cell['oracle_wells'] * scale:.1f} | {' | '.join(extra)} |")
    return "\n".join(lines)


def draw(rows, path):
    """False certificates by case, audit beside lemma, and what the audit's stop costs."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "stopping", "svg.fonttype": "none", "font.size": 9})
    found = pooled(rows)
    cases = list(dict.fromkeys(case for case, _, _ in found))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), sharey=True, layout="constrained")
    for way, colour, shift in (("audit", "#1b6ca8", -0.12), ("lemma", "#c8553d", 0.12)):
        for (case, _, _), cell in found.items():
            rate = 100 * cell[f"{way}_false"] / cell["campaigns"]
            left.plot(rate, cases.index(case) + shift, "o", color=colour, ms=4, alpha=0.6, clip_on=False)
        left.plot([], [], "o", color=colour, ms=4, label=way)
    hollow = {"color": "#1b6ca8", "mfc": "none", "ms": 6}
    for (case, _, _), cell in found.items():
        if cell["audit_false_measured"] > cell["audit_false"]:
            rate = 100 * cell["audit_false_measured"] / cell["campaigns"]
            left.plot(rate, cases.index(case) - 0.12, "o", **hollow, clip_on=False)
    left.plot([], [], "o", **hollow, label="audit, by what would be measured")
    left.axvline(5, color="#555555", lw=1, ls="--")
    left.text(5.5, -0.75, "allowed", color="#555555", va="center")
    left.set(xlabel="false certificates, % of campaigns", xlim=(0, 100), yticks=range(len(cases)), yticklabels=cases)
    left.invert_yaxis()
    left.legend(frameon=False, loc="center right", bbox_to_anchor=(1, 0.38))
    for (case, size, gamma), cell in found.items():
        if (size, gamma) == (20000, 0.95) and case != "knife edge":
            for way, colour, shift in (("audit", "#1b6ca8", -0.12), ("equal", "#6aa84f", 0.12)):
                extra = 100 * (cell[f"{way}_wells"] - cell["oracle_wells"]) / cell["campaigns"] / size
                right.plot(extra, cases.index(case) + shift, "o", color=colour, ms=5, clip_on=False)
    for name, colour in (("risk by forecast", "#1b6ca8"), ("in equal shares", "#6aa84f")):
        right.plot([], [], "o", color=colour, ms=5, label=name)
    right.set(xlabel="wells beyond the oracle's, % of N (N = 20,000, γ = 0.95)", xlim=(0, None))
    right.legend(frameon=False, loc="lower right")
    for axis in (left, right):
        axis.grid(axis="x", color="#dddddd")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)

"""The published counts, and ours beside them.

Sources of the figures: Ioannou, Robertson, Cipolla and Criminisi, "Deep
Roots", EMDNN workshop at NIPS 2016 (what is *printed*: Tables 1 to 3 and
percentages in the text; the full paper is arXiv:1605.06489), and the data
files in the sources of Ioannou's thesis (github.com/yanii/phd-thesis,
rootdata/, 2018), which hold the *published* integers behind the tables of both.

A computed figure is counted in a network that is built for it, under
`convention="paper"` of `keras_roots.cost`. Where a published one is not the
network's, what is known of the reason is computed too, and shown.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from keras_roots.cost import Cost, cost
from keras_roots.models import build
from keras_roots.reporting import Table
from keras_roots.topology import RootLike, column, tree

EXACT, EXPLAINED, DIFFERS = "exact", "explained", "DIFFERS"


@dataclasses.dataclass(frozen=True)
class Variant:
    """A row of a published table.

    Attributes:
        name: as the paper writes it, such as "root-8".
        root: what our factory takes for it.
        parameters, macs: the published integers.
        printed_parameters, printed_macs: as printed in the paper, in the
            table's units; empty where it prints none.
        options: further arguments of the factory.
    """

    name: str
    root: RootLike
    parameters: int
    macs: int
    printed_parameters: str = ""
    printed_macs: str = ""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class PublishedTable:
    """A table of the paper.

    Attributes:
        title: where it is printed, and of what.
        network: name in our registry.
        variants: its rows; the first is the original network.
        units: of the printed parameters and multiply-accumulates.
        explain: function of the rows beside ours to notes that account for
            all figures that differ; to none, if those do not.
        remark: function of them to a note on figures that are exact.
    """

    title: str
    network: str
    variants: tuple[Variant, ...]
    units: tuple[float, float] = (1.0, 1.0)
    explain: "Callable[[list[Comparison]], list[str]]" = lambda _: []
    remark: "Callable[[list[Comparison]], list[str]]" = lambda _: []


@dataclasses.dataclass(frozen=True)
class Figure:
    """One published number beside ours.

    Attributes:
        quantity: such as "parameters".
        printed: as in the paper, or empty.
        published: from the author's data, as text.
        computed: ours.
        verdict: EXACT, EXPLAINED (by a note of the table) or DIFFERS.
    """

    quantity: str
    printed: str
    published: str
    computed: str
    verdict: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A published row, and the same counted by us."""

    variant: Variant
    cost: Cost


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """A table of the paper beside ours.

    Attributes:
        title: of the table.
        rows: each row's name and figures.
        notes: why figures differ.
    """

    title: str
    rows: tuple[tuple[str, tuple[Figure, ...]], ...]
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every figure is exact or explained."""
        return all(figure.verdict != DIFFERS for _, figures in self.rows for figure in figures)

    def table(self) -> Table:
        first = self.rows[0][1]
        printed = [any(figures[n].printed for _, figures in self.rows) for n in range(len(first))]
        header = ["network"]
        for figure, is_printed in zip(first, printed, strict=True):
            header += [f"{figure.quantity}: printed"] if is_printed else []
            header += [f"{figure.quantity}: published", "computed", ""]
        rows = []
        for name, figures in self.rows:
            cells = [name]
            for figure, is_printed in zip(figures, printed, strict=True):
                cells += [figure.printed] if is_printed else []
                cells += [figure.published, figure.computed, figure.verdict]
            rows.append(cells)
        return Table(header, rows, left=1)


# The published integers.
_RESNET50 = PublishedTable(
    title="Table 1: ResNet-50",
    network="resnet50",
    units=(1e7, 1e9),
    variants=(
        Variant("original", 1, 25_503_976, 3_857_974_312, "2.55", "3.86"),
        Variant("root-2", 2, 25_448_680, 3_684_566_056, "2.54", "3.68"),
        Variant("root-4", 4, 25_126_120, 3_366_650_920, "2.51", "3.37"),
        Variant("root-8", 8, 23_195_368, 2_860_876_840, "2.32", "2.86"),
        Variant("root-16", 16, 18_691_048, 2_434_581_544, "1.87", "2.43"),
        Variant("root-32", 32, 16_438_888, 2_221_433_896, "1.64", "2.22"),
        Variant("root-64", 64, 15_312_808, 2_114_860_072, "1.53", "2.11"),
    ),
)
_RESNET200 = PublishedTable(
    title="Table 3: ResNet-200",
    network="resnet200",
    units=(1e7, 1e12),
    variants=(
        Variant("original", 1, 62_451_880, 5_653_622_950_888, "6.25", "5.65"),
        Variant("root-2", 2, 62_396_584, 5_642_524_822_504),
        Variant("root-4", 4, 60_599_464, 5_459_405_704_168),
        Variant("root-8", 8, 49_084_072, 4_835_135_982_568, "4.91", "4.84"),
        Variant("root-16", 16, 39_787_432, 4_434_216_094_696),
        Variant("root-32", 32, 35_139_112, 4_233_756_150_760, "3.51", "4.23"),
        Variant("root-64", 64, 32_814_952, 4_133_526_178_792),
    ),
    explain=lambda comparisons: _explain_resnet200(comparisons),
)
_AS_TRAINED = {"geometry": "deep-roots", "auxiliary_heads": True}
_GOOGLENET = PublishedTable(
    title="Full paper: GoogLeNet (the authors' geometry, with auxiliary heads)",
    network="googlenet",
    variants=(
        Variant("original", 1, 18_809_576, 1_716_324_392, options=_AS_TRAINED),
        Variant("root-2", 2, 18_754_280, 1_542_916_136, options=_AS_TRAINED),
        Variant("root-4", 4, 18_515_944, 1_291_032_616, options=_AS_TRAINED),
        Variant("root-8", 8, 17_504_744, 964_383_656, options=_AS_TRAINED),
        Variant("root-16", 16, 16_308_968, 756_887_912, options=_AS_TRAINED),
    ),
)
_NIN = PublishedTable(
    title="Full paper: Network in Network on CIFAR-10",
    network="nin",
    variants=(
        Variant("original", 1, 966_986, 222_487_946),
        Variant("root-2", 2, 736_586, 163_505_546),
        Variant("root-4", 4, 455_498, 123_397_514),
        Variant("root-8", 8, 314_954, 103_343_498),
        Variant("root-16", 16, 244_682, 93_316_490),
        Variant("col-2", column(2), 570_698, 152_888_714),
        Variant("col-4", column(4), 372_554, 118_089_098),
        Variant("col-8", column(8), 273_482, 100_689_290),
        Variant("col-16", column(16), 223_946, 91_989_386),
        Variant("tree-2", tree(2), 487_754, 147_580_298),
        Variant("tree-4", tree(4), 331_082, 115_434_890),
        Variant("tree-8", tree(8), 252_746, 99_362_186),
        Variant("tree-16", tree(16), 213_578, 91_325_834),
    ),
)
_TWO_TOWERS = {"dense_conv3": True}
_ALEXNET = PublishedTable(
    title="Full paper: AlexNet",
    network="alexnet",
    variants=(
        Variant("2 groups (original)", column(2), 60_965_224, 724_417_384, options=_TWO_TOWERS),
        Variant("no groups", 1, 62_378_344, 1_135_266_664),
        Variant("4 groups", column(4), 60_258_664, 518_992_744, options=_TWO_TOWERS),
    ),
    remark=lambda comparisons: _remark_on_alexnet(comparisons),
)
_TABLES = {
    "resnet50": _RESNET50,
    "resnet200": _RESNET200,
    "googlenet": _GOOGLENET,
    "nin": _NIN,
    "alexnet": _ALEXNET,
}
# Table 2: the groups of the 3x3 convolutions of stages res2, res3, res4 and res5.
_GROUPS = {
    "original": (1, 1, 1, 1),
    "root-2": (2, 1, 1, 1),
    "root-4": (4, 2, 1, 1),
    "root-8": (8, 4, 2, 1),
    "root-16": (16, 8, 4, 2),
    "root-32": (32, 16, 8, 4),
    "root-64": (64, 32, 16, 8),
}
# What the text says is saved: table, variant, quantity, per cent.
_SAVINGS = (
    ("resnet50", "root-16", "parameters", 27),
    ("resnet50", "root-16", "macs", 37),
    ("resnet50", "root-64", "parameters", 40),
    ("resnet50", "root-64", "macs", 45),
    ("googlenet", "root-8", "parameters", 7),
    ("googlenet", "root-8", "macs", 44),
    ("resnet200", "root-32", "parameters", 44),
    ("resnet200", "root-32", "macs", 25),
    ("alexnet", "2 groups (original)", "parameters", 57),
)
_NAMES = {"parameters": "parameters", "macs": "multiply-accumulates"}


def list_tables() -> list[str]:
    """The names that `reproduce` knows: the networks of the published tables."""
    return list(_TABLES)


def reproduce(
    names: Iterable[str] | None = None, report: Callable[[str], object] = lambda _: None
) -> list[Reproduction]:
    """Builds and counts every network of the paper's tables.

    Args:
        names: some of `list_tables()`; all by default.
        report: takes a line of progress before each network is built.

    Raises:
        ValueError: a name is unknown.
    """
    names = list_tables() if names is None else list(names)
    for name in names:
        if name not in _TABLES:
            raise ValueError(f"Unknown table {name!r}. Expected: {', '.join(list_tables())}")
    reproductions = []
    all_comparisons: dict[str, list[Comparison]] = {}
    done, number = 0, sum(len(_TABLES[name].variants) for name in names)
    for name in names:
        published = _TABLES[name]
        comparisons = all_comparisons[name] = []
        for variant in published.variants:
            done += 1
            report(f"{done}/{number} {published.network} {variant.name}")
            model = build(published.network, root=variant.root, **variant.options)
            comparisons.append(Comparison(variant, cost(model, convention="paper")))
        reproductions.append(_compare(published, comparisons))
        if name == "resnet50":
            reproductions.append(_groups_of_resnet50(comparisons))
    noted = {name for name, comparisons in all_comparisons.items() if _notes(name, comparisons)}
    savings = _savings(all_comparisons, noted)
    return [*reproductions, *savings]


def _compare(published: PublishedTable, comparisons: list[Comparison]) -> Reproduction:
    explanations = published.explain(comparisons)
    rows = []
    for comparison in comparisons:
        figures = []
        for (quantity, name), unit in zip(_NAMES.items(), published.units, strict=True):
            printed = getattr(comparison.variant, f"printed_{quantity}")
            given, counted = (
                getattr(each, quantity) for each in (comparison.variant, comparison.cost)
            )
            if given == counted and (not printed or f"{counted / unit:.2f}" == printed):
                verdict = EXACT
            else:
                verdict = EXPLAINED if explanations else DIFFERS
            figures.append(
                Figure(
                    quantity=name,
                    printed=f"{printed} x {unit:.0e}".replace("e+", "e") if printed else "",
                    published=f"{given:,}",
                    computed=f"{counted:,}",
                    verdict=verdict,
                )
            )
        rows.append((comparison.variant.name, tuple(figures)))
    return Reproduction(
        published.title, tuple(rows), (*explanations, *published.remark(comparisons))
    )


# Pixels of the feature maps by output stride: as they are, and where the area halves from stage
# to stage, not each side.
_AREAS = {"4": 56 * 56, "8": 28 * 28, "16": 14 * 14, "32": 7 * 7}
_HALVED_AREAS = {"4": 448 * 448, "8": 448 * 224, "16": 224 * 224, "32": 224 * 112}


def _explain_resnet200(comparisons: list[Comparison]) -> list[str]:
    """Notes, if the reasons that we know account for the differences; else none."""
    original = comparisons[0]
    missing = {each.cost.parameters - each.variant.parameters for each in comparisons}
    # A classifier of 2048 inputs and 1000 outputs: its product, and the sum in its place.
    if missing != {2048 * 1000 - 2048}:
        return []
    for each in comparisons[1:]:
        stages = list(zip(original.cost.stages, each.cost.stages, strict=True))
        saved, published = (
            sum(
                (dense.parameters - grouped.parameters) * areas.get(dense.output_stride, 0)
                for dense, grouped in stages
            )
            for areas in (_AREAS, _HALVED_AREAS)
        )
        if original.cost.macs - each.cost.macs != saved:
            return []
        if original.variant.macs - each.variant.macs != published:
            return []
    root32 = next(each for each in comparisons if each.variant.name == "root-32")
    right, printed = (
        1 - of(root32) / of(original)
        for of in (lambda each: each.cost.macs, lambda each: each.variant.macs)
    )
    return [
        f"Parameters: the published figures are {min(missing):,} lower in every variant: the "
        "classifier of 2048 inputs and 1000 outputs is counted as 2048 + 1000, not as "
        "2048 x 1000 + 1000.",
        "Multiply-accumulates: the published figures are of feature maps whose area halves from "
        "stage to stage (448 x 448, 448 x 224, 224 x 224, 224 x 112) where it quarters (56 x 56, "
        "28 x 28, 14 x 14, 7 x 7). With those areas, what each variant saves is the published "
        "difference from the original to the last integer. How the published total of the "
        "original came about we do not know.",
        f"For one image of 224 x 224, root-32 saves {right:.0%} of the multiply-accumulates, "
        f"where the paper says {printed:.0%}.",
    ]


def _remark_on_alexnet(comparisons: list[Comparison]) -> list[str]:
    original, dense = comparisons[0].cost, comparisons[1].cost
    return [
        'The paper says that AlexNet "has approximately 57% fewer connection weights" than '
        "without filter groups. The parameters are "
        f"{1 - original.parameters / dense.parameters:.1%} fewer. Without groups there are "
        f"{dense.macs / original.macs - 1:.0%} more multiply-accumulates, which is "
        f"{1 - original.macs / dense.macs:.0%} fewer with them."
    ]


def _groups_of_resnet50(comparisons: list[Comparison]) -> Reproduction:
    rows = []
    for comparison in comparisons:
        published = _GROUPS[comparison.variant.name]
        figures = []
        for stage, groups in enumerate(published, start=2):
            spatial = {
                layer.groups
                for layer in comparison.cost.layers
                if layer.name.startswith(f"conv{stage}_") and layer.name.endswith("_2_conv")
            }
            computed = ", ".join(map(str, sorted(map(int, filter(None, spatial)))))
            verdict = EXACT if computed == str(groups) else DIFFERS
            figures.append(Figure(f"res{stage}", "", str(groups), computed, verdict))
        rows.append((comparison.variant.name, tuple(figures)))
    return Reproduction("Table 2: groups of ResNet-50's 3x3 convolutions", tuple(rows))


def _notes(name: str, comparisons: list[Comparison]) -> list[str]:
    published = _TABLES[name]
    return [*published.explain(comparisons), *published.remark(comparisons)]


def _savings(comparisons: Mapping[str, list[Comparison]], noted: set[str]) -> list[Reproduction]:
    """The percentages in the paper's text, of the networks that have been counted."""
    rows = []
    for name, variant, quantity, percent in _SAVINGS:
        if name not in comparisons:
            continue
        by_name = {each.variant.name: each.cost for each in comparisons[name]}
        # AlexNet's own form is the one with groups.
        reference = by_name["no groups" if name == "alexnet" else "original"]
        saved = 1 - getattr(by_name[variant], quantity) / getattr(reference, quantity)
        differs = EXPLAINED if name in noted else DIFFERS
        verdict = EXACT if round(100 * saved) == percent else differs
        figure = Figure("saved", "", f"{percent}%", f"{saved:.1%}", verdict)
        rows.append((f"{name} {variant}, {_NAMES[quantity]}", (figure,)))
    return [Reproduction("Savings that the text names", tuple(rows))] if rows else []


def records(reproductions: Iterable[Reproduction]) -> Table:
    """All figures as one table, a row each."""
    rows = [
        (
            *(each.title, name, figure.quantity, figure.printed, figure.published),
            *(figure.computed, figure.verdict),
        )
        for each in reproductions
        for name, figures in each.rows
        for figure in figures
    ]
    header = ("table", "network", "quantity", "printed", "published", "computed", "verdict")
    return Table(header, rows, left=4)

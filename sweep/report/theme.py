"""Colours and symbols, defined once for the page, its figures and their dark variants.

Okabe and Ito's colour-blind-safe palette; light hues are darkened on white, dark ones lightened on black,
so that marks keep a contrast of about 3 : 1; brown marks ends that are no
matter of stability, grey-blue those that nobody knows. A symbol always says the same as the colour.
"""

from dataclasses import dataclass

from sweep.records import Outcome


@dataclass(frozen=True)
class Mark:
    """How an outcome is drawn."""

    light: str
    dark: str
    symbol: str
    """Plotly's name of the marker."""


MARKS: dict[Outcome, Mark] = {
    Outcome.STABLE: Mark("#0072b2", "#56b4e9", "circle"),
    Outcome.SPIKY_RECOVERING: Mark("#009e73", "#2bc79a", "diamond"),
    Outcome.FOREGONE: Mark("#0072b2", "#56b4e9", "circle-open-dot"),
    Outcome.CALIBRATING: Mark("#767676", "#9a9a9a", "circle-open"),
    Outcome.UNJUDGED: Mark("#6f7d8c", "#93a1b0", "diamond-open"),
    Outcome.TOO_SHORT: Mark("#6f7d8c", "#93a1b0", "triangle-down-open"),
    Outcome.DIVERGED_NONFINITE: Mark("#d55e00", "#f0763a", "x"),
    Outcome.SCALER_COLLAPSE: Mark("#c0619a", "#cc79a7", "triangle-down"),
    Outcome.DIVERGED_LOSS: Mark("#c77f00", "#e69f00", "cross"),
    Outcome.SKIP_STARVED: Mark("#7d6b00", "#f0e442", "triangle-up"),
    Outcome.BLANK_COLLAPSE: Mark("#2b2b2b", "#e4e4e4", "square"),
    Outcome.STALLED: Mark("#858585", "#a6a6a6", "square-open"),
    Outcome.MEMORISED: Mark("#7a4fa3", "#b794e0", "pentagon"),
    Outcome.INFEASIBLE_DATA: Mark("#8a5a3c", "#c79a7c", "star"),
    Outcome.OUT_OF_MEMORY: Mark("#8a5a3c", "#c79a7c", "hexagon"),
    Outcome.CRASHED: Mark("#8a5a3c", "#c79a7c", "hourglass"),
    Outcome.HUNG: Mark("#8a5a3c", "#c79a7c", "hexagon-open"),
    Outcome.TIMED_OUT: Mark("#8a5a3c", "#c79a7c", "hourglass-open"),
    Outcome.PRUNED: Mark("#6f7d8c", "#93a1b0", "triangle-left-open"),
}

MAP_COLOURS: tuple[tuple[str, str], ...] = (
    ("#f9dfc6", "#4d3117"),
    ("#fbebdb", "#3a2917"),
    ("#f3f4f5", "#1f2327"),
    ("#dcebf5", "#19303f"),
    ("#c4dff0", "#1d4257"),
)
"""Chance of a stable training from 0 to 1, in equal steps: (light, dark). Orange to blue is told apart by every eye;
the colours are weak, so that marks on top keep their contrast."""

EDGE_COLOURS: dict[str, tuple[str, str]] = {"hot": ("#b84a00", "#f0763a"), "cold": ("#0067a3", "#56b4e9")}
"""Lines on the map: (light, dark). The cold one is dashed."""

PAGE_COLOURS: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#14171a"),
    "panel": ("#f6f7f8", "#1c2024"),
    "ink": ("#1b1f23", "#e6e8ea"),
    "muted": ("#59636e", "#a3adb7"),
    "line": ("#d5dade", "#383f46"),
    "grid": ("#e9ecee", "#272c31"),
    "accent": ("#00588a", "#7cc4f0"),
}
"""Name -> (light, dark)."""

TRIAL_COLOURS: tuple[tuple[str, str], ...] = (
    ("#0067a3", "#56b4e9"),
    ("#c25100", "#f0763a"),
    ("#00805b", "#2bc79a"),
    ("#a8508c", "#d592c4"),
    ("#7d6b01", "#e6c229"),
    ("#3b3b3c", "#d9d9da"),
)
"""Trials that are drawn together, in their order: (light, dark)."""

VERDICT_COLOURS: dict[str, tuple[str, str]] = {
    "supported": ("#0067a3", "#56b4e9"),
    "refuted": ("#b84a00", "#f0763a"),
    "equivalent": ("#8a4f86", "#d592c4"),
    "undecided": ("#59636e", "#a3adb7"),
}
"""Verdict on a claim -> (light, dark). Words are written in them, so their contrast is 4.5 : 1 and more."""

_VERDICT_SHAPES = {
    "supported": '<circle cx="8" cy="8" r="8"/><path class="glyph" d="m4.2 8.3 2.7 2.7 4.9-5.6"/>',
    "refuted": '<circle cx="8" cy="8" r="8"/><path class="glyph" d="m5.1 5.1 5.8 5.8m0-5.8-5.8 5.8"/>',
    "equivalent": '<circle cx="8" cy="8" r="8"/><path class="glyph" d="M4.4 6.3h7.2M4.4 9.7h7.2"/>',
    "undecided": (
        '<g fill="none" stroke="currentColor"><circle cx="8" cy="8" r="7" stroke-width="1.6"/>'
        '<path stroke-width="1.7" stroke-linecap="round" d="M5.9 6.1a2.1 2.1 0 1 1 3.2 1.8c-.8.5-1.1.9-1.1 1.6"/></g>'
        '<circle cx="8" cy="11.9" r="1"/>'
    ),
}

_SVG_SHAPES = {
    "circle": '<circle cx="6" cy="6" r="4.5"/>',
    "diamond": '<path d="M6 .8 11.2 6 6 11.2.8 6z"/>',
    "circle-open": '<circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="1.8"/>',
    "circle-open-dot": (
        '<circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="1.6"/>'
        '<circle cx="6" cy="6" r="1.5"/>'
    ),
    "x": '<path d="M2.9 1 6 4.1 9.1 1 11 2.9 7.9 6 11 9.1 9.1 11 6 7.9 2.9 11 1 9.1 4.1 6 1 2.9z"/>',
    "triangle-down": '<path d="M1 2h10L6 11z"/>',
    "cross": '<path d="M4.4 1h3.2v3.4H11v3.2H7.6V11H4.4V7.6H1V4.4h3.4z"/>',
    "triangle-up": '<path d="M1 10h10L6 1z"/>',
    "square": '<path d="M1.5 1.5h9v9h-9z"/>',
    "square-open": '<path d="M2 2h8v8H2z" fill="none" stroke="currentColor" stroke-width="1.8"/>',
    "star": '<path d="m6 .8 1.4 3.6 3.8.2-3 2.4 1 3.8L6 8.7l-3.2 2.1 1-3.8-3-2.4 3.8-.2z"/>',
    "hexagon": '<path d="M3.3 1.3h5.4L11.4 6l-2.7 4.7H3.3L.6 6z"/>',
    "hourglass": '<path d="M1.5 1h9L1.5 11h9z"/>',
    "hexagon-open": (
        '<path d="M3.6 2h4.8L10.7 6 8.4 10H3.6L1.3 6z" fill="none" stroke="currentColor" stroke-width="1.6"/>'
    ),
    "hourglass-open": '<path d="M2.2 1.6h7.6L2.2 10.4h7.6z" fill="none" stroke="currentColor" stroke-width="1.5"/>',
    "pentagon": '<path d="M6 .9 11.2 4.7 9.2 10.8H2.8L.8 4.7z"/>',
    "diamond-open": '<path d="M6 1.6 10.4 6 6 10.4 1.6 6z" fill="none" stroke="currentColor" stroke-width="1.6"/>',
    "triangle-down-open": '<path d="M1.8 2h8.4L6 10z" fill="none" stroke="currentColor" stroke-width="1.6"/>',
    "triangle-left-open": '<path d="M10 1.8v8.4L2 6z" fill="none" stroke="currentColor" stroke-width="1.6"/>',
}


def light(name: str) -> str:
    """A page colour's light variant, which figures are built with."""
    return PAGE_COLOURS[name][0]


def dark_swaps() -> dict[str, str]:
    """Light colour -> dark colour, for figures that are already built."""
    swaps = {mark.light: mark.dark for mark in MARKS.values()}
    return swaps | dict(PAGE_COLOURS.values()) | dict(EDGE_COLOURS.values()) | dict(MAP_COLOURS) | dict(TRIAL_COLOURS)


def css_variables(dark: bool) -> str:
    """CSS custom properties: `--ink` for page colours, `--o-stable` for outcomes, `--v-refuted` for verdicts on claims,
    `--p-0` to `--p-4` for the map."""
    pairs = [(f"--{name}", both[dark]) for name, both in PAGE_COLOURS.items()]
    pairs += [(f"--o-{o.value}", m.dark if dark else m.light) for o, m in MARKS.items()]
    pairs += [(f"--v-{name}", both[dark]) for name, both in VERDICT_COLOURS.items()]
    pairs += [(f"--edge-{name}", both[dark]) for name, both in EDGE_COLOURS.items()]
    pairs += [(f"--p-{step}", both[dark]) for step, both in enumerate(MAP_COLOURS)]
    return "".join(f"{name}:{value};" for name, value in pairs)


def css_classes() -> str:
    """CSS classes that give colours: `.o-stable` an outcome's as `--c`, `.v-refuted` a verdict's as `--v`."""
    rules = [f".o-{outcome.value}{{--c:var(--o-{outcome.value})}}" for outcome in MARKS]
    return "".join([*rules, *(f".v-{name}{{--v:var(--v-{name})}}" for name in VERDICT_COLOURS)])


def svg_symbol(outcome: Outcome) -> str:
    """The outcome's symbol as inline SVG in its colour; a label always stands beside it."""
    shape = _SVG_SHAPES[MARKS[outcome].symbol]
    return (
        f'<svg class="mark o-{outcome.value}" viewBox="0 0 12 12" aria-hidden="true">'
        f"<g fill='currentColor'>{shape}</g></svg>"
    )


def svg_verdict(verdict: str) -> str:
    """The symbol of a verdict on a claim as inline SVG in its colour; the word always stands beside it."""
    return (
        f'<svg class="verdict-mark v-{verdict}" viewBox="0 0 16 16" aria-hidden="true">'
        f'<g fill="currentColor">{_VERDICT_SHAPES[verdict]}</g></svg>'
    )

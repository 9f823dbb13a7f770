"""The table of scores: one row a run, scorer and slice, the same wherever scores are written."""

from datetime import datetime
from typing import Any

import pyarrow as pa

from mrc.metrics.sums import Sums

_FIGURES = ("total", "exact_match", "f1")

METRICS_SCHEMA = pa.schema(
    [
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("created_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("model_fingerprint", pa.string()),
        pa.field("data_fingerprint", pa.string()),
        pa.field("scorer", pa.string(), nullable=False),
        # What the rows of a slice have in common: ("overall", "") is all rows.
        pa.field("slice_by", pa.string(), nullable=False),
        pa.field("slice", pa.string(), nullable=False),
        pa.field("total", pa.int64(), nullable=False),
        pa.field("missing", pa.int64(), nullable=False),
        pa.field("exact_match", pa.float64(), nullable=False),
        pa.field("f1", pa.float64(), nullable=False),
        # 95 % intervals, null where they were not computed or the slice has too few contexts.
        *(pa.field(name, pa.float64()) for name in ("exact_match_low", "exact_match_high", "f1_low", "f1_high")),
        # Null where no question of that kind is in the slice.
        *(pa.field(f"HasAns_{name}", pa.int64() if name == "total" else pa.float64()) for name in _FIGURES),
        *(pa.field(f"NoAns_{name}", pa.int64() if name == "total" else pa.float64()) for name in _FIGURES),
    ]
)
"""`exact_match` and `f1` are percentages, `total` and `missing` (of them, without a prediction) counts."""


def metrics_row(
    sums: Sums,
    *,
    run_id: str,
    created_at: datetime,
    scorer: str,
    model_fingerprint: str | None = None,
    data_fingerprint: str | None = None,
    slice_by: str = "overall",
    slice_: str = "",
    exact_match_interval: tuple[float, float] | None = None,
    f1_interval: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Return a row of METRICS_SCHEMA."""
    figures = sums.result()
    groups = {
        f"{group}_{name}": figures.get(f"{group}_{'exact' if name == 'exact_match' else name}")
        for group in ("HasAns", "NoAns")
        for name in _FIGURES
    }
    if not sums.total - sums.has_answer_total:
        groups |= {f"HasAns_{name}": figures[name] for name in _FIGURES}
    return {
        "run_id": run_id,
        "created_at": created_at,
        "model_fingerprint": model_fingerprint,
        "data_fingerprint": data_fingerprint,
        "scorer": scorer,
        "slice_by": slice_by,
        "slice": slice_,
        "total": sums.total,
        "missing": sums.missing,
        "exact_match": figures["exact_match"],
        "f1": figures["f1"],
        **dict(zip(("exact_match_low", "exact_match_high"), exact_match_interval or (None, None), strict=True)),
        **dict(zip(("f1_low", "f1_high"), f1_interval or (None, None), strict=True)),
        **groups,
    }

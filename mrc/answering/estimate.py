"""What a dry run tells: the plan in words, and how long it would take by the speed of this machine on a few rows."""

import time
from dataclasses import replace

from mrc.answering.plan import Plan
from mrc.answering.progress import duration
from mrc.answering.work import Order, load_reader, read_and_window, work_of
from mrc.tasks import cores_here

_ROWS = 64


def estimate(plan: Plan) -> str:
    """Describe a plan, and answer its first rows to tell how fast this machine is."""
    first = replace(plan.units[0], stop=min(plan.units[0].stop, plan.units[0].start + _ROWS))
    work = work_of(plan)
    reader = load_reader(work)
    texts, windows = read_and_window(work, Order(first))
    began = time.perf_counter()
    reader.read_located(windows, len(texts.examples))
    per_s = len(texts.examples) / (time.perf_counter() - began)
    files = len({unit.source for unit in plan.units})
    lines = [
        f"input     {plan.num_questions:,} questions in {len(plan.units):,} units of {files:,} sources",
        *(f"left out  {url}: {error}" for url, error in plan.bad_files.items()),
        f"model     {plan.config.model} ({plan.settings['model_fingerprint']})",
        f"windows   {plan.window.max_seq_length} tokens, {plan.window.doc_stride} of overlap; the first "
        f"{len(texts.examples):,} questions have {len(windows):,}, and {len(texts.rejects):,} rows are rejected",
        f"output    {plan.config.output}",
    ]
    if per_s:
        lines.append(
            f"estimate  {duration(plan.num_questions / per_s)} at {per_s:,.1f} questions/s of this process on "
            f"{cores_here()} cores; a cluster that is faster takes as many times less"
        )
    return "\n".join(lines)

"""Score answers against gold on a Ray cluster: EM and F1 with intervals, slices, a baseline, a table and a report.

python jobs/evaluate.py --predictions out/answers --references data/dev.json --output out/evaluations
python jobs/evaluate.py --model out/korquad/model --input data/dev.json --baseline last --fail_if_drop 0.5
ray job submit --working-dir . -- python jobs/evaluate.py --predictions s3://bucket/answers \
    --references 's3://bucket/gold/*.parquet' --output s3://bucket/evaluations
"""

from mrc.launch import parse_configs, run_job, start_ray


def main() -> None:
    """Read the config, check it, evaluate, say what was found, and hold it against the gate."""
    from mrc.evaluation import CONFIGS, check_gate, prepare, run, summary
    from mrc.report import render

    job = prepare(*parse_configs(CONFIGS, str(__doc__)))
    start_ray()
    found = run(job, render)
    print(summary(found, job.config.output))
    check_gate(found, job.config.metric, job.config.fail_if_drop)


if __name__ == "__main__":
    run_job(main)

"""Answer questions in bulk on a Ray cluster, each exactly once: Parquet in, Parquet out.

python jobs/answer.py --model out/korquad/model --input data/questions.parquet --output out/answers
ray job submit --working-dir . -- python jobs/answer.py --config jobs/answer.yaml --output s3://bucket/answers
"""

from mrc.launch import parse_configs, run_job, start_ray


def main() -> None:
    """Read the config, check it, answer, and say where everything is."""
    from mrc.answering import CONFIGS, estimate, plan, run, summary

    planned = plan(*parse_configs(CONFIGS, str(__doc__)))
    if planned.config.dry_run:
        print(estimate(planned))
        return
    print(summary(run(planned, start_ray)))


if __name__ == "__main__":
    run_job(main)

"""Fine-tune a reader for extractive question answering on a Ray cluster, and leave a Hugging Face model folder.

python jobs/train.py --config jobs/train.yaml --learning_rate 3e-5 --output out/korquad
ray job submit --working-dir . -- python jobs/train.py --config jobs/train.yaml --output s3://bucket/korquad
"""

from functools import partial

from mrc.launch import parse_configs, run_job, start_ray


def main() -> None:
    """Read the config, check it, train, and say where everything is."""
    from mrc.training import CONFIGS, check_cluster, plan, run, summary

    planned = plan(*parse_configs(CONFIGS, str(__doc__)))
    print(summary(run(planned, partial(start_ray, partial(check_cluster, planned.train)))))


if __name__ == "__main__":
    run_job(main)

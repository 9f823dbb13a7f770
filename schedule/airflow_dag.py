"""The evaluation every night by Airflow 3, on a running Ray cluster: nightly.sh in a BashOperator.

Airflow's workers need bash, a checkout of this project at CHECKOUT, and `ray` of the cluster's version (its .venv will
do). Link or copy this file into Airflow's folder of DAGs. For Airflow 2, import DAG from `airflow` and BashOperator from
`airflow.operators.bash`, and take the date of the interval's end: "{{ data_interval_end | ds }}".

A task fails with each exit code but 0, and its log ends with the evaluation's: "exit code 3" is the gate.

(RaySubmitJobOperator of Airflow's Google provider submits to any Ray cluster too, and has a submission_id, but needs that
provider; astro-provider-ray is discontinued.)
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

CHECKOUT = "/opt/mrc"
RAY_API_SERVER_ADDRESS = "http://HEAD:8265"
COMMAND = (
    "schedule/nightly.sh --model s3://bucket/korquad/model --input 's3://bucket/dev/*.parquet' "
    "--output s3://bucket/evaluations --baseline last --fail_if_drop 0.5"
)

with DAG(
    dag_id="mrc_evaluation",
    schedule="30 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,  # a past night cannot be evaluated: the model and the data are today's
    max_active_runs=1,
):
    BashOperator(
        task_id="evaluate",
        bash_command=COMMAND,
        cwd=CHECKOUT,
        env={"RAY_API_SERVER_ADDRESS": RAY_API_SERVER_ADDRESS, "NIGHT": "{{ ds }}"},
        append_env=True,
        # Finds the job of the first try: it goes on waiting after a worker of Airflow died, and repeats a failure without
        # evaluating anything again.
        retries=1,
        retry_delay=timedelta(minutes=5),
    )

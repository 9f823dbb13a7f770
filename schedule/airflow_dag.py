"""The evaluation every night by Airflow 3, on a running Ray cluster: nightly.sh in a BashOperator.

Airflow's workers need bash, a checkout of this project at CHECKOUT, and `ray` of the cluster's version: that of the
checkout's .venv will do. Put this file into Airflow's folder of DAGs. For Airflow 2, import DAG from `airflow` and
BashOperator from `airflow.operators.bash`, and let NIGHT be the end of the interval: "{{ data_interval_end | ds }}".

The task fails with every exit code but 0, and its log ends with that of the evaluation, after "exit code 3" where the
gate said no.

RaySubmitJobOperator of Airflow's Google provider submits to any Ray cluster too, and takes a submission_id, but brings
that whole provider; astro-provider-ray is discontinued.
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
        # The second try finds the job of the first: it goes on waiting where a worker of Airflow died, and tells a
        # failure once more without evaluating anything. To evaluate a failed night again, add "ATTEMPT": "2" to env.
        retries=1,
        retry_delay=timedelta(minutes=5),
    )

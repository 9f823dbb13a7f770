#!/usr/bin/env bash
# One night's evaluation on a running Ray cluster, for cron. The flags are those of jobs/evaluate.py, without --run_id:
#
#   MAILTO=you@example.org
#   RAY_API_SERVER_ADDRESS=http://HEAD:8265
#   30 2 * * *  mrc/schedule/nightly.sh --model s3://bucket/korquad/model --input 's3://bucket/dev/*.parquet' --output s3://bucket/evaluations --baseline last --fail_if_drop 0.5
#
# A crontab wants each entry on one line, and ends a command at a bare %, which is why the date is found in here.
#
# Exit codes are those of the evaluation: 0 done, 1 failed, stopped or out of reach, 2 refused as asked, 3 the gate said
# no. It prints nothing after 0, so that cron mails nothing, and the end of the job's log after any other.
#
#   NIGHT     run id, and part of the job's name; default: today in UTC
#   ATTEMPT   runs a failed night again, under a job name of its own: ATTEMPT=2 schedule/nightly.sh ...
set -euo pipefail

if [[ -z ${RAY_API_SERVER_ADDRESS:-} ]]; then
    echo "RAY_API_SERVER_ADDRESS is not set: give the URL of the cluster's job server, such as http://HEAD:8265" >&2
    exit 2
fi
night=${NIGHT:-$(date -u +%F)}
id=eval-$night${ATTEMPT:+-$ATTEMPT}
ended="Job '$id' (succeeded|failed|was stopped)"
exited="Status message: Job entrypoint command failed with exit code ([0-9]+)"

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# The PATH of cron is short.
command -v ray >/dev/null || PATH=$PWD/.venv/bin:$PATH

job() {
    ray job "$1" --address "$RAY_API_SERVER_ADDRESS" --log-color false "${@:2}" 2>&1
}

output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT

# Ray refuses a name that it has seen. So a second start of the same night submits nothing: it waits for the job of the
# first, and tells how that ended.
job submit --submission-id "$id" --working-dir . --no-wait -- \
    python jobs/evaluate.py --run_id "$night" "$@" >"$output/submit" || true

# `ray job submit` would wait too, but ends with 1 for every failure and with 0 for a job that was stopped. `ray job
# status` has the exit code in its message.
while true; do
    job logs --follow "$id" >"$output/log" || true # ends early where the connection is lost
    if ! status=$(job status "$id"); then
        echo "$id: the job server at $RAY_API_SERVER_ADDRESS does not tell how it is"
        cat "$output/submit"
        exit 1
    fi
    # What was printed by the job is in the status too, after these words of Ray's: the first match is Ray's own.
    [[ $status =~ $ended ]] && break
    sleep 60
done

outcome=${BASH_REMATCH[1]}
code=1
if [[ $outcome == succeeded ]]; then
    code=0
elif [[ $outcome == failed && $status =~ $exited && ${BASH_REMATCH[1]} =~ ^[23]$ ]]; then
    code=${BASH_REMATCH[0]}
fi
if ((code != 0)); then
    echo "$id $outcome, exit code $code; its log ends with:"
    tail -n 40 "$output/log"
fi
exit "$code"

# shellcheck shell=bash
# Sourced by the job scripts: what Ray reads.

export RAY_USAGE_STATS_ENABLED=0
# A node that is to end would wait for trainings to leave it, which they do not; Slurm kills it after as many seconds.
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0

# Ray does nothing for those who lack the token. It is passed on in the environment, which nobody else can read, and
# never on a command line.
export RAY_AUTH_MODE=token
if [[ -z ${RAY_AUTH_TOKEN:-} ]]; then
    token=$HOME/.ray/auth_token
    (
        umask 077
        mkdir -p "${token%/*}"
        if [[ ! -s $token ]]; then
            # Of jobs that start at once one makes it; the others take that.
            new=$token.$SLURM_JOB_ID
            od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$new"
            ln "$new" "$token" 2>/dev/null || true
            rm "$new"
        fi
        chmod 600 "$token"
    )
    RAY_AUTH_TOKEN=$(<"$token")
fi
export RAY_AUTH_TOKEN

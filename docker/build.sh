#!/bin/sh
# The steps of the image's build, for a bare Debian of the release that the Dockerfile names. Each step cleans up after
# itself; the Dockerfile runs them one by one, so that an unchanged one is not run again.
#
#   build.sh system     Python, what wheels need of the system (libgomp: llama.cpp), and a user without rights
#   build.sh packages   what voiceagent needs to serve every channel, as locked in $SOURCE/docker/requirements.lock
#   build.sh project    voiceagent itself, from $SOURCE
#   build.sh models     the models into /models, unless MODELS=mounted
set -eu

SOURCE="${SOURCE:-/src}"
MODELS="${MODELS:-baked}"
APP=/app
USER_ID=10001

system() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends ca-certificates libgomp1 python3 python3-venv >/dev/null
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb
    useradd --uid "$USER_ID" --user-group --home-dir /data --no-create-home --shell /usr/sbin/nologin voiceagent
    install -d -o voiceagent -g voiceagent -m 0700 /data
    install -d -m 0755 /config /models
    python3 -m venv "$APP"
}

# The lock is complete, so nothing is resolved; what has another hash than the lock's is refused.
packages() {
    "$APP/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
        -r "$SOURCE/docker/requirements.lock"
}

project() {
    "$APP/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation \
        "$SOURCE/client" "$SOURCE"
    "$APP/bin/python" -m pip check
}

models() {
    case "$MODELS" in
        baked) HOME=/tmp PIP_NO_CACHE_DIR=1 "$APP/bin/voiceagent" models fetch --dir /models ;;
        mounted) ;;
        *) echo "MODELS is baked or mounted, not $MODELS" >&2; exit 2 ;;
    esac
}

for step in "$@"; do
    case "$step" in
        system | packages | project | models) "$step" ;;
        *) echo "there is no step $step" >&2; exit 2 ;;
    esac
done

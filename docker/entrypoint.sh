#!/bin/sh
# Serves with /config/agent.toml, where one is mounted. `docker run IMAGE voiceagent …` runs any other command instead.
set -eu
if [ "${1:-}" = voiceagent ]; then
    exec "$@"
fi
if [ -f /config/agent.toml ]; then
    set -- --config /config/agent.toml "$@"
fi
exec voiceagent serve "$@"

#!/usr/bin/env bash
# `make demo` on empty environments: with the pip that each interpreter brings, and with the newest pip, on every Python
# from 3.11 to 3.14 that this machine has. The first interpreter holds the whole demo, the others install and look.
set -euo pipefail
cd "$(dirname "$0")/.."

# Keys would let the demo's server choose another engine.
unset OPENAI_API_KEY OPENAI_BASE_URL
folder=out/first-command
rm -rf "$folder" && mkdir -p "$folder"
trap 'rm -rf "$folder"' EXIT

# The interpreter of that version: on the path, or one of pyenv's (whose names on the path may lead nowhere).
find_python() {
    local found
    for found in "$(command -v "python$1" || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python3; do
        if [ -x "$found" ] && "$found" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "$found"
            return
        fi
    done
}

full=yes
for version in 3.11 3.12 3.13 3.14; do
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        echo "== Python $version: skipped, there is none on this machine"
        continue
    fi
    for pip in stock newest; do
        venv="$folder/$version-$pip"
        "$python" -m venv "$venv"
        if [ "$pip" = newest ]; then
            "$venv/bin/python" -m pip install --quiet --upgrade pip
        fi
        echo "== $("$python" --version), $("$venv/bin/python" -m pip --version | cut -d' ' -f1,2) ($pip)"
        if [ "$full" = yes ]; then
            make --no-print-directory PYTHON="$python" VENV="$venv" demo
        else
            make --no-print-directory PYTHON="$python" VENV="$venv" models >"$folder/log" || { cat "$folder/log"; exit 1; }
            "$venv/bin/voiceagent" doctor >"$folder/log" || { cat "$folder/log"; exit 1; }
        fi
        if "$venv/bin/python" -c 'import pytest' 2>/dev/null; then
            echo "a test tool is installed: requirements.lock is not what make demo installed" >&2
            exit 1
        fi
        rm -rf "$venv"
    done
    full=no
done
if [ "$full" = yes ]; then
    echo "there is no Python from 3.11 to 3.14 on this machine" >&2
    exit 1
fi

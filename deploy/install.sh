#!/usr/bin/env bash
# install.sh FOLDER REQUIREMENTS: makes the virtual environment when it is missing or half made, then installs exactly
# what the file pins. Needs bash, one Python 3.11 or newer that can make environments, and a package index.
set -euo pipefail
folder=$1
requirements=$2

# 1. The first Python that is new enough and can make an environment that holds pip.
find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    for candidate in python3.11 python3.12 python3.13 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$(command -v "$candidate") cannot make a virtual environment here." >&2
            echo "On Debian or Ubuntu:  apt-get install python3-venv" >&2
            return 1
        fi
    done
    echo "Taem needs Python 3.11 or newer, and found none." >&2
    echo "On Debian or Ubuntu:  apt-get install python3 python3-venv" >&2
    return 1
}

# 2. An environment is sound when its Python starts, its pip answers and no installation was cut short in it.
if [ -e "$folder/.installing" ] || ! "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    echo "Making $folder with $python"
    mkdir -p "$folder"
    touch "$folder/.installing"
    "$python" -m venv --clear "$folder"
fi

# 3. Only what the file names, each file checked against its hash. Compiling all of it beforehand would take a third of
#    the time, and most of it is never imported: what is, is compiled then, once.
touch "$folder/.installing"
echo "Installing $requirements (the first time takes a minute or two)"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-compile --require-hashes --requirement "$requirements"
rm -f "$folder/.installing"

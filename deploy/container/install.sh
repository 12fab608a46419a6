#!/bin/sh
# install.sh REQUIREMENTS [PIP ARGUMENTS]: make /opt/lanner, with the packages of a file of hashed pins, the wheels in
# /wheels and the health check.
set -eu
requirements=$1
shift
python3 -m venv --without-pip /opt/lanner
pip() { /tools/bin/pip --python /opt/lanner/bin/python install --no-cache-dir --no-compile --no-deps "$@"; }
pip --require-hashes --requirement "$requirements"
pip --no-index /wheels/*.whl
if [ $# -gt 0 ]; then pip "$@"; fi
for name in ready verify; do install -m 755 /container/$name.py /opt/lanner/bin/lanner-$name; done
mkdir -p /opt/lanner/share

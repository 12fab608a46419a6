#!/bin/sh
# tritonserver.sh [ARGUMENTS]: make the image localhost/tritonserver:bookworm with the server of a wheel, as a base for the
# image of Triton where NVIDIA's is not reached. It needs localhost/debian:bookworm, which debian.sh makes.
# Arguments go to buildah.
set -eu
cd "$(dirname "$0")/../.."
buildah build --format docker --layers --file deploy/container/Containerfile.tritonserver \
	--tag localhost/tritonserver:bookworm "$@" .

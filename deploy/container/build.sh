#!/bin/sh
# build.sh TARGET [ARGUMENTS]: build an image with docker, podman or buildah, whichever is there.
# Arguments go to the builder, for example --build-arg BASE=docker.io/library/debian:12-slim@sha256:...
set -eu
cd "$(dirname "$0")/../.."
target=$1
shift
case $target in
service) name=lanner ;;
exporter | triton) name=lanner-$target ;;
*)
	echo "error: there is no image $target: use service, exporter or triton" >&2
	exit 2
	;;
esac
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' runtime/lanner/_version.py)
set -- --file deploy/container/Containerfile --target "$target" --tag "$name:$version" "$@" .
# Only the format of docker keeps a health check.
for builder in docker podman buildah; do
	$builder info >/dev/null 2>&1 || continue # also a docker without its daemon is none
	case $builder in
	docker) exec docker build "$@" ;;
	podman) exec podman build --format docker "$@" ;;
	buildah) exec buildah build --format docker --layers "$@" ;;
	esac
done
echo "error: there is no docker, podman or buildah: install one (Debian: apt-get install buildah)" >&2
exit 1

#!/bin/sh
# build.sh TARGET [ARGUMENTS]: build an image with docker, podman or buildah, whichever is there, print its size, and write
# its bill of materials to build/container.
# Arguments go to the builder, for example --build-arg BASE=docker.io/library/debian:12-slim@sha256:...
set -eu
cd "$(dirname "$0")/../.."
target=$1
shift
case $target in
service) name=lanner argument=BASE ;;
exporter) name=lanner-exporter argument=BASE ;;
triton) name=lanner-triton argument=TRITON_BASE ;;
*)
	echo "error: there is no image $target: use service, exporter or triton" >&2
	exit 2
	;;
esac
base=$(sed -n "s/^ARG $argument=//p" deploy/container/Containerfile)
for word in "$@"; do
	case $word in
	"$argument="*) base=${word#*=} ;;
	"--build-arg=$argument="*) base=${word#*=*=} ;;
	esac
done
case $base in
*@sha256:* | localhost/*) ;; # what was made here cannot be replaced by others
*)
	echo "warning: the base $base has no digest, and its tag can move: pin it with" \
		"--build-arg $argument=$base@sha256:... (docs/guide/containers.md says where to find the digest)" >&2
	;;
esac
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' runtime/lanner/_version.py)
image=$name:$version
set -- --file deploy/container/Containerfile --target "$target" --tag "$image" "$@" .
# Only the format of docker keeps a health check.
for builder in docker podman buildah none; do
	# also a docker without its daemon is none
	[ $builder = none ] || $builder info >/dev/null 2>&1 && break
done
case $builder in
docker) docker build "$@" ;;
podman) podman build --format docker "$@" ;;
buildah) buildah build --format docker --layers "$@" ;;
none)
	echo "error: there is no docker, podman or buildah: install one (Debian: apt-get install buildah)" >&2
	exit 1
	;;
esac
bill=build/container/$name-$version.cdx.json
mkdir -p build/container
if [ $builder = buildah ]; then
	container=$(buildah from --pull-never "localhost/$image")
	trap 'buildah rm "$container" >/dev/null' EXIT
	root=$(buildah mount "$container") # needs root, or a shell of 'buildah unshare'
	cp "$root/opt/lanner/share/sbom.cdx.json" "$bill"
	size=$(du --summarize --bytes "$root" | cut -f 1)
else
	container=$($builder create "$image" none)
	trap '$builder rm "$container" >/dev/null' EXIT
	$builder cp "$container:/opt/lanner/share/sbom.cdx.json" "$bill"
	size=$($builder image inspect --format '{{.Size}}' "$image")
fi
echo "$image: $((size / 1000000)) MB; its bill of materials: $bill"

#!/bin/sh
# debian.sh [SUITE]: make the image localhost/debian:SUITE of Debian's packages, as a base where no registry is reached.
# Needs root, mmdebstrap and buildah (Debian: apt-get install mmdebstrap buildah).
set -eu
suite=${1:-bookworm}
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
sources=/etc/apt/sources.list.d/debian.sources
[ -f $sources ] || sources=/etc/apt/sources.list
mmdebstrap --quiet --variant=essential --include=apt,usr-is-merged \
	--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
	--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-include=/usr/share/doc/*/copyright' \
	"$suite" "$directory/root.tar" "$sources"
printf 'FROM scratch\nADD root.tar /\nCMD ["/bin/sh"]\n' >"$directory/Containerfile"
buildah build --quiet --format docker --tag "localhost/debian:$suite" "$directory"

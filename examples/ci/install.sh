#!/bin/sh
# Installs process-tracer from the files of a release, and checks the checksum.
#
# usage: PROCESS_TRACER_RELEASE=URL install.sh [FOLDER]
#
# URL is the address of the files, for example https://github.com/OWNER/process-tracer/releases/download/v0.2.0
# FOLDER must be in PATH. The default is /usr/local/bin.
set -eu
if command -v process-tracer >/dev/null; then
    exit 0 # an image can have it already
fi
folder=${1:-/usr/local/bin}
release=${PROCESS_TRACER_RELEASE:?it must be the address of the files of a release}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fetch() {
    curl --fail --silent --show-error --location --output "$work/$1" "$release/$1"
}

# The static program also runs without glibc, for example on Alpine.
kind=gnu
for loader in /lib/ld-musl-*; do
    [ ! -e "$loader" ] || kind=static
done
fetch SHA256SUMS
line=$(grep -- "-$(uname -m)-linux-$kind\.tar\.gz\$" "$work/SHA256SUMS")
archive=${line##*[ *]}
fetch "$archive"
(cd "$work" && echo "$line" | sha256sum -c - >/dev/null)
tar -xzf "$work/$archive" -C "$work"

sudo=
[ -w "$folder" ] || sudo=sudo
$sudo install "$work/${archive%.tar.gz}/process-tracer" "$folder/process-tracer"

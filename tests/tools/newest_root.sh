#!/usr/bin/env bash
# Makes a tree of Debian's newest suite: the newest QEMU, the newest original library and its headers, to run unmodified
# modern hosts on the library under test. Packages are unpacked, nothing is installed: no root, no chroot, removed by `rm`.
#   newest_root.sh DIR [MORE PACKAGES...]
# Programs of the tree are started by DIR/run, on the tree's own libraries, those of LIBDIR before them:
#   SPICE_LIB_DIR=LIBDIR DIR/run qemu-system-x86_64 -nodefaults -device qxl-vga -spice port=5930,addr=127.0.0.1,disable-ticketing=on
# Without SPICE_LIB_DIR the same command runs on the original. Takes half a minute and 500 MB; fails when the mirror, that
# of this machine's apt, lacks the suite. A tree that is there already is left alone: remove it to get newer packages.
set -euo pipefail
dir=$(realpath -m "${1:?usage: newest_root.sh DIR [PACKAGES]}")
shift
packages=(qemu-system-x86 qemu-system-modules-spice qemu-system-modules-opengl seabios ipxe-qemu
    libspice-server1 libspice-server-dev libspice-protocol-dev "$@")
suite=${NEWEST_SUITE:-sid}
# Complete trees have this file, with what they were made of.
[ "$(cat "$dir/packages" 2>/dev/null)" = "$suite ${packages[*]}" ] && exit 0

mirror=${NEWEST_MIRROR:-$(grep -hoP '^URIs: \K\S+' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -1 || true)}
[ -n "$mirror" ] || mirror=$(grep -hoP '^deb (\[[^]]*\] )?\K\S+' /etc/apt/sources.list 2>/dev/null | head -1 || true)
[ -n "$mirror" ] || { echo "newest_root.sh: apt's sources name no mirror" >&2; exit 1; }

rm -rf "$dir"
mkdir -p "$dir"/apt/{state/lists/partial,cache/archives/partial,parts}
# apt with a world of its own, in which no package is installed yet.
: >"$dir/apt/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$dir/apt/sources.list"
apt() {
    apt-get -qq -o Dir::State="$dir/apt/state" -o Dir::State::status="$dir/apt/status" -o Dir::Cache="$dir/apt/cache" \
        -o Dir::Etc::SourceList="$dir/apt/sources.list" -o Dir::Etc::SourceParts="$dir/apt/parts" \
        -o APT::Sandbox::User= -o APT::Install-Recommends=false -o Acquire::Languages=none \
        -o Acquire::Check-Valid-Until=false -o Acquire::Check-Date=false -o Acquire::Retries=5 -o APT::Update::Error-Mode=any -o Debug::NoLocking=true "$@"
}
apt update >"$dir/apt/log" 2>&1 || { tail -3 "$dir/apt/log" >&2; exit 1; }
apt install -y --download-only "${packages[@]}" >"$dir/apt/log" 2>&1 || { tail -3 "$dir/apt/log" >&2; exit 1; }
# The directories that are links into /usr in every Debian system.
mkdir -p "$dir"/usr/{bin,sbin,lib,lib64}
for name in bin sbin lib lib64; do ln -s "usr/$name" "$dir/$name"; done
for package in "$dir"/apt/cache/archives/*.deb; do dpkg -x "$package" "$dir"; done

libraries=$dir/usr/lib/$(dpkg-architecture -q DEB_HOST_MULTIARCH 2>/dev/null || gcc -print-multiarch)
cat >"$dir/run" <<RUN
#!/bin/sh
# Starts a program of this tree, or any other by its path, on the tree's libraries.
case \$1 in */*) program=\$1 ;; *) program=$dir/usr/bin/\$1 ;; esac
shift
export QEMU_MODULE_DIR=$libraries/qemu
case \$program in */qemu-system-*) set -- -L $dir/usr/share/qemu -L $dir/usr/share/seabios -L $dir/usr/lib/ipxe/qemu "\$@" ;; esac
exec $libraries/ld-linux-x86-64.so.2 --library-path "\${SPICE_LIB_DIR:+\$SPICE_LIB_DIR:}$libraries:$libraries/pulseaudio" "\$program" "\$@"
RUN
chmod +x "$dir/run"
rm -rf "$dir/apt/cache" "$dir/apt/state"
echo "$suite ${packages[*]}" >"$dir/packages"

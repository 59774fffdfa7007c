#!/bin/bash
# SPDX-License-Identifier: MIT
# Finds a kernel among Debian's packages and unpacks its image into a cache.
# Nothing is installed, and apt's own state is left alone: no root is needed.
# Called by tools/kmatrix.sh: tools/kmatrix-kernel.sh ARCH SERIES [FLAVOUR]
#
# ARCH is x86_64 or aarch64. SERIES is like 6.12, or "newest", or "busybox": not
# a kernel, but the programs that tests start. FLAVOUR is cloud, the default, or
# 16k (aarch64: pages of 16 KiB). Prints two lines, the name of the package and
# the path of its image; where there is none, why, on stderr,
# and the status is 1. KMATRIX_MIRROR is the archive, by default the one that
# the system's apt uses; KMATRIX_CACHE a folder, by default among the user's.
set -u -o pipefail

case $1 in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) arch=$1 ;;
esac
series=$2 flavour=${3:-cloud}
cache=${KMATRIX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/zsync-kmatrix}
file=vmlinuz
pattern='*/vmlinuz*'
case $series in
busybox)
	suite=bookworm file=busybox
	pattern='*/bin/busybox'
	;;
5.10) suite=bullseye ;;
6.1) suite=bookworm ;;
6.12) suite=trixie ;;
*) suite=trixie-backports ;;
esac
case $flavour in
cloud) tail=-cloud-$arch ;;
*) tail=-$arch-$flavour ;;
esac

die()
{
	printf '%s\n' "$*" >&2
	exit 1
}

for tool in apt-get apt-cache dpkg-deb flock; do
	command -v $tool >/dev/null || die "there is no $tool here"
done
mkdir -p "$cache/kernels" && exec 9>"$cache/lock" && flock 9 ||
	die "the cache $cache cannot be written"
log=$cache/log

mirror()
{
	local format='$(REPO_URI)'
	[ -z "${KMATRIX_MIRROR:-}" ] || { echo "$KMATRIX_MIRROR"; return; }
	apt-get indextargets --format "$format" 'Created-By: Packages' |
		grep -E '/debian/?$' | head -n 1
}

# A root of its own for apt, one a suite and architecture. Of the system's
# configuration its proxy counts, but not its sources, lists, pins and hooks.
configure()
{
	local root=$cache/apt/$suite-$arch uri key=
	conf=$root/apt.conf
	uri=$(mirror)
	[ -n "$uri" ] || die "no archive of Debian is known: set KMATRIX_MIRROR"
	for key in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp} ''; do
		[ ! -e "$key" ] || break
	done
	mkdir -p "$root/lists/partial" "$root/archives/partial"
	: >"$root/status"
	echo "deb ${key:+[signed-by=$key] }$uri $suite main" >"$root/sources"
	cat >"$conf" <<-END
	Dir::Etc::SourceList "$root/sources";
	Dir::Etc::SourceParts "/dev/null";
	Dir::Etc::Preferences "/dev/null";
	Dir::Etc::PreferencesParts "/dev/null";
	Dir::State "$root";
	Dir::State::Status "$root/status";
	Dir::Cache "$root";
	APT::Architecture "$arch";
	#clear APT::Architectures;
	APT::Architectures "$arch";
	APT::Sandbox::User "$(id -un)";
	Acquire::Languages "none";
	Acquire::Retries "2";
	Acquire::Check-Valid-Until "false";
	#clear APT::Update;
	#clear Acquire::IndexTargets::deb::DEP-11;
	#clear Acquire::IndexTargets::deb::Contents-deb;
	END
}

# An index of a day ago will do, and one that is older is better than none.
update()
{
	local stamp=${conf%/*}/updated
	[ -z "$(find "$stamp" -mmin -1440 2>/dev/null)" ] || return 0
	if apt-get -qq -c "$conf" -o APT::Update::Error-Mode=any \
		update >"$log" 2>&1; then
		touch "$stamp"
	fi
	[ -e "$stamp" ]
}

# The packages that fit, newest first. From about 6.19 on the image is in
# linux-binary-..., and linux-image-... is empty.
candidates()
{
	local number=${series//./\\.}
	[ "$series" != busybox ] || { echo busybox-static; return; }
	[ "$series" != newest ] || number='[0-9]+\.[0-9]+'
	apt-cache -c "$conf" pkgnames linux- | sed -nE \
		"s/^linux-(image|binary)-($number\.[-+.~0-9a-z]+)$tail\$/\2 \1/p" |
		grep -vE '^[^ ]*-(rt|cloud|unsigned) ' |
		sort -k 1,1Vr -k 2,2 |
		awk -v tail="$tail" '!seen[$1]++ {
			print "linux-" $2 "-" $1 tail }'
}

# unpack PACKAGE VERSION FOLDER
unpack()
{
	local new=$cache/kernels/new
	rm -rf "$new" && mkdir "$new" || return
	(cd "$new" && apt-get -qq -c "$conf" download "$1=$2") >"$log" 2>&1 &&
		dpkg-deb --fsys-tarfile "$new"/*.deb | tar -xf - -C "$new" \
			--wildcards "$pattern" 2>>"$log"
	find "$new" -type f -path "$pattern" -exec mv {} "$new/$file" \;
	if [ -s "$new/$file" ]; then
		mkdir -p "$3" && mv "$new/$file" "$3/$file"
	fi
	rm -rf "$new"
	[ -s "$3/$file" ]
}

# The archive may no longer have what its index names: then the one before it.
why="no package of Linux $series, $flavour, in Debian's $suite"
last=$cache/kernels/last-$arch-$series-$flavour
configure
if update; then
	for package in $(candidates | head -n 3); do
		version=$(apt-cache -c "$conf" show "$package" |
			sed -n 's/^Version: //p' | sort -V | tail -n 1)
		name=${package}_${version#*:}
		[ "$series" != busybox ] || name=${name}_$arch
		folder=$cache/kernels/$name
		if [ -s "$folder/$file" ] ||
		   unpack "$package" "$version" "$folder"; then
			printf '%s\n' "$name" "$folder/$file" | tee "$last"
			exit
		fi
		why="$package cannot be downloaded: $(tail -n 1 "$log")"
	done
else
	why="no index of Debian's $suite: $(tail -n 1 "$log")"
fi
[ -s "$last" ] && [ -s "$(tail -n 1 "$last")" ] || die "$why"
cat "$last"

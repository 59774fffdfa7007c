#!/bin/sh
# SPDX-License-Identifier: MIT
# Finds Check, the unit test library, for the compiler in $CC; installs it where
# it is missing. The Makefile calls it once a configuration, before the first
# test is compiled: tools/install-check.sh OUT
#
# Leaves the compiler's arguments in OUT.cflags and OUT.libs. There is no
# pkg-config here: a test program that links is the only proof. A cross compiler
# ($CROSS_COMPILE, $ARCH) gets Debian's package for its architecture, unpacked
# into OUT.sysroot; the system itself is left alone, so no root is needed. For a
# libc that is not the system's (musl-gcc), Check is built from Debian's source,
# in OUT.source.
set -eu

out=$1
: "${CC:=cc}" "${CROSS_COMPILE:=}" "${ARCH:=}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

die()
{
	printf '%s\n' "$@" >&2
	exit 1
}

# links CFLAGS LIBS...: does a program that needs Check link with these?
links()
{
	# shellcheck disable=SC2086 # words, on purpose
	$CC $1 -o "$work/probe" "$work/probe.c" $2 >"$work/log" 2>&1
}

# A libc that is not the system's often comes without the kernel's headers: then
# tests get the system's, but nothing else that lies beside these.
kernel_headers()
{
	if echo '#include <linux/types.h>' | $CC -E -x c - >/dev/null 2>&1; then
		return
	fi
	mkdir -p "$out.kernel"
	ln -sfn /usr/include/linux /usr/include/asm-generic "$out.kernel"
	ln -sfn "/usr/include/$($CC -print-multiarch)/asm" "$out.kernel"
	echo "-isystem $out.kernel"
}

# found CFLAGS LDFLAGS: writes OUT.cflags and OUT.libs if Check is there.
# Debian's Check wants libsubunit, others are built without it.
found()
{
	for libs in "-lcheck -lsubunit -lrt -lm" "-lcheck -lrt -lm" \
		    "-lcheck -lm"; do
		if links "$1" "$2 $libs -pthread"; then
			echo "$1 $(kernel_headers)" >"$out.cflags"
			echo "$2 $libs -pthread" >"$out.libs"
			return 0
		fi
	done
	return 1
}

install_native()
{
	if command -v apt-get >/dev/null; then
		get="apt-get install -y --no-install-recommends check"
		refresh="apt-get update"
	elif command -v dnf >/dev/null; then
		get="dnf install -y check-devel"
		refresh="dnf makecache"
	elif command -v apk >/dev/null; then
		get="apk add check-dev"
		refresh="apk update"
	elif command -v pacman >/dev/null; then
		get="pacman -S --noconfirm --needed check"
		refresh="pacman -Sy"
	else
		die "The tests need Check (https://libcheck.github.io/check/)," \
		    "and this system has none of apt-get, dnf, apk, pacman:" \
		    "install it, then run make check again."
	fi
	root=
	if [ "$(id -u)" != 0 ]; then
		root=sudo
		if ! command -v sudo >/dev/null ||
		   { ! sudo -n true 2>/dev/null && ! [ -t 0 ]; }; then
			die "The tests need Check. As root:" \
			    "    $refresh && $get"
		fi
	fi
	echo "The tests need Check: ${root:+$root }$get"
	export DEBIAN_FRONTEND=noninteractive
	# The package lists of a fresh machine are missing or old.
	$root $get >"$work/log" 2>&1 ||
		{ $root $refresh && $root $get; } >"$work/log" 2>&1 ||
		die "$(tail -n 15 "$work/log")" "" "That failed. As root:" \
		    "    $refresh && $get"
}

# apt-get with a package database of its own in the folder $apt: nothing is
# installed, $1 is the one architecture.
own_apt()
{
	debian=$1
	shift
	apt-get -o APT::Architecture="$debian" -o APT::Architectures="$debian" \
		-o Dir::State="$apt" -o Dir::State::status="$apt/status" \
		-o Dir::Cache="$apt/cache" -o Debug::NoLocking=true \
		-o APT::Sandbox::User="$(id -un)" "$@"
}

# make_apt FOLDER: sets $apt for own_apt().
make_apt()
{
	case $1 in
	/*) apt=$1/apt ;;
	*) apt=$PWD/$1/apt ;;
	esac
	rm -rf "$1"
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
	: >"$apt/status"
}

install_cross()
{
	case $ARCH in
	aarch64) debian=arm64 ;;
	*) debian=$ARCH ;;
	esac
	command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
		die "The tests need Check for $ARCH. Only on Debian and its like" \
		    "can this be arranged for; elsewhere: make check CC='$CC" \
		    "--sysroot=...' with a sysroot that has it."
	echo "The tests need Check for $ARCH: unpacking it in $out.sysroot"
	make_apt "$out.sysroot"
	(
		cd "$out.sysroot"
		own_apt "$debian" update
		own_apt "$debian" download check libsubunit-dev
		for package in ./*.deb; do
			dpkg -x "$package" .
		done
	) >"$work/log" 2>&1 || die "$(tail -n 15 "$work/log")" \
		"Check for $ARCH could not be fetched."
	rm -rf "$apt" "$out.sysroot"/*.deb
}

has_other_libc()
{
	echo '#include <features.h>' | $CC -E -dM -x c - 2>/dev/null |
		grep -q __GLIBC__ && return 1
	command -v apt-get >/dev/null && command -v dpkg >/dev/null
}

# What every libc of Linux has, so that no configure script need ask.
write_config()
{
	cat <<-END
	#define _GNU_SOURCE 1
	#define ENABLE_SUBUNIT 0
	#define ENABLE_REGEX 1
	END
	for name in DECL_ALARM DECL_LOCALTIME_R DECL_STRDUP DECL_STRSIGNAL \
		    FORK GETLINE GETTIMEOFDAY LIBRT MALLOC MKSTEMP PTHREAD \
		    REALLOC REGEX_H SIGACTION SNPRINTF STDARG_H STDINT_H \
		    STRUCT_ITIMERSPEC_IT_INTERVAL STRUCT_ITIMERSPEC_IT_VALUE \
		    STRUCT_TIMESPEC_TV_NSEC STRUCT_TIMESPEC_TV_SEC SYS_TIME_H \
		    SYS_WAIT_H UNISTD_H VSNPRINTF; do
		echo "#define HAVE_$name 1"
	done
}

# Debian's mirror is known to apt, which the binary packages come by.
fetch_source()
{
	apt-get indextargets --format 'deb-src $(REPO_URI) $(CODENAME) main' \
		'Created-By: Packages' | grep '/debian/* ' | head -n 1 \
		>"$apt/sources"
	own_apt "$(dpkg --print-architecture)" \
		-o Dir::Etc::SourceList="$apt/sources" \
		-o Dir::Etc::SourceParts=/dev/null update
	own_apt "$(dpkg --print-architecture)" \
		-o Dir::Etc::SourceList="$apt/sources" \
		-o Dir::Etc::SourceParts=/dev/null \
		source --download-only check
}

build_source()
{
	echo "The tests need Check for $CC: building it in $out.source"
	make_apt "$out.source"
	(
		cd "$out.source"
		fetch_source
		tar -xzf check_*.orig.tar.gz
		cd check-*/
		write_config >config.h
		$CC -w -O1 -g -DHAVE_CONFIG_H -include config.h -I. -Ilib \
			-Isrc -c src/*.c lib/libcompat.c
		mkdir ../include ../lib
		ar rcs ../lib/libcheck.a ./*.o
		cp src/check.h check_stdint.h ../include
	) >"$work/log" 2>&1 || die "$(tail -n 15 "$work/log")" \
		"Check could not be built for $CC."
	rm -rf "$apt" "$out.source"/check*
}

cat >"$work/probe.c" <<END
#include <check.h>
int main(void)
{
	return srunner_ntests_failed(srunner_create(suite_create("")));
}
END
mkdir -p "$(dirname "$out")"

if [ -n "$CROSS_COMPILE" ]; then
	usr=$out.sysroot/usr
	lib=$(find "$usr/lib" -name libcheck.a 2>/dev/null || true)
	found "" "" ||
		found "-isystem $usr/include" "-L${lib%/*}" && exit
	install_cross
	lib=$(find "$usr/lib" -name libcheck.a)
	found "-isystem $usr/include" "-L${lib%/*}" && exit
elif has_other_libc; then
	found "" "" ||
		found "-isystem $out.source/include" "-L$out.source/lib" && exit
	build_source
	found "-isystem $out.source/include" "-L$out.source/lib" && exit
else
	found "" "" && exit
	install_native
	found "" "" && exit
fi
die "$(tail -n 15 "$work/log")" "Check is installed, but does not link with $CC."

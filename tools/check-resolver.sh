#!/bin/sh
# SPDX-License-Identifier: MIT
# A static program that looks up no names is linked without getaddrinfo(), of
# which glibc's linker warns; one that does has it. Called by `make check`: CC=
# O= tools/check-resolver.sh
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/empty.c" <<END
int main(void) { return 0; }
END
cat >"$work/without.c" <<END
#include <zsync.h>
static int numeric(void *arg)
{
	return zs_tcp_connect_by(0, arg) + zs_tcp_listen(arg, 1);
}
int main(void) { return zs_run(0, numeric, 0) == 0; }
END
cat >"$work/with.c" <<END
#include <zsync.h>
static int look_up(void *arg) { return zs_tcp_connect(arg); }
int main(void) { return zs_run(0, look_up, 0) == 0; }
END

# link NAME: its symbols that have to do with names of hosts.
link()
{
	$CC -static -Iinclude -o "$work/$1" "$work/$1.c" "$O/libzsync.a" \
		-lpthread >"$work/$1.log" 2>&1 ||
		{ cat "$work/$1.log" >&2; exit 1; }
}

if ! $CC -static -o "$work/empty" "$work/empty.c" 2>/dev/null; then
	echo "  SKIP    the resolver apart: nothing can be linked statically"
	exit 0
fi
link without
link with
if [ -s "$work/without.log" ]; then
	cat "$work/without.log" >&2
	echo "The linker has something to say of a static program." >&2
	exit 1
fi
nm "$work/with" | grep -q ' T zs_tcp_connect$' ||
	{ echo "A static program has no zs_tcp_connect()." >&2; exit 1; }
if nm "$work/without" | grep -q ' zs_resolve$'; then
	echo "A program that looks up no names has zs_resolve()." >&2
	exit 1
fi

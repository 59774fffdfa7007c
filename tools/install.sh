#!/bin/sh
# SPDX-License-Identifier: MIT
# Copies what was built in $O to $DESTDIR$PREFIX. Called by `make install`, which
# sets every variable here.
set -eu

bin=$DESTDIR$BINDIR
lib=$DESTDIR$LIBDIR
include=$DESTDIR$INCLUDEDIR
share=$DESTDIR$PREFIX/share/zsync
man=$DESTDIR$MANDIR

mkdir -p "$bin" "$lib/pkgconfig" "$include/zsync" "$share"
install -m 644 include/zsync.h "$include"
install -m 644 include/zsync/*.h "$include/zsync"
install -m 644 "$O/libzsync.a" "$lib"
install -m 755 "$O/libzsync.so" "$lib/libzsync.so.$VERSION"
ln -sf "libzsync.so.$VERSION" "$lib/libzsync.so.$SOVERSION"
ln -sf "libzsync.so.$SOVERSION" "$lib/libzsync.so"
install -m 755 "$O/tools/uring-probe" "$O/bench/zsync-bench" "$bin"
install -m 644 tools/zsync-gdb.py "$share"
# Each page, and for each further name that it describes a page that is this one.
for page in doc/man/*.[0-9]; do
	section=${page##*.}
	mkdir -p "$man/man$section"
	install -m 644 "$page" "$man/man$section"
	awk '/^\.Sh / { inside = $2 == "NAME" } inside && /^\.Nm / { print $2 }' \
		"$page" | while read -r name; do
		[ "$name.$section" != "${page##*/}" ] || continue
		echo ".so man$section/${page##*/}" >"$man/man$section/$name.$section"
		chmod 644 "$man/man$section/$name.$section"
	done
done
sed -e "s|@PREFIX@|$PREFIX|; s|@LIBDIR@|$LIBDIR|" \
    -e "s|@INCLUDEDIR@|$INCLUDEDIR|; s|@VERSION@|$VERSION|" \
    zsync.pc.in >"$lib/pkgconfig/zsync.pc"
chmod 644 "$lib/pkgconfig/zsync.pc"
echo "  INSTALL $DESTDIR$PREFIX"

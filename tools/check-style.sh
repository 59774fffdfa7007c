#!/bin/sh
# SPDX-License-Identifier: MIT
# What no formatter checks: every source is named by its Kbuild and says its
# licence, files stay under 600 lines, lines within 80 columns, functions within
# 60 lines (a longer flat switch or table is a warning only). Called by `make
# lint`.
set -eu

status=0
complain()
{
	echo "$*" >&2
	status=1
}

sources=$(find src arch include test bench tools examples \
	-name '*.[chS]' -o -name '*.cc' | sort)

for file in $sources; do
	lines=$(wc -l <"$file")
	[ "$lines" -le 600 ] || complain "$file: $lines lines, the limit is 600"
	head -n 1 "$file" | grep -q 'SPDX-License-Identifier: MIT' ||
		complain "$file:1: no SPDX-License-Identifier: MIT"
	case $file in
	arch/*.S) kbuild=arch/Kbuild object=switch.o ;;
	*.c | *.cc) kbuild=${file%/*}/Kbuild object=$(basename "${file%.*}") ;;
	*) continue ;;
	esac
	# A program is named like its only object, perhaps with dashes.
	grep -qE "[ /](${object%.o}(\.o)?|$(echo "$object" | tr _ -))( |\$)" \
		"$kbuild" || complain "$file: $kbuild does not name it"
done

# shellcheck disable=SC2086 # a list of files
expand $sources /dev/null | awk 'length > 80 { exit 1 }' || {
	for file in $sources; do
		expand "$file" | awk -v file="$file" 'length > 80 {
			print file ":" NR ": " length " columns" }'
	done >&2
	status=1
}

# shellcheck disable=SC2086 # a list of files
awk '
FNR == 1 { start = 0 }
/^{/ { start = FNR }
/^}/ {
	if (start && FNR - start > 60)
		print FILENAME ":" start ": warning: a function of " \
			FNR - start " lines"
	start = 0
}' $sources >&2

grep -nE '\b(TODO|FIXME|XXX|HACK)\b' $sources >&2 && status=1
exit $status

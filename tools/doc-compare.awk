# SPDX-License-Identifier: MIT
# Is what a program wrote what its document shows?
#	awk -f tools/doc-compare.awk SHOWN WRITTEN
# Where the document shows "..." anything may stand: a line of nothing else
# means any lines. Prints the first line that differs, and then fails.

# Do the pieces between the "..." of @shown stand in @line, in that order?
function alike(shown, line,    pieces, nr, i, at)
{
	nr = split(shown, pieces, /\.\.\./)
	if (nr <= 1)
		return shown == line
	if (substr(line, 1, length(pieces[1])) != pieces[1])
		return 0
	line = substr(line, length(pieces[1]) + 1)
	for (i = 2; i < nr; i++) {
		at = index(line, pieces[i])
		if (at == 0)
			return 0
		line = substr(line, at + length(pieces[i]))
	}
	at = length(line) - length(pieces[nr]) + 1
	return at > 0 && substr(line, at) == pieces[nr]
}

FILENAME == ARGV[1] { shown[++nr_shown] = $0; next }
{ written[++nr_written] = $0 }

END {
	for (i = j = 1; i <= nr_shown; i++) {
		if (shown[i] == "...") {
			if (i == nr_shown)
				exit 0
			while (j <= nr_written && !alike(shown[i + 1], written[j]))
				j++
			continue
		}
		if (j > nr_written || !alike(shown[i], written[j])) {
			print "    shown:   " shown[i]
			print "    written: " (j <= nr_written ? written[j] : "")
			exit 1
		}
		j++
	}
	if (j <= nr_written) {
		print "    not shown: " written[j]
		exit 1
	}
}

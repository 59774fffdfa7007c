# SPDX-License-Identifier: MIT
# What a page in mdoc says of functions, a line each, for tools/check-man.sh:
#	name NAME		in its NAME section
#	prototype TYPE NAME(ARGUMENT, ...);	in its SYNOPSIS
#	see NAME SECTION	what it refers to

# The words of @line after its macro; those in quotes are one.
function words(line,    rest, nr)
{
	split("", word)
	rest = line
	sub(/^\.[A-Z][a-z] */, "", rest)
	while (rest != "") {
		if (rest ~ /^"/) {
			rest = substr(rest, 2)
			nr++
			word[nr] = substr(rest, 1, index(rest, "\"") - 1)
			rest = substr(rest, index(rest, "\"") + 1)
		} else {
			nr++
			word[nr] = rest
			sub(/ .*/, "", word[nr])
			rest = substr(rest, length(word[nr]) + 1)
		}
		sub(/^ */, "", rest)
	}
	return nr
}

function add_arguments(first, nr,    i)
{
	for (i = first; i <= nr; i++)
		arguments = arguments (arguments == "" ? "" : ", ") word[i]
}

function end_prototype()
{
	print "prototype " type " " name "(" arguments ");"
}

/^\.Sh / { section = $2 }
/^\.Nm / && section == "NAME" { print "name", $2 }
/^\.Xr / { print "see", $2, $3 }
section != "SYNOPSIS" { next }
/^\.Ft / {
	words($0)
	type = word[1]
	for (i = 2; i in word; i++)
		type = type " " word[i]
}
/^\.F[no] / {
	nr = words($0)
	name = word[1]
	arguments = ""
	add_arguments(2, nr)
}
/^\.Fn / { end_prototype() }
/^\.Fa / {
	nr = words($0)
	add_arguments(1, nr)
}
/^\.Fc/ { end_prototype() }

# SPDX-License-Identifier: MIT
# Takes the blocks of code out of a document, Markdown (*.md) or a page in mdoc:
#	awk -v work=FOLDER -f tools/doc-blocks.awk DOCUMENT
# Block N goes to FOLDER/N; a line "N LINE DIRECTIVE..." of it to the output.
# What directives there are, and where they stand, tools/check-docs.sh says.

function complain(text)
{
	print FILENAME ":" FNR ": " text >"/dev/stderr"
	status = 1
}

function direct(text)
{
	if (directive != "")
		complain("the directive before this one has no block")
	directive = text
}

function open_block()
{
	if (directive == "")
		complain("a block without a directive: see tools/check-docs.sh")
	inside = 1
	file = work "/" ++nr_blocks
	printf "" >file
	print nr_blocks, FNR, directive
	directive = ""
}

function close_block()
{
	inside = 0
	close(file)
}

# What roff makes of a line of a literal display.
function plain(line)
{
	if (line ~ /^\./)
		complain("a macro inside a block of code")
	sub(/^\\&/, "", line)
	gsub(/\\\(aq/, "'", line)
	gsub(/\\-/, "-", line)
	gsub(/\\e/, "\\", line)
	return line
}

BEGIN { markdown = ARGV[1] ~ /\.md$/ }

markdown && /^<!-- check: .* -->$/ {
	direct(substr($0, 13, length($0) - 16))
	next
}
markdown && /^ *```/ {
	if (inside)
		close_block()
	else
		open_block()
	next
}
markdown && inside { print >file }

!markdown && /^\.\\" check: / {
	direct(substr($0, 12))
	next
}
!markdown && /^\.Bd / {
	open_block()
	next
}
!markdown && /^\.Ed/ {
	close_block()
	next
}
!markdown && /^\.D[1l]( |$)/ { complain("a display that cannot be checked") }
!markdown && inside { print plain($0) >file }

END {
	if (directive != "")
		complain("the last directive has no block")
	if (inside)
		complain("a block without an end")
	exit status
}

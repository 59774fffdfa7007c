/* SPDX-License-Identifier: MIT */
/* Running peers. Called by benchmarks, in zsync-bench itself. */
#include "peer.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static bool find(const char *name, char *path, size_t size)
{
	char self[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int needed;

	if (length <= 0)
		return false;
	self[length] = '\0';
	needed = snprintf(path, size, "%s/peers/%s", dirname(self), name);
	return needed > 0 && (size_t)needed < size && access(path, X_OK) == 0;
}

bool peer_is_there(const char *name)
{
	char path[PATH_MAX + 64];

	return find(name, path, sizeof(path));
}

double peer_ns(const char *name, const char *arguments)
{
	char path[PATH_MAX + 64], command[PATH_MAX + 256];
	double ns = 0;
	FILE *output;

	if (!find(name, path, sizeof(path)))
		return 0;
	snprintf(command, sizeof(command), "'%s' %s", path, arguments);
	output = popen(command, "re");
	if (!output)
		return 0;
	if (fscanf(output, "%lf", &ns) != 1 || ns < 0)
		ns = 0;
	return pclose(output) == 0 ? ns : 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * What an operation that starts a process is told. Filled by the io room, read
 * by the plain call behind the table.
 */
#ifndef ZS_ENGINE_PROCESS_H
#define ZS_ENGINE_PROCESS_H

#include <spawn.h>

struct zs_spawn_call {
	const char *file; /* without a slash: looked for in PATH */
	char *const *argv;
	char *const *envp;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
};

#endif

/* SPDX-License-Identifier: MIT */
/*
 * tools/zsync-gdb.py under the real gdb, in batch mode: a forked child is
 * attached to, and core files of it are looked into. Skipped, with the reason,
 * where gdb or what it needs is missing.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "child.h"
#include "runtime.h"

#define SCRIPT "tools/zsync-gdb.py"
#define GDB "gdb -batch -nx -ex 'set width 0' -ex 'source " SCRIPT "' "

/* Printed once each, and the suite is done. */
static void skip(const char *why)
{
	printf("SKIP test_gdb: %s\n", why);
	fflush(stdout);
}

/* --- the child that is looked at --- */

struct scene {
	int fds[2];
	bool aborts;
	int nr_parked;
	/* In memory that parent and child share. */
	atomic_bool *ready;
	atomic_bool *stop;
};

static struct scene scene;

/* The results are changed, so that no call is the last thing that is done. */
static ZS_NOINLINE int receive_inside(int fd)
{
	char byte;

	return (int)zs_recv(fd, &byte, 1, 0) + 1;
}

static ZS_NOINLINE int receive_outside(int fd)
{
	return receive_inside(fd) - 1;
}

static int receiver(void *arg)
{
	(void)arg;
	zs_task_set_name("Rita");
	scene.nr_parked++;
	return receive_outside(scene.fds[0]);
}

static int sleeper(void *arg)
{
	(void)arg;
	scene.nr_parked++;
	return zs_sleep(3600 * ZS_SECOND);
}

static int yielder(void *arg)
{
	(void)arg;
	scene.nr_parked++;
	while (zs_yield() == 0)
		;
	return 0;
}

static int never_started(void *arg)
{
	(void)arg;
	return 0;
}

/* Once the others are parked, and one more is not started. */
static int computer(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	while (scene.nr_parked < 3)
		zs_yield();
	zs_nursery_open(&nursery, NULL);
	zs_nursery_spawn(nursery, never_started, NULL);
	if (scene.aborts)
		abort();
	atomic_store(scene.ready, true);
	while (!atomic_load(scene.stop))
		;
	zs_nursery_wait(nursery);
	return -ECANCELED;
}

static int run_scene(void *arg)
{
	struct zs_nursery nursery;

	(void)arg;
	zs_nursery_open(&nursery, NULL);
	zs_nursery_spawn(nursery, receiver, NULL);
	zs_nursery_spawn(nursery, sleeper, NULL);
	zs_nursery_spawn(nursery, yielder, NULL);
	zs_nursery_spawn(nursery, computer, NULL);
	return zs_nursery_wait(nursery);
}

static void be_looked_at(void)
{
	struct zs_config config = test_config();

	signal(SIGABRT, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Else only ancestors may attach, where Yama restricts ptrace. */
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	_exit(zs_run(&config, run_scene, NULL) == -ECANCELED ? 0 : 1);
}

static pid_t start_scene(bool aborts)
{
	atomic_bool *shared = mmap(NULL, 2 * sizeof(*shared),
				   PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	ck_assert_ptr_ne(shared, MAP_FAILED);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, scene.fds), 0);
	scene.aborts = aborts;
	scene.ready = &shared[0];
	scene.stop = &shared[1];
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		be_looked_at();
	while (!aborts && !atomic_load(scene.ready))
		ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
	return pid;
}

/* What gdb did must not have hurt it. */
static void stop_scene(pid_t pid)
{
	int status;

	atomic_store(scene.stop, true);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}

/* --- gdb --- */

static const char *program(void)
{
	static char path[PATH_MAX];

	ck_assert_int_gt(readlink("/proc/self/exe", path, sizeof(path) - 1), 0);
	return path;
}

/* What gdb says, until the next call. */
__attribute__((format(printf, 1, 2))) static const char *
gdb(const char *arguments, ...)
{
	static char text[65536];
	char command[2 * PATH_MAX] = GDB;
	size_t length = strlen(command);
	va_list list;
	FILE *pipe;

	va_start(list, arguments);
	vsnprintf(command + length, sizeof(command) - length, arguments, list);
	va_end(list);
	strncat(command, " 2>&1 </dev/null",
		sizeof(command) - strlen(command) - 1);
	pipe = popen(command, "r");
	if (!pipe)
		return "no pipe";
	length = fread(text, 1, sizeof(text) - 1, pipe);
	text[length] = '\0';
	pclose(pipe);
	return text;
}

/* NULL if it can be tested here. */
static const char *why_not(void)
{
	const char *emulator = getenv("EMULATOR");

	if (SANITIZED)
		return "gdb cannot follow a sanitizer's stacks";
	if (emulator && *emulator)
		return "gdb would look at the emulator";
	if (system("command -v gdb >/dev/null") != 0)
		return "gdb is not installed";
	if (!strstr(gdb("-ex 'python print(6 * 7)'"), "42"))
		return "this gdb is built without Python";
	if (!strstr(gdb("-ex 'zsync'"), "List of zsync subcommands"))
		return "no " SCRIPT " here, or this gdb is older than 10";
	return NULL;
}

static void expect(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part), "no \"%s\" in:\n%s", part, text);
}

/* The text from @title to the next "task N" heading or the end. */
static const char *part_from(const char *text, const char *title)
{
	static char part[16384];
	const char *begin = strstr(text, title);
	const char *end;

	ck_assert_msg(begin, "no \"%s\" in:\n%s", title, text);
	end = strstr(begin + 1, "\ntask ");
	snprintf(part, sizeof(part), "%.*s",
		 end ? (int)(end - begin) : (int)strlen(begin), begin);
	return part;
}

/* Columns are as wide as their widest cell: with one space between all words
 * they look the same everywhere. */
static void squeeze(char *line)
{
	char *to = line;

	for (; *line; line++)
		if (*line != ' ' || (to[-1] != ' ' && line[1] != '\0'))
			*to++ = *line;
	*to = '\0';
}

/* The table's line that begins with @columns, squeezed, until the next call. */
static const char *row_of(const char *text, const char *columns)
{
	static char line[512];
	const char *begin, *end;

	for (begin = text; begin; begin = end ? end + 1 : NULL) {
		end = strchr(begin, '\n');
		snprintf(line, sizeof(line), "\n%.*s",
			 end ? (int)(end - begin) : (int)strlen(begin), begin);
		squeeze(line + 1);
		if (!strncmp(line + 1, columns, strlen(columns)))
			return line;
	}
	ck_abort_msg("no \"%s\" in:\n%s", columns, text);
}

/* --- what is to be seen, wherever it is looked at --- */

#define LOOK                                                     \
	"-ex 'zsync tasks' -ex 'zsync workers' "                 \
	"-ex 'zsync bt 3' -ex 'zsync bt 11' -ex 'zsync bt 9 1' " \
	"-ex 'zsync bt 13' -ex 'zsync bt 4'"

/* Ids count from 1 by 2. */
static void expect_tasks(const char *text)
{
	char waits[64];

	snprintf(waits, sizeof(waits), "B waits for recv fd %d", scene.fds[0]);
	expect(row_of(text, "1 - run_scene 0 - 0x"),
	       "B waits for the end of 4 tasks");
	expect(row_of(text, "3 Rita receiver 0 1 0x"), waits);
	expect(row_of(text, "5 - sleeper 0 1 0x"),
	       "B waits for a timer of 3600.0 s");
	expect(row_of(text, "7 - yielder 0 1 0x"), "B ready");
	expect(row_of(text, "9 - computer 0 1 0x"), "B running");
	row_of(text, "11 - never_started - 9 - - not started");
}

static void expect_backtraces(const char *text)
{
	const char *part = part_from(text, "\ntask 3 \"Rita\", receiver, "
					   "waits for recv fd ");
	const char *inside = strstr(part, " receive_inside (fd=");
	const char *outside = strstr(part, " receive_outside (fd=");

	expect(part, "\n#0 ");
	/* It ends in a call of another, and clang tells gdb no more of it. */
	if (!strstr(part, " recv_on_ring (") &&
	    !strstr(part, " recv_plainly (") && !strstr(part, " recv_as_op ("))
		expect(part, " zs_recv (");
	ck_assert_ptr_nonnull(inside);
	ck_assert_ptr_nonnull(outside);
	ck_assert(inside < outside);
	expect(outside, " task_main (");
	expect(outside, " zs_switch_trampoline (");
	/* Nor anything of the thread that gdb has stopped. */
	ck_assert_ptr_null(strstr(part, "computer"));
	ck_assert_ptr_null(strstr(part, " main ("));
	part = part_from(text, "\ntask 9, computer, running");
	ck_assert_ptr_nonnull(strstr(part, "\n#0 "));
	ck_assert_ptr_null(strstr(part, "\n#1 "));
	expect(text, "\ntask 11, never_started, not started\n");
	expect(text, "There is no task 13: see zsync tasks.");
}

static void expect_workers(const char *text)
{
	expect(text, "\nWORKER  THREAD");
	/* A ring has not been handed any operation yet. */
	expect(text,
	       test_has_ring() ?
		       "  runs task 9  1      1            5      0    1" :
		       "  runs task 9  1      1            5      ");
}

static void expect_all(const char *text)
{
	expect_tasks(text);
	expect_workers(text);
	expect_backtraces(text);
}

/* --- tests --- */

/* False where gdb may not attach. */
static bool may_attach(const char *text)
{
	if (!strstr(text, "ptrace: "))
		return true;
	skip("a process may not be attached to here (ptrace)");
	return false;
}

START_TEST(live_process_shows_its_tasks_and_lives_on)
{
	pid_t pid = start_scene(false);
	const char *text = gdb("-p %d " LOOK, pid);

	if (may_attach(text))
		expect_all(text);
	stop_scene(pid);
}
END_TEST

static char folder[] = "/tmp/zsync-test-gdb-XXXXXX";

static void make_folder(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
}

/* The one file that is in the folder, as a path; NULL if there is none. */
static const char *file_in_folder(void)
{
	static char path[sizeof(folder) + 1 + NAME_MAX];
	DIR *dir = opendir(folder);
	const char *found = NULL;
	struct dirent *entry;

	ck_assert_ptr_nonnull(dir);
	for (entry = readdir(dir); entry; entry = readdir(dir)) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		found = path;
	}
	closedir(dir);
	return found;
}

static void remove_folder(void)
{
	const char *path = file_in_folder();

	if (path)
		unlink(path);
	rmdir(folder);
}

/* By gdb, whose own command may leave the stacks out. */
START_TEST(core_file_made_by_zsync_gcore_shows_the_same)
{
	pid_t pid = start_scene(false);
	const char *text = gdb("-p %d -ex 'zsync gcore %s/core'", pid, folder);

	stop_scene(pid);
	if (!may_attach(text))
		return;
	ck_assert_msg(file_in_folder() != NULL, "no core file: %s", text);
	expect_all(gdb(LOOK " %s %s/core", program(), folder));
}
END_TEST

static void allow_core_file(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_CORE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_CORE, &limit);
}

/* By the kernel, when a task aborts: where it puts such files into the working
 * folder, by whatever name. */
START_TEST(core_file_made_by_the_kernel_shows_the_same)
{
	char top[PATH_MAX];
	const char *core;
	pid_t pid;

	ck_assert_ptr_nonnull(getcwd(top, sizeof(top)));
	ck_assert_int_eq(chdir(folder), 0);
	allow_core_file();
	pid = start_scene(true);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_int_eq(chdir(top), 0);
	core = file_in_folder();
	if (core)
		expect_all(gdb(LOOK " %s %s", program(), core));
	else
		skip("the kernel puts no core file into the working folder "
		     "(ulimit -c, kernel.core_pattern)");
}
END_TEST

START_TEST(says_so_where_there_is_nothing_to_see)
{
	const char *text = gdb("-ex 'zsync tasks' -ex 'file %s' "
			       "-ex 'starti' -ex 'zsync tasks' -ex 'zsync bt' "
			       "-ex 'file /bin/sh' -ex 'starti' "
			       "-ex 'zsync tasks'",
			       program());

	expect(text, "There is no process: run or attach to one, or give gdb "
		     "the program and its core file.");
	expect(text, "Which task? zsync bt ID|all");
	if (!may_attach(text))
		return;
	expect(text, "There is no runtime: none has been made yet, or all "
		     "have been destroyed.");
	expect(text, "There is no zsync in this program, nor in the libraries "
		     "that it has loaded by now.");
}
END_TEST

int main(void)
{
	const char *reason = why_not();
	Suite *suite;
	TCase *tests;

	if (reason) {
		skip(reason);
		return 0;
	}
	suite = suite_create("gdb");
	tests = tcase_create("gdb");
	tcase_add_checked_fixture(tests, make_folder, remove_folder);
	tcase_add_test(tests, live_process_shows_its_tasks_and_lives_on);
	tcase_add_test(tests, core_file_made_by_zsync_gcore_shows_the_same);
	tcase_add_test(tests, core_file_made_by_the_kernel_shows_the_same);
	tcase_add_test(tests, says_so_where_there_is_nothing_to_see);
	tcase_set_timeout(tests, 30);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 * The first and only process of a guest of tools/kmatrix.sh, which builds it:
 * runs test programs one after the other, says on the console what became of
 * each, and switches the machine off. There is no shell and no other program.
 *
 * /kmatrix.conf has one word and its argument a line:
 *	mark WORD      begins every line that is ours, so that no test's is
 *	limit SECONDS  for one program
 *	env NAME=VALUE
 *	sysctl NAME=VALUE
 *	test NAME      in /t, run in an empty folder of its own
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	TESTS_MAX = 1024,
	CONFIG_SIZE = 65536,
	TAINT_DIED = 1 << 7,   /* an oops */
	TAINT_WARNED = 1 << 9, /* a WARN() */
	GRACE_MS = 500,	       /* to write a core of, or be caught */
	EXIT_NO_PROGRAM = 127,
};

static const char *mark = "kmatrix";
static int64_t limit_ms = 60000;

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* A test may have left its line unfinished. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	va_list arguments;

	printf("\n@%s ", mark);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	fflush(stdout);
}

static ssize_t read_whole(const char *path, char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t part = 0;

	if (fd < 0)
		return -errno;
	do {
		length += (size_t)part;
		part = read(fd, buffer + length, size - 1 - length);
	} while (part > 0);
	close(fd);
	buffer[length] = '\0';
	return (ssize_t)length;
}

/* --- the machine --- */

static void mount_all(void)
{
	static const char *const mounts[][2] = {
		{ "proc", "/proc" },	  { "sysfs", "/sys" },
		{ "devtmpfs", "/dev" },	  { "tmpfs", "/dev/shm" },
		{ "devpts", "/dev/pts" }, { "tmpfs", "/tmp" },
		{ "tmpfs", "/run" },	  { "tmpfs", "/work" },
	};
	size_t i;

	for (i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		mkdir(mounts[i][1], 0755);
		mount(mounts[i][0], mounts[i][1], mounts[i][0], 0, NULL);
	}
	chmod("/tmp", 01777);
	chmod("/dev/shm", 01777);
}

static void open_console(void)
{
	int fd = open("/dev/console", O_RDWR);
	int i;

	for (i = 0; fd >= 0 && i < 3; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

static void raise_loopback(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0) {
		say("NOTE no loopback: %s", strerror(errno));
		return;
	}
	request.ifr_flags |= IFF_UP | IFF_RUNNING;
	ioctl(fd, SIOCSIFFLAGS, &request);
	close(fd);
}

/* A kernel that lacks it goes without. */
static void set_sysctl(char *setting)
{
	char path[256] = "/proc/sys/";
	char *value = strchr(setting, '=');
	size_t start = strlen(path);
	ssize_t written = -1;
	int fd;

	if (!value || strlen(setting) >= sizeof(path) - start)
		return;
	*value++ = '\0';
	strcat(path, setting);
	for (; path[start]; start++)
		if (path[start] == '.')
			path[start] = '/';
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		written = write(fd, value, strlen(value));
	if (written < 0)
		say("NOTE sysctl %s: %s", setting, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void tell_of_taint(void)
{
	char text[32] = "";
	int taint;

	if (read_whole("/proc/sys/kernel/tainted", text, sizeof(text)) <= 0)
		return;
	taint = atoi(text);
	if (taint & (TAINT_DIED | TAINT_WARNED))
		say("NOTE the kernel warned or oopsed: taint %d", taint);
}

/* --- one test --- */

static void run_program(const char *name, const char *folder)
{
	char path[256];
	char *arguments[] = { path, NULL };
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	snprintf(path, sizeof(path), "/t/%s", name);
	if (chdir(folder) == 0)
		execv(path, arguments);
	printf("%s: %s\n", path, strerror(errno));
	fflush(stdout);
	_exit(EXIT_NO_PROGRAM);
}

static void await_child(int64_t wait_ms)
{
	struct timespec wait = { .tv_sec = wait_ms / 1000,
				 .tv_nsec = wait_ms % 1000 * 1000000 };
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigtimedwait(&child, NULL, &wait);
}

/* Its status; *is_late: it had to be killed. Orphans come to us, too. */
static int reap(pid_t pid, int64_t end_ms, bool *is_late)
{
	int status;
	pid_t ended;

	*is_late = false;
	for (;;) {
		ended = waitpid(-1, &status, WNOHANG);
		if (ended == pid)
			return status;
		if (ended > 0)
			continue;
		if (now_ms() < end_ms) {
			await_child(end_ms - now_ms());
			continue;
		}
		kill(*is_late ? -pid : pid, *is_late ? SIGKILL : SIGABRT);
		*is_late = true;
		await_child(GRACE_MS);
	}
}

static void run_test(const char *name)
{
	int64_t start_ms = now_ms();
	char folder[300], result[32];
	bool is_late;
	int status;
	pid_t pid;

	snprintf(folder, sizeof(folder), "/work/%s", name);
	mkdir(folder, 0777);
	say("BEGIN %s", name);
	pid = fork();
	if (pid == 0)
		run_program(name, folder);
	status = reap(pid, start_ms + limit_ms, &is_late);
	kill(-pid, SIGKILL);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	if (is_late)
		strcpy(result, "timeout");
	else if (WIFSIGNALED(status))
		snprintf(result, sizeof(result), "signal-%d", WTERMSIG(status));
	else
		snprintf(result, sizeof(result), "%d", WEXITSTATUS(status));
	say("END %s %s %lld", name, result, (long long)(now_ms() - start_ms));
}

/* --- all of them --- */

static bool has_word(const char *line, const char *word, char **argument)
{
	size_t length = strlen(word);

	if (strncmp(line, word, length) != 0 || line[length] != ' ')
		return false;
	*argument = (char *)line + length + 1;
	return true;
}

/* Returns the number of tests; *tests point into @text. */
static size_t configure(char *text, char **tests)
{
	char *line, *argument, *rest = NULL;
	size_t number = 0;

	for (line = strtok_r(text, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest)) {
		if (has_word(line, "mark", &argument))
			mark = argument;
		else if (has_word(line, "limit", &argument))
			limit_ms = atoi(argument) * 1000LL;
		else if (has_word(line, "env", &argument))
			putenv(argument);
		else if (has_word(line, "sysctl", &argument))
			set_sysctl(argument);
		else if (has_word(line, "test", &argument) &&
			 number < TESTS_MAX)
			tests[number++] = argument;
	}
	return number;
}

int main(void)
{
	static char text[CONFIG_SIZE], *tests[TESTS_MAX];
	struct rlimit no_core = { 0, 0 };
	/* The kernel's own for the first process is too few for some tests;
	 * this is a server's. */
	struct rlimit files = { 1024, 65536 };
	struct utsname name;
	sigset_t child;
	size_t number, i;

	mount_all();
	open_console();
	setrlimit(RLIMIT_CORE, &no_core);
	setrlimit(RLIMIT_NOFILE, &files);
	clearenv();
	putenv("HOME=/tmp");
	putenv("TMPDIR=/tmp");
	if (read_whole("/kmatrix.conf", text, sizeof(text)) <= 0)
		say("NOTE no /kmatrix.conf");
	number = configure(text, tests);
	raise_loopback();
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	uname(&name);
	say("UP Linux %s %s, %ld CPUs, pages of %ld KiB", name.release,
	    name.machine, sysconf(_SC_NPROCESSORS_ONLN),
	    sysconf(_SC_PAGESIZE) / 1024);
	for (i = 0; i < number; i++)
		run_test(tests[i]);
	tell_of_taint();
	say("DONE");
	fsync(STDOUT_FILENO);
	reboot(RB_POWER_OFF);
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

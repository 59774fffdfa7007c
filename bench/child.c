/* SPDX-License-Identifier: MIT */
/*
 * Children: what is measured runs in them, on a CPU of their own. Each is ended
 * by its id when its time is up, and by the kernel when we are gone.
 */
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* Exit status of a child that ran, but not where it was told to. */
enum { EXIT_NOT_PINNED = 64, EXIT_NOT_PINNED_FAILED = 65 };

static bool pinning_failed;

/* The @nth CPU that we may run on, the last one if there are fewer. */
static int nth_cpu(int nth)
{
	cpu_set_t allowed;
	int last = 0;
	int cpu;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
		return nth;
	for (cpu = 0; cpu < CPU_SETSIZE && nth >= 0; cpu++) {
		if (!CPU_ISSET(cpu, &allowed))
			continue;
		last = cpu;
		nth--;
	}
	return last;
}

int bench_server_cpu(void)
{
	return nth_cpu(0);
}

int bench_load_cpu(void)
{
	return nth_cpu(1);
}

int bench_num_cpus(void)
{
	cpu_set_t allowed;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
		return 1;
	return CPU_COUNT(&allowed);
}

void *bench_shared_map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

void bench_shared_unmap(void *memory, size_t size)
{
	munmap(memory, size);
}

static bool pin_to(int cpu)
{
	cpu_set_t set;

	if (cpu == BENCH_ANY_CPU)
		return true;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) == 0;
}

__attribute__((noreturn)) static void child_main(pid_t parent, int cpu,
						 int (*fn)(void *), void *arg)
{
	bool pinned;
	int ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* It died before we asked to be told. */
	if (getppid() != parent)
		_exit(1);
	pinned = pin_to(cpu);
	ret = fn(arg);
	fflush(stderr);
	if (pinned)
		_exit(ret < 0);
	_exit(ret < 0 ? EXIT_NOT_PINNED_FAILED : EXIT_NOT_PINNED);
}

int bench_child_start(struct bench_child *child, const char *what, int cpu,
		      int (*fn)(void *arg), void *arg)
{
	pid_t parent = getpid();

	/* Or the child would write out again what we have not written yet. */
	fflush(NULL);
	child->what = what;
	child->pid = fork();
	if (child->pid < 0) {
		child->pid = 0;
		return -errno;
	}
	if (child->pid == 0)
		child_main(parent, cpu, fn, arg);
	return 0;
}

static int child_status(int status)
{
	if (!WIFEXITED(status)) {
		fprintf(stderr, "zsync-bench: child ended by signal %d\n",
			WTERMSIG(status));
		return -EIO;
	}
	if (WEXITSTATUS(status) >= EXIT_NOT_PINNED)
		pinning_failed = true;
	if (WEXITSTATUS(status) == EXIT_NOT_PINNED)
		return 0;
	return WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

int bench_child_wait(struct bench_child *child, int limit_ms)
{
	const struct timespec pause = { .tv_nsec = 2000000 };
	int64_t limit_ns = zs_clock_ns() + (int64_t)limit_ms * 1000000;
	int status;
	pid_t ended;

	if (child->pid == 0)
		return 0;
	do {
		ended = waitpid(child->pid, &status, WNOHANG);
		if (ended == child->pid) {
			child->pid = 0;
			return child_status(status);
		}
		nanosleep(&pause, NULL);
	} while (zs_clock_ns() < limit_ns);
	bench_child_kill(child);
	return -ETIMEDOUT;
}

int bench_child_run(const char *what, int cpu, int (*fn)(void *arg), void *arg,
		    int limit_ms)
{
	struct bench_child child;
	int ret = bench_child_start(&child, what, cpu, fn, arg);

	return ret == 0 ? bench_child_wait(&child, limit_ms) : ret;
}

void bench_child_kill(struct bench_child *child)
{
	if (child->pid == 0)
		return;
	kill(child->pid, SIGKILL);
	waitpid(child->pid, NULL, 0);
	child->pid = 0;
}

bool bench_pinning_failed(void)
{
	bool failed = pinning_failed;

	pinning_failed = false;
	return failed;
}

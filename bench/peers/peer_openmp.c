/* SPDX-License-Identifier: MIT */
/*
 * peer-openmp fib THREADS N: nanoseconds of fib(N), a task for each call that
 * is no leaf. peer-openmp for THREADS: of the benchmark's loop,
 * schedule(static). The best of some.
 */
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../forkjoin_work.h"

static float *items;

static long fib(int n)
{
	long left, right;

	if (n < 2)
		return n;
#pragma omp task shared(left)
	left = fib(n - 1);
	right = fib(n - 2);
#pragma omp taskwait
	return left + right;
}

static void run_fib(int n)
{
#pragma omp parallel
#pragma omp single
	if (fib(n) < 0)
		abort();
}

static void run_loop(void)
{
	int threads = omp_get_max_threads();

#pragma omp parallel for schedule(static)
	for (int t = 0; t < threads; t++)
		loop_work(items, (int64_t)LOOP_ITEMS * t / threads,
			  (int64_t)LOOP_ITEMS * (t + 1) / threads);
}

static double time_one(int n)
{
	double start = omp_get_wtime();

	if (n > 0)
		run_fib(n);
	else
		run_loop();
	return (omp_get_wtime() - start) * 1e9;
}

int main(int argc, char **argv)
{
	int is_fib = argc == 4 && strcmp(argv[1], "fib") == 0;
	int n = is_fib ? atoi(argv[3]) : 0;
	double best = 0;

	if (!is_fib && (argc != 3 || strcmp(argv[1], "for") != 0))
		return 2;
	omp_set_num_threads(atoi(argv[2]));
	if (!is_fib) {
		items = malloc(LOOP_ITEMS * sizeof(*items));
		if (!items)
			return 1;
		for (int i = 0; i < LOOP_ITEMS; i++)
			items[i] = (float)i / LOOP_ITEMS;
	}
	for (int i = 0; i < (is_fib ? 2 : 8); i++) {
		double ns = time_one(n);

		if (best == 0 || ns < best)
			best = ns;
	}
	printf("%f\n", best);
	free(items);
	return 0;
}

// SPDX-License-Identifier: MIT
// peer-tbb THREADS N: nanoseconds that oneTBB takes for fib(N) with a
// task_group for each call that is no leaf, the best of some.
#include <tbb/global_control.h>
#include <tbb/task_group.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

static long fib(int n)
{
	long left, right;
	tbb::task_group group;

	if (n < 2)
		return n;
	group.run([&] { left = fib(n - 1); });
	right = fib(n - 2);
	group.wait();
	return left + right;
}

static double time_fib(int n)
{
	auto start = std::chrono::steady_clock::now();

	if (fib(n) < 0)
		std::abort();
	return std::chrono::duration<double, std::nano>(
		       std::chrono::steady_clock::now() - start)
		.count();
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	tbb::global_control control(
		tbb::global_control::max_allowed_parallelism,
		(size_t)std::atoi(argv[1]));
	double best = time_fib(std::atoi(argv[2]));

	for (int i = 0; i < 2; i++) {
		double ns = time_fib(std::atoi(argv[2]));

		if (ns < best)
			best = ns;
	}
	std::printf("%f\n", best);
	return 0;
}

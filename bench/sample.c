/* SPDX-License-Identifier: MIT */
/* Medians of rounds and percentiles of times, for every benchmark. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

enum { SUB_BITS = 5, SUB_BUCKETS = 1 << SUB_BITS };

static int compare_doubles(const void *left, const void *right)
{
	double a = *(const double *)left;
	double b = *(const double *)right;

	return (a > b) - (a < b);
}

void bench_series_add(struct bench_series *series, double value)
{
	if (series->count < BENCH_ROUNDS_MAX)
		series->values[series->count++] = value;
}

struct bench_value bench_summarize(const struct bench_series *series)
{
	struct bench_series sorted = *series;
	unsigned int n = sorted.count;

	if (n == 0)
		return (struct bench_value){ 0 };
	qsort(sorted.values, n, sizeof(sorted.values[0]), compare_doubles);
	return (struct bench_value){
		.median =
			(sorted.values[(n - 1) / 2] + sorted.values[n / 2]) / 2,
		.least = sorted.values[0],
		.greatest = sorted.values[n - 1],
		.count = n,
	};
}

/* Values below SUB_BUCKETS have a bucket each; above, each power of two is cut
 * into SUB_BUCKETS. */
static unsigned int bucket_of(uint64_t value)
{
	unsigned int shift;

	if (value < SUB_BUCKETS)
		return (unsigned int)value;
	shift = 63 - (unsigned int)__builtin_clzll(value) - SUB_BITS;
	return (shift + 1) * SUB_BUCKETS +
	       (unsigned int)((value >> shift) - SUB_BUCKETS);
}

/* The middle of the bucket. */
static uint64_t bucket_value(unsigned int bucket)
{
	unsigned int shift;

	if (bucket < SUB_BUCKETS)
		return bucket;
	shift = bucket / SUB_BUCKETS - 1;
	return (((uint64_t)SUB_BUCKETS + bucket % SUB_BUCKETS) << shift) +
	       ((UINT64_C(1) << shift) >> 1);
}

void bench_histogram_add(struct bench_histogram *histogram, uint64_t value)
{
	histogram->buckets[bucket_of(value)]++;
	histogram->count++;
}

uint64_t bench_histogram_at(const struct bench_histogram *histogram,
			    unsigned int per_mille)
{
	const unsigned int last =
		sizeof(histogram->buckets) / sizeof(histogram->buckets[0]) - 1;
	uint64_t wanted = (histogram->count * per_mille + 999) / 1000;
	uint64_t seen = 0;
	unsigned int i;

	if (histogram->count == 0)
		return 0;
	for (i = 0; i < last; i++) {
		seen += histogram->buckets[i];
		if (seen >= wanted)
			break;
	}
	return bucket_value(i);
}

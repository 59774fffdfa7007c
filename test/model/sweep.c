/* SPDX-License-Identifier: MIT */
/*
 * Runs the cases of a model test, first as the code is and then with each of
 * its memory orders weakened by a step, or with a bug planted, in turn. Called
 * by the main() of each test program.
 */
#include "sweep.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SITES = 256 };

static const struct sweep *current;

int sweep_bound(void)
{
	const char *bound = getenv("MODEL_BOUND");

	return bound ? atoi(bound) : 0;
}

/* --- clean --- */

static unsigned int count(const struct model_case *cases)
{
	unsigned int number = 0;

	while (cases && cases[number].name)
		number++;
	return number;
}

static unsigned int count_all(void)
{
	return count(current->cases) + count(current->large_cases) +
	       (sweep_bound() > 0 ? count(current->huge_cases) : 0);
}

static const struct model_case *case_at(unsigned int index)
{
	const struct model_case *const lists[] = {
		current->cases,
		current->large_cases,
	};

	for (int i = 0; i < 2; i++) {
		unsigned int number = count(lists[i]);

		if (index < number)
			return &lists[i][index];
		index -= number;
	}
	return &current->huge_cases[index];
}

START_TEST(holds_in_every_execution)
{
	const struct model_case *subject = case_at((unsigned int)_i);
	struct model_result result;

	model_explore(subject, &result);
	printf("model %s, %s: %llu executions, %llu given up\n", current->name,
	       subject->name, (unsigned long long)result.executions,
	       (unsigned long long)result.redundant);
	fflush(stdout);
	ck_assert_msg(!result.has_failed, "%s: %s", subject->name, result.why);
	ck_assert_uint_gt(result.executions, 0);
}
END_TEST

/* --- broken --- */

/* The next weaker orders of an access that has @order, at most two. */
static unsigned int weaker_orders(enum model_op_kind kind, memory_order order,
				  memory_order *weaker)
{
	switch (order) {
	case memory_order_seq_cst:
		weaker[0] = kind == MODEL_LOAD	? memory_order_acquire :
			    kind == MODEL_STORE ? memory_order_release :
						  memory_order_acq_rel;
		return 1;
	case memory_order_acq_rel:
		weaker[0] = memory_order_acquire;
		weaker[1] = memory_order_release;
		return 2;
	case memory_order_acquire:
	case memory_order_release:
		weaker[0] = memory_order_relaxed;
		return 1;
	default:
		return 0;
	}
}

static bool is_ours(const struct model_site *site)
{
	const char *const *file;

	for (file = current->files; *file; file++) {
		size_t length = strlen(site->file), end = strlen(*file);

		if (length >= end &&
		    strcmp(site->file + length - end, *file) == 0)
			return true;
	}
	return false;
}

static const struct sweep_exception *exception_of(const struct model_site *site,
						  memory_order order)
{
	const struct sweep_exception *exception = current->exceptions;

	for (; exception && exception->function; exception++)
		if (strcmp(exception->function, site->function) == 0 &&
		    strcmp(exception->object, site->object) == 0 &&
		    exception->kind == site->kind && exception->order == order)
			return exception;
	return NULL;
}

/* True if some case fails. */
static bool is_found(const char *what)
{
	const struct model_case *subject;
	struct model_result result;

	for (subject = current->cases; subject->name; subject++) {
		model_explore(subject, &result);
		if (!result.has_failed)
			continue;
		if (getenv("MODEL_VERBOSE"))
			printf("%s:\n\tfound by %s after %llu executions: %s\n",
			       what, subject->name,
			       (unsigned long long)result.executions,
			       result.why);
		return true;
	}
	return false;
}

static void describe(const struct model_site *site, char *text, size_t size)
{
	snprintf(text, size, "%s(): %s(%s), %s", site->function,
		 model_kind_name(site->kind), site->object,
		 model_order_name(site->order));
}

/* What the tries of an access come to. */
struct tries {
	unsigned int number, num_wrong;
};

/* True if it was found. */
static bool try_order(struct model_site *site, memory_order order,
		      struct tries *tries)
{
	const struct sweep_exception *exception = exception_of(site, order);
	char text[300];
	bool found;

	describe(site, text, sizeof(text));
	snprintf(text + strlen(text), sizeof(text) - strlen(text), " -> %s",
		 model_order_name(order));
	site->is_weakened = true;
	site->weak_order = order;
	found = is_found(text);
	site->is_weakened = false;
	tries->number++;
	tries->num_wrong += found == !!exception;
	if (found && exception)
		printf("%s: found, so it is no exception\n", text);
	else if (!found && !exception)
		printf("%s: NOT FOUND\n", text);
	else if (!found && getenv("MODEL_VERBOSE"))
		printf("%s:\n\tmakes no difference: %s\n", text,
		       exception->reason);
	fflush(stdout);
	return found;
}

/* Step by step, until it is found or nothing weaker is left. */
static void try_weaker(struct model_site *site, memory_order order,
		       struct tries *tries)
{
	memory_order weaker[2];
	unsigned int number = weaker_orders(site->kind, order, weaker);

	for (unsigned int i = 0; i < number; i++)
		if (!try_order(site, weaker[i], tries))
			try_weaker(site, weaker[i], tries);
}

/* So that all places are known. */
static unsigned int run_all(struct model_site **sites)
{
	struct model_site *site;
	unsigned int number = 0;

	ck_assert(!is_found("unbroken"));
	for (site = model_sites(); site && number < MAX_SITES;
	     site = site->next)
		if (is_ours(site))
			sites[number++] = site;
	return number;
}

START_TEST(each_memory_order_is_needed)
{
	struct model_site *sites[MAX_SITES];
	unsigned int number = run_all(sites);
	struct tries tries = { 0 };

	for (unsigned int i = 0; i < number; i++)
		try_weaker(sites[i], sites[i]->order, &tries);
	printf("model %s: %u weaker orders tried\n", current->name,
	       tries.number);
	fflush(stdout);
	ck_assert_uint_gt(tries.number, 0);
	ck_assert_uint_eq(tries.num_wrong, 0);
}
END_TEST

static unsigned int num_bugs(void)
{
	unsigned int number = 0;

	while (current->bugs && current->bugs[number].name)
		number++;
	return number;
}

static void make_change(const struct sweep_change *change)
{
	struct model_site *site;
	unsigned int number = 0;

	for (site = model_sites(); site; site = site->next) {
		if (site->kind != change->kind ||
		    strcmp(site->function, change->function) != 0 ||
		    strcmp(site->object, change->object) != 0)
			continue;
		site->is_weakened = change->is_weakened;
		site->weak_order = change->order;
		site->cleared_bits = change->cleared_bits;
		number++;
	}
	ck_assert_msg(number > 0, "%s() has no such access: %s",
		      change->function, change->object);
}

/* The changes are never undone: Check runs each test in a process of its
 * own. */
START_TEST(planted_bug_is_found)
{
	const struct sweep_bug *bug = &current->bugs[_i];
	struct model_site *sites[MAX_SITES];

	run_all(sites);
	make_change(&bug->changes[0]);
	if (bug->changes[1].function)
		make_change(&bug->changes[1]);
	ck_assert_msg(is_found(bug->name), "%s: not found", bug->name);
	fflush(stdout);
}
END_TEST

/* --- both --- */

int sweep_main(const struct sweep *sweep)
{
	char name[64] = "model_";
	Suite *suite = suite_create(strncat(name, sweep->name, 32));
	TCase *tests = tcase_create("model");
	SRunner *runner;
	int nr_failed;

	current = sweep;
	if (model_is_possible(sweep->name)) {
		/* Larger bounds may need more than a minute. */
		tcase_set_timeout(tests, sweep_bound() > 0 ? 3600 : 60);
		tcase_add_loop_test(tests, holds_in_every_execution, 0,
				    (int)count_all());
		tcase_add_test(tests, each_memory_order_is_needed);
		tcase_add_loop_test(tests, planted_bug_is_found, 0,
				    (int)num_bugs());
	}
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	nr_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return nr_failed != 0;
}

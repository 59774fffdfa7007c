/* SPDX-License-Identifier: MIT */
/*
 * Showing a configuration: each setting's value, where that comes from, and
 * what it was before the machine decided. For people; any thread.
 */
#include "sched/config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/explain.h"
#include "base/text.h"
#include "sched/runtime.h"

enum { VALUE_SIZE = 24, WHY_SIZE = 300, SOURCE_SIZE = 64 };

/* What there is to say of. */
struct sheet {
	int fd;
	int result; /* the first error */
	const struct zs_config_origin *origin;
	struct zs_config preset;
	struct zs_config in_force;
	const struct zs_cpus *cpus;
	/* Where a runtime has it; else NULL, and nothing is known of what the
	 * engine and the stacks make of it. */
	const struct zs_runtime *runtime;
};

static const char *const preset_names[] = {
	[ZS_PRESET_DEFAULT] = "default",
	[ZS_PRESET_OPTIMAL] = "optimal",
	[ZS_PRESET_FOR_SERVER] = "for_server",
	[ZS_PRESET_FOR_CLI] = "for_cli",
	[ZS_PRESET_FOR_EMBEDDED] = "for_embedded",
};

/* Nothing is written after an error. */
static void write_line(struct sheet *sheet, struct zs_text *line)
{
	zs_text_add(line, "\n");
	if (sheet->result == 0)
		sheet->result = zs_text_write(line, sheet->fd);
}

/* @setting: its bit. @variable: what overrides it. The others: is what was
 * asked for what the preset holds, and what zs_config_default() holds? */
static void name_source(const struct sheet *sheet, uint32_t setting,
			const char *variable, bool is_presets, bool is_default,
			char source[SOURCE_SIZE])
{
	if (sheet->origin->overridden & setting)
		snprintf(source, SOURCE_SIZE, "environment %s", variable);
	else if (!is_presets)
		snprintf(source, SOURCE_SIZE, "program");
	else if (is_default)
		snprintf(source, SOURCE_SIZE, "default");
	else
		snprintf(source, SOURCE_SIZE, "preset %s",
			 preset_names[sheet->preset.preset]);
}

/* @why: the machine changed it from what was @asked; or "". */
static void print_row(struct sheet *sheet, const char *name, const char *value,
		      const char *why, const char *source, const char *asked)
{
	struct zs_text line;
	char text[512];

	zs_text_init(&line);
	if (why[0] == '\0')
		snprintf(text, sizeof(text), "  %-24s %-14s %s", name, value,
			 source);
	else
		snprintf(text, sizeof(text), "  %-24s %-14s %s; %s: %s", name,
			 value, why, source, asked);
	zs_text_add(&line, text);
	write_line(sheet, &line);
}

/* --- the model --- */

static void print_model(struct sheet *sheet)
{
	const struct zs_config defaults = zs_config_default();
	const struct zs_runtime *runtime = sheet->runtime;
	enum zs_execution_model asked = sheet->origin->asked.execution_model;
	char source[SOURCE_SIZE], why[WHY_SIZE] = "";
	const char *reason;

	name_source(sheet, ZS_SETTING_MODEL, ZS_MODEL_VARIABLE,
		    asked == sheet->preset.execution_model,
		    asked == defaults.execution_model, source);
	if (runtime && runtime->model != asked) {
		reason = runtime->model_reason;
		if (strncmp(reason, "auto: ", strlen("auto: ")) == 0)
			reason += strlen("auto: ");
		snprintf(why, sizeof(why), "machine: %s", reason);
	}
	print_row(sheet, "execution_model",
		  zs_execution_model_name(runtime ? runtime->model : asked),
		  why, source, zs_execution_model_name(asked));
}

/* --- numbers --- */

static void why_workers(const struct sheet *sheet, char why[WHY_SIZE])
{
	const struct zs_cpus *cpus = sheet->cpus;

	if (sheet->origin->asked.execution_model == ZS_MODEL_BLOCKING)
		snprintf(why, WHY_SIZE, "the blocking model has one");
	else if (cpus->count == 0)
		snprintf(why, WHY_SIZE, "machine: an unknown affinity mask");
	else if (cpus->quota < cpus->count)
		snprintf(why, WHY_SIZE,
			 "machine: the cgroup's CPU quota, of %u CPUs",
			 cpus->count);
	else
		snprintf(why, WHY_SIZE, "machine: CPUs in the affinity mask");
}

static void why_queue_depth(const struct sheet *sheet, uint64_t granted,
			    char why[WHY_SIZE])
{
	if (granted > sheet->origin->asked.queue_depth)
		snprintf(why, WHY_SIZE, "machine: a power of two");
	else
		snprintf(why, WHY_SIZE,
			 "machine: RLIMIT_MEMLOCK allows no more");
}

/* Why @value is not what was asked for. */
static void explain_value(const struct sheet *sheet, const struct zs_knob *knob,
			  uint64_t value, char why[WHY_SIZE])
{
	uint32_t num_cpus = zs_cpus_allowed(sheet->cpus);

	switch (knob->offset) {
	case offsetof(struct zs_config, num_workers):
		why_workers(sheet, why);
		break;
	case offsetof(struct zs_config, queue_depth):
		why_queue_depth(sheet, value, why);
		break;
	case offsetof(struct zs_config, idle_spin_us):
		snprintf(why, WHY_SIZE, "machine: %u CPU%s", num_cpus,
			 num_cpus > 1 ? "s" : "");
		break;
	case offsetof(struct zs_config, offload_threads):
		snprintf(why, WHY_SIZE, "machine: twice %u CPU%s, at least 4",
			 num_cpus, num_cpus > 1 ? "s" : "");
		break;
	case offsetof(struct zs_config, main_stack_size):
		snprintf(why, WHY_SIZE, "%s",
			 sheet->origin->asked.main_stack_size ?
				 "machine: a power of two of pages" :
				 "as green_thread_stack_size");
		break;
	default:
		snprintf(why, WHY_SIZE, "machine: whole pages");
		break;
	}
}

static void show_number(const struct zs_knob *knob, uint64_t number,
			char value[VALUE_SIZE])
{
	if (knob->has_auto && number == ZS_IDLE_SPIN_AUTO)
		snprintf(value, VALUE_SIZE, "auto");
	else
		snprintf(value, VALUE_SIZE, "%llu", (unsigned long long)number);
}

static void print_number(struct sheet *sheet, int index)
{
	const struct zs_knob *knob = &zs_knobs[index];
	const struct zs_config defaults = zs_config_default();
	uint64_t asked = zs_config_get(&sheet->origin->asked, knob);
	uint64_t in_force = zs_config_get(&sheet->in_force, knob);
	char source[SOURCE_SIZE], why[WHY_SIZE] = "";
	char value[VALUE_SIZE], asked_value[VALUE_SIZE];

	name_source(sheet, ZS_SETTING_KNOB(index), knob->variable,
		    asked == zs_config_get(&sheet->preset, knob),
		    asked == zs_config_get(&defaults, knob), source);
	if (in_force != asked)
		explain_value(sheet, knob, in_force, why);
	show_number(knob, in_force, value);
	show_number(knob, asked, asked_value);
	print_row(sheet, knob->field, value, why, source, asked_value);
}

/* --- flags --- */

static void print_flag(struct sheet *sheet, int index)
{
	const struct zs_switch *flag = &zs_switches[index];
	const struct zs_config defaults = zs_config_default();
	uint32_t asked = sheet->origin->asked.flags & flag->bit;
	char source[SOURCE_SIZE];

	name_source(sheet, ZS_SETTING_SWITCH(index), flag->variable,
		    asked == (sheet->preset.flags & flag->bit),
		    asked == (defaults.flags & flag->bit), source);
	print_row(sheet, flag->name, asked ? "1" : "0", "", source, "");
}

/* --- all of it --- */

static int print_sheet(struct sheet *sheet)
{
	struct zs_text line;

	sheet->preset = zs_config_of_preset(sheet->origin->asked.preset);
	zs_text_init(&line);
	zs_text_add(&line, "zsync configuration, from zs_config_");
	zs_text_add(&line, preset_names[sheet->preset.preset]);
	zs_text_add(&line, "()");
	write_line(sheet, &line);
	print_model(sheet);
	for (int i = 0; i < ZS_NUM_KNOBS; i++)
		print_number(sheet, i);
	for (int i = 0; i < ZS_NUM_SWITCHES; i++)
		print_flag(sheet, i);
	if (sheet->result == 0)
		return 0;
	return zs_explain_as(sheet->result,
			     "the configuration cannot be written to "
			     "descriptor %d",
			     sheet->fd);
}

ZS_PUBLIC int zs_config_print(const struct zs_config *config, int fd)
{
	struct zs_config_origin origin;
	struct zs_cpus cpus;
	struct sheet sheet = { .fd = fd, .origin = &origin, .cpus = &cpus };
	int ret = zs_config_take(&origin, config);

	if (ret < 0)
		return ret;
	zs_cpus_init(&cpus);
	sheet.in_force = origin.asked;
	zs_config_complete(&sheet.in_force, zs_cpus_allowed(&cpus));
	if (sheet.in_force.main_stack_size == 0)
		sheet.in_force.main_stack_size =
			sheet.in_force.green_thread_stack_size;
	return print_sheet(&sheet);
}

ZS_PUBLIC int zs_runtime_config_print(const struct zs_runtime *runtime, int fd)
{
	struct sheet sheet = { .fd = fd };
	struct zs_runtime_info info;
	int ret = zs_runtime_info(runtime, &info);

	if (ret < 0)
		return ret;
	if (!runtime)
		runtime = zs_worker_self->runtime;
	sheet.runtime = runtime;
	sheet.origin = &runtime->origin;
	sheet.cpus = &runtime->cpus;
	sheet.in_force = runtime->config;
	sheet.in_force.num_workers = info.num_workers;
	/* Elsewhere there is no queue that could be too large. */
	if (runtime->model == ZS_MODEL_GREEN_THREADS)
		sheet.in_force.queue_depth = info.queue_depth;
	sheet.in_force.green_thread_stack_size = info.green_thread_stack_size;
	sheet.in_force.main_stack_size = info.main_stack_size;
	return print_sheet(&sheet);
}
